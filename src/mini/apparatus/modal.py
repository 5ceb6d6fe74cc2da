"""Jobs on Modal's cloud."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import pickle
import queue
import re
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, ClassVar

from mini import preflight, remote, wire
from mini._tls import ensure_grpc_trusts_system_ca
from mini.apparatus.base import Apparatus, Stream
from mini.errors import OptionError, UsageError, did_you_mean
from mini.image import make_image
from mini.job import Job, Outcome
from mini.modal_errors import lost, translate
from mini.modal_volume import ModalVolume
from mini.spec import Image
from mini.store import RunFolder
from mini.wire import Parcel

_OURS = ("image", "logs", "pull", "environment")
# What the apparatus decides itself: how the function travels, what it is called, what it is.
_NOT_OPTIONS = ("self", "serialized", "name", "is_generator", "include_source", "schedule", "max_inputs")
_TIMEOUT = 3600  # seconds; Modal's own default of 300 ends most trainings
_INLINE = 512  # bytes; a function this short travels with each input, which costs less than a place of its own
_HELLO = 3.0  # seconds
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
            jobs print. `pull` (bool): fetch the files of a run when it is over; else only its table. `environment`:
            Modal's environment.

    Raises:
        OptionError: An option is unknown; the message names the near ones.
    """

    kind = "modal"
    options: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}  # Modal's own; see _checked

    def __init__(
        self, name: str = "mini", *, volume: str | None = None, project: Path | None = None, **options: Any
    ) -> None:
        super().__init__(name, **options)
        self._project = project or _project()
        self._session = _Session(self)
        self._volume = ModalVolume(
            volume or _name(name).lower(), self._session.client, self._options.get("environment")
        )

    @property
    def volume(self) -> ModalVolume:
        """Where the jobs leave their files."""
        return self._volume

    def collect(self, folder: RunFolder, jobs: Sequence[Job]) -> None:
        """Bring the files of a run home."""
        if not jobs:
            return
        path = _on_volume(folder.path).relative_to(remote.OUTPUTS).as_posix()
        with contextlib.suppress(FileNotFoundError):  # no job got so far as to write anything
            self._volume.download(path, folder.path)

    def credentials(self) -> tuple[str, tuple[str, str]]:
        """The server's address and the token.

        Raises:
            TokenError: There is no token.
        """
        from modal.config import config

        return config.get("server_url"), preflight.require_token()

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        if not parcels:
            return _ModalStream(self, iter(()), [], self._timeout)
        function = self._session.function(self._options)
        inline = {p.shared.digest: p.shared.data if len(p.shared.data) <= _INLINE else None for p in parcels}
        stored = {p.shared.digest: p.shared.data for p in parcels if inline[p.shared.digest] is None}
        if stored:
            self._session.store(stored)
        messages = [pickle.dumps(((p.shared.digest, inline[p.shared.digest]), p.data), protocol=5) for p in parcels]
        results = function.map(messages, order_outputs=False, return_exceptions=True)
        return _ModalStream(self, results, [p.job for p in parcels], self._timeout)

    def encode(self, jobs: Sequence[Job]) -> list[Parcel]:
        """As everywhere; and the folders of the jobs become those on the volume.

        Raises:
            UsageError: A job's folder is not under `outputs/`.
        """
        moved = [replace(job, folder=str(_on_volume(Path(job.folder)))) if job.folder else job for job in jobs]
        with wire.by_value(_not_shipped(self._project)):
            return super().encode(moved)

    @property
    def _timeout(self) -> float:
        return float(self._options.get("timeout") or _TIMEOUT)

    def _close(self) -> None:
        self._session.close()

    def _folder(self, batch: str, index: int) -> str:
        return str(PurePosixPath(remote.OUTPUTS, _name(self.name), batch, str(index)))

    def _image(self, given: Any) -> Any:
        if given is None or isinstance(given, Image):
            return make_image(given or Image(), self._project)
        return given

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        valid = {*_function_options(), *_OURS}
        for name in options:
            if name not in valid:
                raise OptionError(f"ModalApparatus has no option {name!r}; {did_you_mean(name, valid)}")
        retries = options.get("retries")
        if isinstance(retries, bool | float | str) or (isinstance(retries, int) and retries < 0):
            raise OptionError(f"retries={retries!r} is not possible: it must be a whole number, 0 or more")
        return dict(options)

    def _give_up(self, call: str | None, options: Mapping[str, Any]) -> None:
        """Stop the calls of a stream that was left."""
        self._session.cancel(call, options)


class _ModalStream(Stream):
    """Reads a map in a thread: Modal's client swallows an interrupt that reaches it."""

    def __init__(self, apparatus: ModalApparatus, results: Iterator[Any], jobs: Sequence[Job], timeout: float) -> None:
        self._apparatus, self._timeout = apparatus, timeout
        self._options = apparatus._options
        self._waiting = {job.index: job for job in jobs}
        self._queue: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._unplaced: list[BaseException] = []
        self._call: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._read, args=(results,), name="mini-modal-map", daemon=True)
        self._thread.start()

    def _read(self, results: Iterator[Any]) -> None:
        try:
            for result in results:
                self._queue.put(pickle.loads(result) if isinstance(result, bytes) else result)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._queue.put(_Broken(error))
        self._queue.put(None)

    def __next__(self) -> Outcome:
        while self._waiting:
            if self._closed:
                raise StopIteration
            item = self._queue.get()
            if isinstance(item, Outcome):
                self._call = self._call or item.where.get("call")
                job = self._waiting.pop(item.index, None)
                if job is not None:
                    return item
            elif isinstance(item, _Broken):
                raise translate(item.error, "run the jobs") from item.error
            elif item is None:
                if self._closed or not self._unplaced:
                    break
                return self._place()
            else:
                self._unplaced.append(item)
        raise StopIteration

    def _place(self) -> Outcome:
        """Give an error that came instead of an outcome to the next job that has none.

        Results come in no order, and an error does not say whose it is. When the errors are of one kind, which is
        nearly always, that does not matter.
        """
        error = self._unplaced.pop(0)
        index = min(self._waiting)
        job = self._waiting.pop(index)
        self._queue.put(None)
        state, failure = lost(error, self._timeout)
        kinds = {lost(other, self._timeout)[0] for other in self._unplaced} | {state}
        if len(kinds) > 1:
            failure = replace(failure, message=f"{failure.message} (one of several that ended so or otherwise)")
        return Outcome(index, state, None, failure, None, time.time(), job.attempt, key=job.key)

    def close(self) -> None:
        unfinished, self._closed = bool(self._waiting) and not self._closed, True
        self._waiting.clear()
        self._queue.put(None)
        if unfinished:
            self._apparatus._give_up(self._call, self._options)
        # Modal's client tells the server that it has all it wants, after its last result.
        self._thread.join(_HELLO)


class _Broken(BaseException):
    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Session:
    """The connection and the open apps of an apparatus and its views."""

    def __init__(self, apparatus: ModalApparatus) -> None:
        self._apparatus = apparatus
        self._lock = threading.RLock()
        self._client: Any = None
        self._apps: dict[str, tuple[Any, contextlib.ExitStack]] = {}
        self._shared: Any = None
        self._stored: set[str] = set()

    def client(self) -> Any:
        """A client that has been answered.

        Raises:
            TokenError: There is no token, or it was refused.
            ConnectionRefused: The server cannot be reached.
        """
        with self._lock:
            if self._client is None:
                ensure_grpc_trusts_system_ca()
                url, token = self._apparatus.credentials()
                preflight.check(url)
                self._client = _connect(url.split(",")[0], token)
            return self._client

    def function(self, options: Mapping[str, Any]) -> Any:
        """The generic function with these options, its app open."""
        key = hashlib.blake2b(repr(sorted(options.items(), key=lambda o: o[0])).encode(), digest_size=6).hexdigest()
        with self._lock:
            if key not in self._apps:
                self._apps[key] = self._open(options, key)
            return self._apps[key][0]

    def _open(self, options: Mapping[str, Any], key: str) -> tuple[Any, contextlib.ExitStack]:
        import modal

        client = self.client()
        apparatus = self._apparatus
        given = {name: value for name, value in options.items() if name not in _OURS and value is not None}
        given.setdefault("timeout", _TIMEOUT)
        given["timeout"] = int(given["timeout"])
        volume = apparatus.volume
        mounts = {f"{remote.ROOT}/{remote.OUTPUTS}": volume.handle, **given.pop("volumes", {})}
        environment = {
            **(given.pop("env", None) or {}),
            remote.SHARED: self._dict_name(),
            remote.VOLUME: volume.name,
            remote.RETRIES: str(_retries(given.get("retries"))),
        }
        stack = contextlib.ExitStack()
        with _doing("open an app on Modal"):
            app = modal.App(_name(apparatus.name))
            function = app.function(
                **given,
                image=apparatus._image(options.get("image")),
                volumes=mounts,
                env=environment,
                serialized=True,
                name=f"job-{key}",
            )(remote.execute)
            self._dict()  # before the first container may ask for it
            if options.get("logs"):
                stack.enter_context(modal.enable_output())
            stack.enter_context(app.run(client=client, environment_name=options.get("environment")))
        return function, stack

    def store(self, shared: Mapping[str, bytes]) -> None:
        """Put functions where containers find them."""
        with self._lock, _doing("send the function to Modal"):
            new = {digest: data for digest, data in shared.items() if digest not in self._stored}
            if new:
                self._dict().update(new)
                self._stored |= new.keys()

    def _dict_name(self) -> str:
        return f"{_name(self._apparatus.name)}-shared"

    def _dict(self) -> Any:
        import modal

        if self._shared is None:
            self._shared = modal.Dict.from_name(self._dict_name(), create_if_missing=True, client=self.client())
            self._shared.hydrate()
        return self._shared

    def cancel(self, call: str | None, options: Mapping[str, Any]) -> None:
        """Stop what runs: by the call's id if any job has told it, else by closing the app."""
        import modal

        with contextlib.suppress(Exception):
            if call is not None:
                modal.FunctionCall.from_id(call, client=self.client()).cancel()
                return
        with self._lock:
            key = hashlib.blake2b(repr(sorted(options.items(), key=lambda o: o[0])).encode(), digest_size=6).hexdigest()
            app = self._apps.pop(key, None)
        if app is not None:
            with contextlib.suppress(Exception):
                app[1].close()

    def close(self) -> None:
        with self._lock:
            for _, stack in self._apps.values():
                with contextlib.suppress(Exception):  # the server may be gone; there is nothing left to stop then
                    stack.close()
            self._apps.clear()
            if self._client is not None:
                with contextlib.suppress(Exception):
                    self._client.__exit__(None, None, None)
                self._client = None


@contextlib.contextmanager
def _doing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        translated = translate(error, what)
        if translated is error:
            raise
        if type(error).__name__ == "ImageBuildError":
            translated = type(translated)(f"{translated}\n{_build_log(error)}")
        raise translated from error


def _build_log(error: Any) -> str:
    """The end of a build's log."""
    with contextlib.suppress(Exception):
        import modal

        entries = modal.Image.from_id(error.image_id).logs.tail(entries=20)
        return "".join(entry.message for entry in entries)
    return "its log is on Modal's dashboard; apparatus.logs=true shows it here"


def _connect(url: str, token: tuple[str, str]) -> Any:
    """A client that the server has greeted."""
    import modal
    from modal_proto import api_pb2

    client = modal.client.Client(url, api_pb2.CLIENT_TYPE_CLIENT, token)
    client.__enter__()  # type: ignore[no-untyped-call]
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def greet() -> None:
        try:
            client.hello()
            answers.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            answers.put(error)

    threading.Thread(target=greet, daemon=True).start()
    try:
        error = answers.get(timeout=_HELLO)
    except queue.Empty:
        from mini.errors import ConnectionRefused

        raise ConnectionRefused(
            f"{url} accepts connections but did not answer within {_HELLO:.0f} s; is it Modal, and does the network "
            "let HTTP/2 through?"
        ) from None
    if error is not None:
        translated = translate(error, "reach Modal")
        raise translated from error
    return client


def _function_options() -> list[str]:
    import modal

    parameters = inspect.signature(modal.App.function).parameters
    return [name for name in parameters if name not in _NOT_OPTIONS and not name.startswith("_")]


def _retries(given: Any) -> int:
    return int(getattr(given, "max_retries", given) or 0)


def _name(name: str) -> str:
    """A name Modal takes: letters, digits, and - _ ., at most 64."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:48] or "mini"


def _on_volume(folder: Path) -> PurePosixPath:
    """The same folder relative to where a container starts."""
    relative = Path(os.path.relpath(folder)) if folder.is_absolute() else folder
    if relative.parts[:1] != (remote.OUTPUTS,):
        raise UsageError(
            f"{folder} is not under ./{remote.OUTPUTS}/, which is the volume on Modal; let hydra.sweep.dir begin with "
            f"{remote.OUTPUTS}/"
        )
    return PurePosixPath(*relative.parts)


def _not_shipped(project: Path) -> list[ModuleType]:
    """The modules a container will not have: neither installed, nor under the project's `src/`."""
    there = tuple(
        {os.path.realpath(str(path)) + os.sep for path in (sys.prefix, sys.base_prefix, project / "src", *_INSTALLED)}
    )
    modules = [module for module in list(sys.modules.values()) if isinstance(getattr(module, "__file__", None), str)]
    return [
        module
        for module in modules
        if module.__name__ not in ("__main__", "__mp_main__")
        and not os.path.realpath(str(module.__file__)).startswith(there)
    ]


def _project() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)
