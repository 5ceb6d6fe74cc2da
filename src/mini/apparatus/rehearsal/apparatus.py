"""Modal's client, its protocol and its container runtime, all on this machine."""

from __future__ import annotations

import atexit
import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.modal.apparatus import ModalApparatus
from mini.apparatus.modal.image.plan import Plan
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.rehearsal import choice, findings
from mini.apparatus.rehearsal.isolation import packages
from mini.apparatus.rehearsal.plugin import RehearsalOptions
from mini.job import Job
from mini.runs.folder import RunFolder


class RehearsalApparatus(ModalApparatus):
    """As `ModalApparatus`, against a control plane on loopback that it starts itself. Needs no token and no network.

    It runs what Modal's client would send, in containers that are processes with only what was shipped and the Python
    packages the image would have, without the dependency group `cuda`. It imitates neither GPUs nor other layers of
    an image nor Modal's limits.

    Args:
        name: As for `ModalApparatus`.
        project: As for `ModalApparatus`.
        options: As for `ModalApparatus`; `isolated`: `sandbox` for containers with a Debian of their own and nothing of
            this machine, `packages` for processes that have the packages of the image only, `none` for processes that
            have all that is installed here, None for the first of them that can be had; and `network`: whether
            containers in a sandbox reach more than the control plane. The control plane keeps to the first view's.

    Raises:
        ImageError: `isolated="sandbox"`, and there is none; says what is missing.
    """

    kind = "rehearsal"
    options_type = RehearsalOptions
    goes_on_alone = False  # the control plane ends with the process that started it
    keeps_files = False
    options: RehearsalOptions

    def __init__(self, name: str = "mini", *, project: Path | None = None, **options: Any) -> None:
        super().__init__(name, project=project, **options)
        self._stage = _Stage(self.options.isolated, self._project, network=self.options.network)

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

    def collect(self, folder: RunFolder, jobs: Sequence[Job]) -> None:
        """As on Modal; and what was seen that is no failure here is said.

        Args:
            folder: The run.
            jobs: Those of its jobs that ran here.
        """
        super().collect(folder, jobs)
        if self._stage.isolation != "sandbox":
            return
        plane = self.loopback.plane
        known = findings.outcomes(jobs)
        tasks = {outcome.where.get("task") for outcome in known.values()}
        written = [file for file in plane.left_behind() if file.task_id in tasks]
        peaks = {task: peak for task, peak in plane.peaks().items() if task in tasks}
        for line in (
            *findings.vanished(written, known),
            *findings.memory(peaks, self.options),
            *findings.disk(written, self.options),
        ):
            choice.say(line)

    def _container(self, options: ModalOptions) -> tuple[Any, Mapping[str, str]]:
        image, known = super()._container(options)
        view, isolation = self._viewing(options), self._stage.isolation
        made = view.plan()
        if isolation == "sandbox":
            self._stage.provide(view, made, self._project)
        elif isolation == "packages" and made is not None:
            known = {**known, "MINI_PACKAGES": str(packages(made, self._project))}
        return image, known

    def _close(self) -> None:
        super()._close()
        self._stage.close()


class _Stage:
    """The control plane of an apparatus and its views."""

    def __init__(self, isolated: str | None, project: Path, *, network: bool) -> None:
        self.loopback: Any = None
        self._isolated, self._project, self._network = isolated, project, network
        self._lock = threading.Lock()

    @functools.cached_property
    def isolation(self) -> str:
        """What containers do not see: `sandbox`, `packages` or `none`."""
        return choice.isolation(self._isolated)

    def provide(self, view: RehearsalApparatus, plan: Plan | None, project: Path) -> None:
        """Have the layers that stand for what an image installs from pins."""
        found = self.loopback.sandbox.environments
        if plan is not None:
            found[choice.digest(plan.requirements)] = choice.environment(plan, project)
        else:
            own = view.own_requirements()
            found[choice.digest(own)] = choice.own_environment(own)

    def open(self) -> tuple[str, tuple[str, str]]:
        from mini.loopback.plane import Loopback

        with self._lock:
            if self.loopback is None:
                self.loopback = Loopback(
                    sandbox=choice.sandbox(network=self._network) if self.isolation == "sandbox" else None,
                    data=choice.data(self._project),
                    notify=choice.say,
                ).__enter__()
                atexit.register(self.close)
            return self.loopback.url, self.loopback.token

    def close(self) -> None:
        atexit.unregister(self.close)
        with self._lock:
            if self.loopback is not None:
                self.loopback.__exit__(None, None, None)
                self.loopback = None
