"""Modal's client, its protocol and its container runtime, all on this machine."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mini.apparatus.modal.apparatus import ModalApparatus
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.rehearsal.isolation import packages
from mini.apparatus.rehearsal.plugin import RehearsalOptions


class RehearsalApparatus(ModalApparatus):
    """As `ModalApparatus`, against a control plane on loopback that it starts itself. Needs no token and no network.

    It runs what Modal's client would send, in containers that are processes with only what was shipped and the Python
    packages the image would have, without the dependency group `cuda`. It imitates neither GPUs nor other layers of
    an image nor Modal's limits.

    Args:
        name: As for `ModalApparatus`.
        project: As for `ModalApparatus`.
        options: As for `ModalApparatus`; and `isolated`: whether containers have the packages of `uv.lock`, installed
            by uv into a folder that is kept, or all that is installed here.
    """

    kind = "rehearsal"
    options_type = RehearsalOptions
    goes_on_alone = False  # the control plane ends with the process that started it
    options: RehearsalOptions

    def __init__(self, name: str = "mini", *, project: Path | None = None, **options: Any) -> None:
        super().__init__(name, project=project, **options)
        self._stage = _Stage()

    def require_detachable(self) -> None:
        """A driver process can have a control plane of its own."""
        self._ensure_image()

    def credentials(self) -> tuple[str, tuple[str, str]]:
        """The control plane's, which is started now."""
        return self._stage.open()

    @property
    def loopback(self) -> Any:
        """The control plane, once it is there."""
        self._session.client()
        return self._stage.loopback

    def _container(self, options: ModalOptions) -> tuple[Any, Mapping[str, str]]:
        image, known = super()._container(options)
        made = self._viewing(options).plan()
        if not getattr(options, "isolated", True) or made is None:
            return image, known
        return image, {**known, "MINI_PACKAGES": str(packages(made, self._project))}

    def _close(self) -> None:
        super()._close()
        self._stage.close()


class _Stage:
    """The control plane of an apparatus and its views."""

    def __init__(self) -> None:
        self.loopback: Any = None
        self._lock = threading.Lock()

    def open(self) -> tuple[str, tuple[str, str]]:
        from mini.loopback.plane import Loopback

        with self._lock:
            if self.loopback is None:
                self.loopback = Loopback().__enter__()
                atexit.register(self.close)
            return self.loopback.url, self.loopback.token

    def close(self) -> None:
        atexit.unregister(self.close)
        with self._lock:
            if self.loopback is not None:
                self.loopback.__exit__(None, None, None)
                self.loopback = None
