"""What the views of one apparatus share: the connection, the volume, and the open apps."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import inspect
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mini._tls import ensure_grpc_trusts_system_ca
from mini.apparatus.modal import beat, ledger, preflight
from mini.apparatus.modal.client import connect, disconnect, doing, off_loop, valid_name
from mini.apparatus.modal.container import (
    LOGS,
    OUTPUTS,
    RESULT_LIMIT,
    RETRIES,
    ROOT,
    SHARED,
    TIMEOUT,
    VOLUME,
    execute,
)
from mini.apparatus.modal.logs import LogViewer
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.modal.volume import ModalVolume
from mini.errors import UsageError

HF_HOME, HF_VOLUME = "/cache/huggingface", "huggingface-cache"
"""Where a container keeps what it downloads from Hugging Face with `image.hf_cache`, and the volume that is there."""

_NOT_OPTIONS = ("self", "serialized", "name", "is_generator", "include_source", "schedule", "max_inputs")
_WRITTEN_OUT = frozenset({"image", "volumes", "secrets", "env"})
_FRESH = 1.0  # seconds for which what the jobs said is not asked for again

Credentials = Callable[[], tuple[str, tuple[str, str]]]


class Session:
    """Opens one app for each distinct set of options and keeps it until `close`.

    Args:
        name: Of the apps.
        volume: The name of the volume.
        credentials: Returns the server's address and the token; called at the first contact.
        image: Returns the image for some options, and what its containers find in their environment.
        environment: Modal's environment; None for the configured one.
    """

    def __init__(
        self,
        name: str,
        volume: str,
        credentials: Credentials,
        image: Callable[[ModalOptions], tuple[Any, Mapping[str, str]]],
        environment: str | None,
    ) -> None:
        self.name, self._credentials, self._image, self._environment = name, credentials, image, environment
        self.volume = ModalVolume(volume, self.client, environment)
        self._lock = threading.RLock()
        self._client: Any = None
        self._apps: dict[str, tuple[Any, contextlib.ExitStack]] = {}
        self._dict: Any = None
        self._stored: set[str] = set()
        self.homes: dict[str, str] = {}
        """The folder here of each run, by its folder in a container."""
        self._progress_name = f"{name}-{secrets.token_hex(4)}"
        self._marked: dict[str, bool] = {}
        self._said: dict[str, Mapping[str, Any]] = {}
        self._asked = 0.0

    def client(self) -> Any:
        """A client that has been answered.

        Raises:
            TokenError: There is no token, or it was refused.
            ConnectionRefused: The server cannot be reached.
        """
        with self._lock:
            if self._client is None:
                ensure_grpc_trusts_system_ca()
                url, token = self._credentials()
                self._client = connect(preflight.choose(url), token)
                atexit.register(self.close)
            return self._client

    @off_loop
    def function(self, options: ModalOptions) -> Any:
        """The generic function with these options, its image built and its app open.

        Raises:
            CloudError: Modal does not do it; the subclass says what.
            UsageError: Modal does not take an option.
        """
        key = _key(options)
        with self._lock:
            if key not in self._apps:
                self._apps[key] = self._open(options, key)
            return self._apps[key][0]

    @off_loop
    def deploy(
        self, run: str, parts: Sequence[tuple[ModalOptions, Sequence[bytes]]], known: Mapping[str, str]
    ) -> dict[str, Any]:
        """Deploy an app for one run, and make one call for each of its parts; they go on without a client.

        Args:
            run: The run's name.
            parts: Options, and the inputs of the generic function with these options.
            known: What all containers find in their environment.

        Returns:
            Where to find it: `app`, `calls`, `volume`, `live` and `environment`.
        """
        import modal

        client, app, name = self.client(), modal.App(), f"{self.name[:20]}-{valid_name(run)[-40:]}"
        known = {**known, ledger.APP: name, beat.LIVE: name, SHARED: name}
        with doing("deploy an app on Modal", client):
            for number, (options, _) in enumerate(parts):
                self._define(app, options, f"job-{number}", known)
            entries = modal.Dict.from_name(
                name, create_if_missing=True, client=client, environment_name=self._environment
            )
            entries.hydrate()
            app.deploy(name=name, client=client, environment_name=self._environment)
            calls = []
            for number, (_, messages) in enumerate(parts):
                function = modal.Function.from_name(
                    name, f"job-{number}", client=client, environment_name=self._environment
                )
                calls.append(function.experimental_spawn_map(list(messages)).object_id)
            entries.put(ledger.CALLS, calls)
        return {
            "app": name,
            "calls": calls,
            "live": name,
            "volume": self.volume.name,
            "environment": self._environment,
        }

    def _open(self, options: ModalOptions, key: str) -> tuple[Any, contextlib.ExitStack]:
        import modal

        client, stack, app = self.client(), contextlib.ExitStack(), modal.App(self.name)
        with doing("open an app on Modal", client):
            known = {SHARED: self._dict_name, beat.PROGRESS: self._progress_name}
            if options.logs:
                known[LOGS] = "1"
            function = self._define(app, options, f"job-{key}", known)
            viewer = LogViewer(app)
            stack.callback(viewer.wait)  # when the app is closed
            stack.enter_context(app.run(client=client, environment_name=self._environment))
            if options.logs:
                viewer.start()
        return function, stack

    def _define(self, app: Any, options: ModalOptions, name: str, known: Mapping[str, str]) -> Any:
        """The generic function with these options, in an app that is not open yet."""
        # What is wrong with the image is known without Modal.
        image, of_image = self._image(options)
        theirs = function_options() - _WRITTEN_OUT
        given = {option: value for option, value in vars(options).items() if option in theirs and value is not None}
        given |= dict(options.extra)
        mounts = {f"{ROOT}/{OUTPUTS}": self.volume.handle, **self._volumes(dict(options.volumes))}
        own = dict(options.env)
        if getattr(options.image, "hf_cache", False):
            mounts |= self._volumes({HF_HOME: HF_VOLUME})
            own.setdefault("HF_HOME", HF_HOME)
        if isinstance(options.gpu, tuple):
            given["gpu"] = list(options.gpu)
        environment = {
            **own,
            **of_image,
            **known,
            VOLUME: self.volume.name,
            RETRIES: str(retries(options.retries)),
            TIMEOUT: str(options.timeout),
            RESULT_LIMIT: str(int(options.result_limit * 2**20)),
        }
        if known[SHARED] == self._dict_name:
            self._shared()  # before the first container may ask for it
        secrets = self._secrets(options.secrets, options.pass_env)
        decorate = app.function(
            **given, image=image, volumes=mounts, secrets=secrets, env=environment, serialized=True, name=name
        )
        return decorate(execute)

    def _volumes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Volumes by mount point; a text is the name of one."""
        import modal

        return {
            path: modal.Volume.from_name(what, create_if_missing=True, version=2, environment_name=self._environment)
            if isinstance(what, str)
            else what
            for path, what in given.items()
        }

    def _secrets(self, given: Iterable[Any], passed: Sequence[str]) -> list[Any]:
        """Secrets; a text is the name of one. What is passed on from this environment is one more."""
        import modal

        missing = [name for name in passed if name not in os.environ]
        if missing:
            raise UsageError(f"pass_env names {', '.join(missing)}, which this environment does not have; export it")
        secrets = [
            modal.Secret.from_name(what, environment_name=self._environment) if isinstance(what, str) else what
            for what in given
        ]
        return [*secrets, *([modal.Secret.from_local_environ(list(passed))] if passed else [])]

    @off_loop
    def store(self, shared: Mapping[str, bytes]) -> None:
        """Put functions where containers find them.

        Args:
            shared: Pickled functions by digest; those that are there are not sent again.
        """
        with self._lock, doing("send the function to Modal"):
            new = {digest: data for digest, data in shared.items() if digest not in self._stored}
            if new:
                self._shared().update(new)
                self._stored |= new.keys()

    @property
    def _dict_name(self) -> str:
        return f"{self.name}-shared"

    def _shared(self) -> Any:
        import modal

        if self._dict is None:
            self._dict = modal.Dict.from_name(
                self._dict_name, create_if_missing=True, client=self.client(), environment_name=self._environment
            )
            self._dict.hydrate()
        return self._dict

    @off_loop
    def progress(self) -> Mapping[str, Mapping[str, Any]]:
        """What the containers of this session said last of recorded jobs, by `beat.key`; a second old at most."""
        import modal

        with self._lock:
            if time.monotonic() - self._asked > _FRESH:
                self._asked = time.monotonic()
                with contextlib.suppress(Exception):  # a cache; and nobody may have said anything yet
                    found = modal.Dict.from_name(
                        self._progress_name, client=self.client(), environment_name=self._environment
                    )
                    self._said = {key: value for key, value in found.items() if key != beat.STOP}
            return self._said

    @off_loop
    def mark(self, key: str, *, early: bool = False) -> None:
        """Let a job stop, or end early: its container looks for this every few seconds.

        Args:
            key: As `beat.key` makes it.
            early: Whether it shall end by itself, when it says how far it is.
        """
        import modal

        with self._lock, doing("stop a job on Modal"):
            self._marked[key] = early
            self._asked = self._asked or time.monotonic()
            modal.Dict.from_name(
                self._progress_name,
                create_if_missing=True,
                client=self.client(),
                environment_name=self._environment,
            ).put(beat.STOP, self._marked)

    def _forget_progress(self) -> None:
        import modal

        if self._asked:
            with contextlib.suppress(Exception):  # no container had anything to say
                modal.Dict.objects.delete(
                    self._progress_name, client=self._client, environment_name=self._environment, allow_missing=True
                )

    @off_loop
    def result(self, call: str, index: int) -> Any:
        """What one input of a call that is over came to.

        Args:
            call: The call's id.
            index: The input's place in it.

        Returns:
            What the function returned, or the exception Modal raises for that input.
        """
        import modal

        try:
            return modal.FunctionCall.from_id(call, client=self.client()).get(timeout=5, index=index)
        except Exception as error:  # noqa: BLE001 - it is the answer
            return error

    @off_loop
    def cancel(self, call: str | None, options: ModalOptions) -> None:
        """Stop what runs.

        Args:
            call: The call's id, if any job has told it; without one the app is closed.
            options: As the function was asked for.
        """
        import modal

        if call is not None:
            with contextlib.suppress(Exception):  # then the app is closed instead
                modal.FunctionCall.from_id(call, client=self.client()).cancel()
                return
        with self._lock:
            _, stack = self._apps.pop(_key(options), (None, None))
        if stack is not None:
            with contextlib.suppress(Exception):
                stack.close()

    @off_loop
    def close(self) -> None:
        """Close the apps and the connection."""
        atexit.unregister(self.close)
        with self._lock:
            for _, stack in self._apps.values():
                with contextlib.suppress(Exception):  # the server may be gone; there is nothing left to stop then
                    stack.close()
            self._apps.clear()
            if self._client is not None:
                self._forget_progress()
                disconnect(self._client)
                self._client = self._dict = None


@functools.cache
def function_options() -> frozenset[str]:
    """The options of `modal.App.function`, without those that say what the function is and how it travels."""
    import modal

    parameters = inspect.signature(modal.App.function).parameters
    return frozenset(name for name in parameters if name not in _NOT_OPTIONS and not name.startswith("_"))


def retries(given: Any) -> int:
    """How many further attempts an option `retries` allows: a number, or a `modal.Retries`."""
    return int(getattr(given, "max_retries", given) or 0)


def _key(options: ModalOptions) -> str:
    given = {name: value for name, value in vars(options).items() if name not in ("pull", "pull_total", "group")}
    return hashlib.blake2b(repr(sorted(given.items(), key=lambda item: item[0])).encode(), digest_size=6).hexdigest()
