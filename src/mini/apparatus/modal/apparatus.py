"""Jobs on Modal's cloud."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, ClassVar

from mini.apparatus.base import Apparatus, Stream, boolean, whole
from mini.apparatus.modal import container, preflight
from mini.apparatus.modal.client import valid_name
from mini.apparatus.modal.image.plan import Plan, make_image, plan, too_large
from mini.apparatus.modal.session import OURS, TIMEOUT, Session, retries
from mini.apparatus.modal.stream import ModalStream
from mini.apparatus.modal.volume import ModalVolume
from mini.errors import OptionError, UsageError, did_you_mean
from mini.job import Job
from mini.project import SOURCE, root
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.spec import Image
from mini.worker import pickling
from mini.worker.pickling import Parcel

# What the apparatus decides itself: how the function travels, what it is called, what it is.
_NOT_OPTIONS = ("self", "serialized", "name", "is_generator", "include_source", "schedule", "max_inputs")
_INLINE = 2048  # bytes; functions that need no more for all inputs travel with them, and have no place of their own
_LONGEST = 24 * 3600  # seconds; Modal's own limit
_PULL = 10.0  # MiB
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class ModalApparatus(Apparatus):
    """Runs jobs in containers on Modal.

    Nothing is contacted before the first job or the first look at the volume. Then token and network are checked, the
    image is built, and an app is opened for each distinct set of options; it serves all maps until `close`.

    A job's folder is on a volume; run folders look there as they do under `outputs/` on a local disk.

    Args:
        name: Of the app and, in lower case, of the volume.
        volume: The volume's name, if it is another.
        project: The folder with `pyproject.toml` and `src/`; None for the one around the working directory.
        options: Every option of `modal.App.function` (`gpu`, `timeout`, `retries`, `cpu`, `memory`, `max_containers`,
            `region`, `secrets`, `volumes`, …). `gpu` may be a list, in the order of preference; `timeout` is 3600 s if
            nothing is said. `image`: a `modal.Image`, or the values of the group `image`. `logs` (bool): show what
            jobs print. `pull` (MiB): files up to this size come home when a run is over, larger ones stay on the
            volume; None for all. `result_limit` (MiB): how large a returned value may be, 32 if nothing is said.
            `secrets` and `volumes` may be names. `pass_env`: names of variables of this environment that jobs get
            too. `environment`: Modal's environment. `group` (int): how many short jobs go into one input; None for
            as many as makes half a second of work by what the first took, 1 for each alone. With `retries`,
            `single_use_containers` or a `timeout` under a minute each goes alone.

    Raises:
        OptionError: An option is unknown or its value impossible; the message names the near ones.
    """

    kind = "modal"
    options: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}  # Modal's own; see _checked

    def __init__(
        self, name: str = "mini", *, volume: str | None = None, project: Path | None = None, **options: Any
    ) -> None:
        super().__init__(name, **options)
        valid = valid_name(name)
        self._project = project or root()
        self._session = Session(
            valid, volume or valid.lower(), self.credentials, self._container, self._options.get("environment")
        )

    @property
    def volume(self) -> ModalVolume:
        """Where the jobs leave their files."""
        return self._session.volume

    def credentials(self) -> tuple[str, tuple[str, str]]:
        """The server's address and the token.

        Raises:
            TokenError: There is no token.
        """
        from modal.config import config

        return config.get("server_url"), preflight.require_token()

    def ready(self) -> None:
        """Connect, build the image and open the app.

        Raises:
            CloudError: Modal cannot be reached, refuses the token or cannot build the image.
        """
        self._require_open()
        self._session.function(self._options)

    def ready_to_detach(self) -> None:
        """Connect, and make the image; it is built when the app is deployed."""
        self._session.client()
        self._ensure_image()

    def detach(self, parcels: Sequence[Parcel], folder: RunFolder) -> dict[str, Any]:
        """Deploy an app of the run's own, and make one call of all its jobs, which needs no client."""
        self.announce(folder)
        shared = {p.shared.digest: p.shared.data for p in parcels}
        self._session.store(shared)
        with tempfile.TemporaryDirectory() as temporary:  # the dict forgets what nobody asks for
            for digest, data in shared.items():
                Path(temporary, digest).write_bytes(data)
            self.volume.upload(temporary, container.FUNCTIONS)
        messages = [container.message(p.shared.digest, None, [p.data]) for p in parcels]
        return self._session.spawn(folder.path.name, self._options, messages)

    def announce(self, folder: RunFolder) -> None:
        """Put what a run has been asked on the volume, where others look for it."""
        with tempfile.TemporaryDirectory() as chosen:
            for name in (layout.RUN, layout.JOBS, layout.MULTIRUN):
                with contextlib.suppress(FileNotFoundError):
                    Path(chosen, name).write_bytes((folder.path / name).read_bytes())
            self.volume.upload(chosen, _in_outputs(folder.path))

    def collect(self, folder: RunFolder, jobs: Sequence[Job]) -> None:
        """Combine the run where its files are, and bring home the table and what is small enough.

        Args:
            folder: The run.
            jobs: Those of its jobs that ran here.
        """
        run = _in_outputs(folder.path)
        folders = [os.path.relpath(job.folder, folder.path) for job in jobs if job.folder]
        limit = self._options.get("pull", _PULL)
        plain = ("environment", "image", "secrets", "volumes")  # no GPU for this
        gatherer = self._viewing({name: self._options[name] for name in plain if name in self._options})
        archive = gatherer.run(container.gather, run, folders, None if limit is None else int(limit * 2**20))
        with tempfile.TemporaryDirectory() as temporary:
            home = self.volume.download(archive, Path(temporary, "home.tar.gz"))
            with tarfile.open(home) as tar:
                tar.extractall(folder.path, filter="data")
        self.volume.remove(archive)

    def encode(self, jobs: Sequence[Job]) -> list[Parcel]:
        """As everywhere; and the folders of the jobs become those on the volume.

        Raises:
            UsageError: A job's folder is not under `outputs/`.
        """
        moved = [
            replace(job, folder=str(on_volume(Path(job.folder)))) if job.record and job.folder else job for job in jobs
        ]
        with pickling.by_value(_not_shipped(self._project)):
            return super().encode(moved)

    def plan(self) -> Plan | None:
        """What the image is made of; None where a `modal.Image` was given.

        Raises:
            UsageError: As `mini.image.plan`.
        """
        given = self._options.get("image")
        if given is not None and not isinstance(given, Image):
            return None
        return _plan(given or Image(), self._project)

    def asked(self) -> dict[str, Any]:
        """The plan of the image and the name of the volume, for `run.json`."""
        made = self.plan()
        where = {"volume": {"name": self.volume.name, "environment": self._options.get("environment")}}
        return {**where, **({"image": made.as_json()} if made is not None else {})}

    def _ensure_image(self) -> Any:
        """The `modal.Image` for these options: made once in a process for what is equal."""
        made = self.plan()
        return self._options["image"] if made is None else _image(made)

    def _container(self, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]]:
        """The image for some options, and what its containers find in their environment."""
        return self._viewing(options)._ensure_image(), {container.APPARATUS: self.kind}

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        shared = {p.shared.digest: p.shared.data for p in parcels}
        is_stored = sum(len(p.shared.data) for p in parcels) > _INLINE
        function = self._session.function(self._options) if parcels else None
        if is_stored:
            self._session.store(shared)

        def message(together: Sequence[Parcel]) -> bytes:
            inline = None if is_stored else together[0].shared.data
            return container.message(together[0].shared.digest, inline, [parcel.data for parcel in together])

        return ModalStream(self._session, self._options, function, parcels, message)

    def _close(self) -> None:
        self._session.close()

    def _folder(self, batch: str, index: int) -> str:
        return f"{container.OUTPUTS}/{self._session.name}/{batch}/{index}"

    def _viewing(self, options: Mapping[str, Any]) -> ModalApparatus:
        view = self.w()
        view._options, view._hooks = dict(options), ()
        return view

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        valid = {*_function_options(), *OURS}
        checked = dict(options)
        for name, value in options.items():
            if name not in valid:
                raise OptionError(f"{type(self).__name__} has no option {name!r}; {did_you_mean(name, valid)}")
            if name in _CHECKS:
                try:
                    checked[name] = _CHECKS[name](value)
                except (ValueError, TypeError) as error:
                    raise OptionError(f"{name}={value!r} is not possible: {error}") from None
        return checked


def on_volume(folder: Path) -> PurePosixPath:
    """A folder under `outputs/` here, relative to where a container starts.

    Raises:
        UsageError: It is elsewhere.
    """
    relative = Path(os.path.relpath(folder)) if folder.is_absolute() else folder
    if relative.parts[:1] != (container.OUTPUTS,):
        raise UsageError(
            f"{folder} is not under ./{container.OUTPUTS}/, which is the volume on Modal; let hydra.sweep.dir begin with "
            f"{container.OUTPUTS}/"
        )
    return PurePosixPath(*relative.parts)


def _in_outputs(folder: Path) -> str:
    return on_volume(folder).relative_to(container.OUTPUTS).as_posix()


def _function_options() -> list[str]:
    import modal

    parameters = inspect.signature(modal.App.function).parameters
    return [name for name in parameters if name not in _NOT_OPTIONS and not name.startswith("_")]


def _timeout(value: Any) -> int:
    if value is None:
        return TIMEOUT
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= _LONGEST:
        raise ValueError(f"it must be a number of seconds from 1 to {_LONGEST}, Modal's longest")
    return int(value)


def _retries(value: Any) -> Any:
    given = retries(value) if not isinstance(value, bool | float | str) else -1
    if given < 0:
        raise ValueError("it must be a whole number, 0 or more, or a modal.Retries")
    return value


def _size(value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
        raise ValueError("it must be a number of MiB, or None for no limit")
    return value


@functools.cache
def _plan(spec: Image, project: Path) -> Plan:
    return plan(spec, project)


@functools.cache
def _image(made: Plan) -> Any:
    large = too_large(made)
    if large and not (sys.stdin.isatty() and input(f"{large}. Go on? [y/N] ").strip().lower() in ("y", "yes")):
        raise UsageError(
            f"{large}, which is nearly always a mistake; move what is large out of src/ and image.files, "
            "or allow it with image.max_upload=MIB (null: any size)"
        )
    return make_image(made)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "timeout": _timeout,
    "retries": _retries,
    "logs": boolean,
    "pull": _size,
    "result_limit": _size,
    "group": lambda value: None if value is None else whole(1)(value),
}


def _not_shipped(project: Path) -> list[ModuleType]:
    """The modules a container will not have: neither installed, nor under the project's `src/`."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__")
        and isinstance(file := getattr(module, "__file__", None), str)
        and not _is_shipped(file, project)
    ]


@functools.cache
def _is_shipped(file: str, project: Path) -> bool:
    there = (sys.prefix, sys.base_prefix, project / "src", SOURCE, *_INSTALLED)
    return os.path.realpath(file).startswith(tuple(os.path.realpath(str(path)) + os.sep for path in there))
