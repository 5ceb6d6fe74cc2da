"""The control plane as one object: its servers, its state, and the thread it may run in."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from mini.loopback.calls import Calls, ContainerCalls
from mini.loopback.containers import Container
from mini.loopback.objects import TOKEN, Objects
from mini.loopback.state import Faults, State
from mini.loopback.volumes import Volumes
from mini.machine import cores

__all__ = ["TOKEN", "ControlPlane", "Loopback"]


class ControlPlane:
    """Serves on loopback from `start` to `stop`.

    Args:
        folder: Where its files go; None for a temporary folder that goes with it.
        port: The port; 0 for any.
        certificate: To serve gRPC over TLS.
    """

    def __init__(self, folder: Path | None = None, port: int = 0, certificate: ssl.SSLContext | None = None) -> None:
        self._certificate = certificate
        # Unix sockets have short paths: the system's temporary folder, whatever the caller's.
        self._folder = Path(tempfile.mkdtemp(prefix="mini-", dir=None if folder is None else folder))
        self.state = State(self._folder)
        self._port = port
        self.url = ""

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self.state.faults

    async def start(self) -> None:
        """Begin to serve."""
        logging.getLogger("grpclib").setLevel(logging.WARNING)  # it tells of each caller that went
        await self._serve_files()
        self.volumes = Volumes(self.state, self._files_url)
        self.objects = Objects(self.state, self._files_url)
        self.calls = Calls(self.state, self.volumes, self._container_server, cores())
        self._server = Server([_Service(self.state, self.objects, self.volumes, self.calls)])
        await self._server.start("127.0.0.1", self._port, ssl=self._certificate)
        assert self._server._server is not None
        port = self._server._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http{'s' if self._certificate else ''}://127.0.0.1:{port}"

    async def stop(self) -> None:
        """End every container and stop to serve."""
        await self.calls.close()
        self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 5)
        await self._runner.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _container_server(self, container: Container) -> Server:
        own = ContainerCalls(self.calls, container)
        return Server([_Service(self.state, own, self.objects, self.volumes, self.calls, inside=True)])

    async def _serve_files(self) -> None:
        application = web.Application(client_max_size=1 << 40)
        application.router.add_get("/{kind:blobs|blocks}/{name}", self._get)
        application.router.add_put("/{kind:blobs|blocks}/{name}", self._put)
        application.router.add_get("/ranges/{start}/{end}/{path:.*}", self._range)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self._files_url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self.state.file(request.match_info["kind"], request.match_info["name"]))

    async def _put(self, request: web.Request) -> web.Response:
        target = self.state.file(request.match_info["kind"], request.match_info["name"])
        data = await request.read()
        target.write_bytes(data)
        self.state.bytes_in["http"] += len(data)
        return web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'}, body=b"stored")

    async def _range(self, request: web.Request) -> web.Response:
        start, end = int(request.match_info["start"]), int(request.match_info["end"])
        with (self._folder / request.match_info["path"]).open("rb") as file:
            file.seek(start)
            return web.Response(body=file.read(end - start))


class _Service:
    """A gRPC service whose handlers are the methods of several objects; the first that has one answers."""

    def __init__(self, state: State, *handlers: Any, inside: bool = False) -> None:
        self._state, self._handlers, self._inside = state, handlers, inside

    def __mapping__(self) -> dict[str, Handler]:
        from modal_proto.api_grpc import ModalClientBase

        # Every call the client may make is there; the names come from its own description of the service.
        template = type("Template", (ModalClientBase,), dict.fromkeys(ModalClientBase.__abstractmethods__))
        described: dict[str, Handler] = template().__mapping__()
        return {
            path: Handler(self._answer(path.rsplit("/", 1)[1], h.cardinality), *h[1:]) for path, h in described.items()
        }

    def _answer(self, name: str, cardinality: Cardinality) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        handler = next((getattr(h, name) for h in self._handlers if hasattr(h, name)), None)

        async def answer(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            self._state.requests[name] += 1
            self._state.bytes_in[name] += request.ByteSize() if request is not None else 0
            await self._disturb(stream, name)
            if handler is None:
                raise GRPCError(Status.UNIMPLEMENTED, f"the control plane on loopback does not know {name}")
            if cardinality is Cardinality.UNARY_STREAM:
                items: AsyncIterator[Any] = handler(request)
                async for item in items:
                    await stream.send_message(item)
            else:
                await stream.send_message(await handler(request))

        return answer

    async def _disturb(self, stream: Stream[Any, Any], name: str) -> None:
        faults = self._state.faults
        if self._inside:
            return
        if faults.delay:
            await asyncio.sleep(faults.delay)
        if faults.drop_first:
            faults.drop_first -= 1
            raise GRPCError(Status.UNAVAILABLE, "the connection was dropped")
        if name.startswith("TokenFlow"):  # whoever asks for a token has none
            return
        metadata: Any = stream.metadata or {}
        if faults.refuse_token or not metadata.get("x-modal-token-id"):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is invalid")


class Loopback:
    """A control plane in a thread of its own. A context manager.

    Args:
        folder: As for `ControlPlane`.
        certificate: As for `ControlPlane`.
    """

    def __init__(self, folder: Path | None = None, certificate: ssl.SSLContext | None = None) -> None:
        self.plane = ControlPlane(folder, certificate=certificate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mini-loopback", daemon=True)
        self._running = False

    @property
    def url(self) -> str:
        """The address, as MODAL_SERVER_URL takes it."""
        return self.plane.url

    @property
    def state(self) -> State:
        """What the control plane remembers: what was asked of it, and how often."""
        return self.plane.state

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
