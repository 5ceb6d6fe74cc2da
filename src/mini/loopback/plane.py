"""The control plane as one object: its servers, its state, and the thread it may run in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from grpclib.server import Server

from mini.loopback.apps import Apps
from mini.loopback.calls import Calls
from mini.loopback.container_requests import ContainerRequests
from mini.loopback.containers import Container
from mini.loopback.dicts import Dicts
from mini.loopback.environments import Environments
from mini.loopback.far import Relay
from mini.loopback.files import FileServer
from mini.loopback.functions import Functions
from mini.loopback.images import Images
from mini.loopback.janitor import Janitor
from mini.loopback.layers import Builder
from mini.loopback.logs import Logs
from mini.loopback.named_secrets import Secrets
from mini.loopback.objects import Objects
from mini.loopback.queues import Queues
from mini.loopback.sandbox import Sandbox, remove
from mini.loopback.sandboxes import Sandboxes
from mini.loopback.scheduler import Scheduler
from mini.loopback.service import Service, calls, quiet
from mini.loopback.state import Faults, LeftBehind, PlaneState
from mini.loopback.volumes import Volumes
from mini.machine import cores

_SOCKET = 70  # characters a folder's path may have for a unix socket in it: macOS takes about a hundred in all
_HANDLERS = (Apps, Functions, Calls, Logs, Dicts, Queues, Volumes, Objects, Images, Secrets, Environments)


def answered() -> set[str]:
    """The names of the calls of Modal's protocol that are answered, to a client or to a container."""
    return {name for name in calls() if any(hasattr(one, name) for one in (*_HANDLERS, ContainerRequests))}


class ControlPlane:
    """Serves on loopback from `start` to `stop`.

    It executes what it is sent. It answers only those who send its token, which is made anew for each control plane;
    its files are in folders that are its user's alone.

    Args:
        folder: Where its files go; None for the system's temporary folder. They go with it.
        port: The port; 0 for any.
        certificate: To serve gRPC over TLS.
        sign_in: Whether it gives its token to whoever asks, as `modal token new` does: for tests of that alone.
        round_trip: Seconds a round trip of its clients takes; its containers are near.
        sandbox: What containers are made of; None for processes that see this machine.
        data: A folder with what named secrets and volumes begin with: `secrets/NAME.env`, `volumes/NAME/`.
        notify: Takes what a person shall be told, such as what cannot be tried here.
    """

    def __init__(
        self,
        folder: Path | None = None,
        port: int = 0,
        certificate: ssl.SSLContext | None = None,
        *,
        sign_in: bool = False,
        round_trip: float = 0.0,
        sandbox: Sandbox | None = None,
        data: Path | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._relays = [Relay(round_trip), Relay(round_trip)] if round_trip else []
        self._certificate, self._port, self._sign_in = certificate, port, sign_in
        self._folder = Path(tempfile.mkdtemp(prefix="mini-", dir=folder))  # with mode 0700
        short = self._folder if len(str(self._folder)) < _SOCKET else Path(tempfile.mkdtemp(prefix="mini-", dir="/tmp"))
        self.state = PlaneState(self._folder, short / "sockets")
        self.state.sockets.mkdir(mode=0o700)
        self.state.sandbox, self.state.data = sandbox, data
        if notify is not None:
            self.state.notify = notify
        self.url = ""

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self.state.faults

    @property
    def token(self) -> tuple[str, str]:
        """What a client must send: MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."""
        return self.state.token

    def left_behind(self) -> list[LeftBehind]:
        """What containers wrote, those that are gone and those that are there, that is nowhere else."""
        there = [one for one in list(self._scheduler.containers.values()) if not one.gone]
        return [*self.state.left_behind, *(file for one in there for file in Sandboxes.left_behind(one))]

    def peaks(self) -> dict[str, int]:
        """The most memory, in bytes, that each container was seen to have."""
        return {one.task_id: one.peak for one in list(self._scheduler.containers.values()) if one.peak}

    async def start(self) -> None:
        """Begin to serve."""
        quiet()
        self._janitor = Janitor(sorted({self._folder, self.state.sockets.parent}))
        self._files = FileServer(self.state.bytes_in, self._relays[0] if self._relays else None)
        await self._files.start()
        given = self.state.sandbox
        self._builder = None if given is None else Builder(self.state, given)
        sandboxes = Sandboxes(self.state, given, self._builder, self._files) if given and self._builder else None
        self._scheduler = Scheduler(self.state, self._container_server, cores(), self._janitor.end_processes, sandboxes)
        self._apps = Apps(self.state, self._scheduler)
        self._handlers = (
            self._apps,
            Functions(self.state),
            Calls(self.state, self._scheduler),
            Logs(self.state),
            Dicts(self.state),
            Queues(self.state),
            Volumes(self.state, self._files),
            Objects(self.state, self._files),
            Images(self.state, self._scheduler, self._builder),
            Secrets(self.state),
            Environments(self.state, sign_in=self._sign_in),
        )
        self._watch = asyncio.ensure_future(self._apps.end_the_silent())
        self._server = Server([Service(self.state, *self._handlers)])
        await self._server.start("127.0.0.1", 0 if self._relays else self._port, ssl=self._certificate)
        assert self._server._server is not None
        port = self._server._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        if self._relays:
            port = await self._relays[1].start(port, self._port)
        self.url = f"http{'s' if self._certificate else ''}://127.0.0.1:{port}"

    async def stop(self) -> None:
        """End every container and stop to serve."""
        self._watch.cancel()
        if self._builder is not None:
            await self._builder.close()
        await self._scheduler.close()
        self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 5)
        for relay in self._relays[1:]:
            await relay.stop()
        await self._files.stop()
        for folder in {self._folder, self.state.sockets.parent}:
            remove(folder)
        self._janitor.close()

    def _container_server(self, container: Container) -> Server:
        own = ContainerRequests(self.state, self._scheduler, self._apps, container)
        return Server([Service(self.state, own, *self._handlers, inside=own.around)])


class Loopback:
    """A control plane in a thread of its own. A context manager.

    Args:
        folder: As for `ControlPlane`.
        certificate: As for `ControlPlane`.
        sign_in: As for `ControlPlane`.
        round_trip: As for `ControlPlane`.
        sandbox: As for `ControlPlane`.
        data: As for `ControlPlane`.
        notify: As for `ControlPlane`.
    """

    def __init__(
        self,
        folder: Path | None = None,
        certificate: ssl.SSLContext | None = None,
        *,
        sign_in: bool = False,
        round_trip: float = 0.0,
        sandbox: Sandbox | None = None,
        data: Path | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.plane = ControlPlane(
            folder,
            certificate=certificate,
            sign_in=sign_in,
            round_trip=round_trip,
            sandbox=sandbox,
            data=data,
            notify=notify,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mini-loopback", daemon=True)
        self._running = False

    @property
    def url(self) -> str:
        """The address, as MODAL_SERVER_URL takes it."""
        return self.plane.url

    @property
    def token(self) -> tuple[str, str]:
        """What a client must send: MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."""
        return self.plane.token

    @property
    def state(self) -> PlaneState:
        """What the control plane remembers: what was asked of it, and how often."""
        return self.plane.state

    @property
    def sandbox(self) -> Sandbox | None:
        """What containers are made of."""
        return self.plane.state.sandbox

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self.plane.faults

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.plane.start(), self._loop).result(30)
        self._running = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running:
            self._running = False
            asyncio.run_coroutine_threadsafe(self.plane.stop(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
