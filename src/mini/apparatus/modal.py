"""Jobs on Modal's cloud."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pickle
import queue
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, ClassVar

from mini import preflight, remote, store, wire
from mini.apparatus.base import Apparatus, Stream, boolean
from mini.errors import MiniError, OptionError, UsageError, did_you_mean
from mini.image import Plan, make_image, plan, too_large
from mini.job import Job, Outcome
from mini.modal_client import valid_name
from mini.modal_errors import lost, translate
from mini.modal_session import OURS, TIMEOUT, Session, retries
from mini.modal_volume import ModalVolume
from mini.project import root
from mini.spec import Image
from mini.store import RunFolder
from mini.wire import Parcel

# What the apparatus decides itself: how the function travels, what it is called, what it is.
_NOT_OPTIONS = ("self", "serialized", "name", "is_generator", "include_source", "schedule", "max_inputs")
_INLINE = 2048  # bytes; functions that need no more for all inputs travel with them, and have no place of their own
_LONGEST = 24 * 3600  # seconds; Modal's own limit
_PULL = 10.0  # MiB
_BURST = 0.002  # seconds in which results gather
_CLOSING = 3.0  # seconds
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})

_OWN_SOURCE = Path(__file__).parents[2]  # shipped even where this package is no part of the project


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
            too. `environment`: Modal's environment.

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
            self.volume.upload(temporary, remote.FUNCTIONS)
        messages = [pickle.dumps((p.shared.digest, None, p.data), protocol=5) for p in parcels]
        return self._session.spawn(folder.path.name, self._options, messages)

    def announce(self, folder: RunFolder) -> None:
        """Put what a run has been asked on the volume, where others look for it."""
        with tempfile.TemporaryDirectory() as chosen:
            for name in (store.RUN, store.JOBS, store.MULTIRUN):
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
        archive = gatherer.run(remote.gather, run, folders, None if limit is None else int(limit * 2**20))
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
        with wire.by_value(_not_shipped(self._project)):
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
        return self._viewing(options)._ensure_image(), {remote.APPARATUS: self.kind}

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        if not parcels:
            return _ModalStream(self, None, [], [])
        function = self._session.function(self._options)
        shared = {p.shared.digest: p.shared.data for p in parcels}
        if is_stored := sum(len(p.shared.data) for p in parcels) > _INLINE:
            self._session.store(shared)
        messages = [
            pickle.dumps((p.shared.digest, None if is_stored else p.shared.data, p.data), protocol=5) for p in parcels
        ]
        return _ModalStream(self, function, messages, [p.job for p in parcels])

    def _close(self) -> None:
        self._session.close()

    def _folder(self, batch: str, index: int) -> str:
        return f"{remote.OUTPUTS}/{self._session.name}/{batch}/{index}"

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


class _ModalStream(Stream):
    """Reads a map in a thread: Modal's client swallows an interrupt that reaches it."""

    def __init__(self, apparatus: ModalApparatus, function: Any, messages: list[bytes], jobs: Sequence[Job]) -> None:
        self._session, self._options = apparatus._session, apparatus._options
        self._jobs = jobs
        self._waiting = {job.index: position for position, job in enumerate(jobs)}
        self._queue: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._errors: list[BaseException] = []
        self._settled: list[Outcome] = []
        self._call: str | None = None
        self._closed = False
        self._thread = threading.Thread(
            target=self._read, args=(function, messages), name="mini-modal-map", daemon=True
        )
        self._thread.start()

    def _read(self, function: Any, messages: list[bytes]) -> None:
        try:
            if messages:
                for result in function.map(messages, order_outputs=False, return_exceptions=True):
                    self._queue.put(pickle.loads(result) if isinstance(result, bytes) else result)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._queue.put(_Broken(error))
        self._queue.put(None)

    def __next__(self) -> Outcome:
        while self._waiting and not self._closed:
            item = self._take()
            if isinstance(item, Outcome):
                self._call = self._call or item.where.get("call")
                if self._waiting.pop(item.index, None) is not None:
                    return _at_home(item)
            elif isinstance(item, _Broken):
                raise translate(item.error, "run the jobs") from item.error
            elif item is not None:
                self._errors.append(item)
            elif self._closed or not self._errors:
                break
            else:
                self._settle()
        if self._settled and not self._closed:
            return self._settled.pop(0)
        raise StopIteration

    def _take(self) -> Outcome | BaseException | None:
        """The next of what was read. To wake for each of a burst would slow down the thread that reads it."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            time.sleep(_BURST)
            return self._queue.get()

    def _settle(self) -> None:
        """Find out whose the errors are that came instead of outcomes, and record what became of those jobs.

        Results come in no order, and an error does not say whose it is. Where all errors mean the same it does not
        matter; else the call is asked for each of its inputs that has no outcome.
        """
        timeout = float(self._options.get("timeout") or TIMEOUT)
        meanings = [lost(error, timeout) for error in self._errors]
        alike = len({(state, failure.type) for state, failure in meanings}) == 1
        for (index, position), meaning in zip(sorted(self._waiting.items()), meanings, strict=False):
            job = self._jobs[position]
            state, failure = meaning
            if not alike and self._call is not None:
                found = self._session.result(self._call, position)
                if isinstance(found, bytes):
                    self._settled.append(_at_home(pickle.loads(found)))
                    continue
                state, failure = lost(found, timeout)
            elif not alike:
                failure = replace(failure, message=f"{failure.message} (or as one of its neighbours ended)")
            self._settled.append(
                Outcome(
                    index,
                    state,
                    failure=failure,
                    ended=time.time(),
                    attempt=job.attempt,
                    folder=job.folder if job.record else None,
                    key=job.key,
                )
            )
        rows = {self._jobs[position].index: self._jobs[position].row for position in self._waiting.values()}
        self._waiting.clear()
        with contextlib.suppress(MiniError):  # the volume cannot be reached; the caller is told of each job any way
            self._settled = [_at_home(outcome) for outcome in _record(self._session.volume, self._settled, rows)]

    def close(self) -> None:
        unfinished, self._closed = bool(self._waiting) and not self._closed, True
        self._queue.put(None)
        if unfinished:
            self._session.cancel(self._call, self._options)
        # Modal's client tells the server that it has all it wants, after its last result.
        self._thread.join(_CLOSING)


class _Broken(BaseException):
    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _record(
    volume: ModalVolume, outcomes: Sequence[Outcome], rows: Mapping[int, Mapping[str, Any]]
) -> Iterator[Outcome]:
    """Write the records of jobs whose containers could not; where one did before it was lost, that one stands."""
    new = []
    for outcome in outcomes:
        if outcome.folder is None or outcome.ok:
            yield outcome
            continue
        with tempfile.TemporaryDirectory() as temporary:
            recorded = None
            with contextlib.suppress(MiniError, FileNotFoundError):
                data = volume.read(str(PurePosixPath(outcome.folder, store.RECORD).relative_to(remote.OUTPUTS)))
                Path(temporary, store.RECORD).write_bytes(data)
                recorded = replace(store.read_record(Path(temporary)).outcome, folder=outcome.folder)
        if recorded is not None and recorded.ok:
            yield recorded
        else:
            new.append(outcome)
            yield outcome
    with tempfile.TemporaryDirectory() as temporary:
        for outcome in new:
            assert outcome.folder is not None
            folder = Path(temporary, *PurePosixPath(outcome.folder).relative_to(remote.OUTPUTS).parts)
            store.write_record(replace(outcome, folder=str(folder)), rows.get(outcome.index, {}))
        if new:
            volume.upload(temporary, "")


def _at_home(outcome: Outcome) -> Outcome:
    """The outcome with its folder as it is, or will be, on this machine."""
    return replace(outcome, folder=str(Path(outcome.folder).absolute())) if outcome.folder else outcome


def on_volume(folder: Path) -> PurePosixPath:
    """A folder under `outputs/` here, relative to where a container starts.

    Raises:
        UsageError: It is elsewhere.
    """
    relative = Path(os.path.relpath(folder)) if folder.is_absolute() else folder
    if relative.parts[:1] != (remote.OUTPUTS,):
        raise UsageError(
            f"{folder} is not under ./{remote.OUTPUTS}/, which is the volume on Modal; let hydra.sweep.dir begin with "
            f"{remote.OUTPUTS}/"
        )
    return PurePosixPath(*relative.parts)


def _in_outputs(folder: Path) -> str:
    return on_volume(folder).relative_to(remote.OUTPUTS).as_posix()


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
    there = (sys.prefix, sys.base_prefix, project / "src", _OWN_SOURCE, *_INSTALLED)
    return os.path.realpath(file).startswith(tuple(os.path.realpath(str(path)) + os.sep for path in there))
