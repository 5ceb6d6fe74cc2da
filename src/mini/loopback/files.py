"""The HTTP server for blobs and blocks: it serves what it has handed out an address for, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from mini.loopback.far import Relay

_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class _Grant:
    """What an address allows: to put a file, or to get it or a range of it."""

    method: str
    path: Path
    start: int = 0
    end: int | None = None


class FileServer:
    """Serves on loopback from `start` to `stop`.

    An address has two parts that nobody can guess: one of this server, and one of the file. The second is looked up in
    a table; no part of a request ever becomes part of a path. Whatever a web page could send (another `Host`, after
    its name was pointed at this machine, or any `Origin`) is refused.

    Args:
        received: Where the number of bytes that came is counted, as "http".
        relay: What callers reach it through; None for no detour.
    """

    def __init__(self, received: Counter[str], relay: Relay | None = None) -> None:
        self._received, self._relay = received, relay
        self._secret = secrets.token_urlsafe(24)
        self._grants: dict[str, _Grant] = {}
        self._names: dict[_Grant, str] = {}
        self._host = ""

    async def start(self) -> None:
        """Begin to serve."""
        application = web.Application()
        application.router.add_get("/{secret}/{name}", self._get)
        application.router.add_put("/{secret}/{name}", self._put)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self._host = f"127.0.0.1:{await self._relay.start(port) if self._relay is not None else port}"

    @property
    def port(self) -> int:
        """The port of loopback where it serves."""
        return int(self._host.rpartition(":")[2])

    async def serve(self, listening: socket.socket) -> None:
        """Serve at a further socket too: one of a container's own network.

        Args:
            listening: Bound to 127.0.0.1 and this server's port there.
        """
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Stop to serve; no address works any more."""
        self._grants.clear()
        if self._relay is not None:
            await self._relay.stop()
        await self._runner.cleanup()

    def upload_url(self, path: Path) -> str:
        """The address to put a file."""
        return self._url(_Grant("PUT", path))

    def download_url(self, path: Path, start: int = 0, end: int | None = None) -> str:
        """The address to get a file, or its bytes from `start` up to `end`."""
        return self._url(_Grant("GET", path, start, end))

    def _url(self, grant: _Grant) -> str:
        name = self._names.get(grant)
        if name is None:
            name = self._names[grant] = secrets.token_urlsafe(24)
            self._grants[name] = grant
        return f"http://{self._host}/{self._secret}/{name}"

    def _grant(self, request: web.Request) -> _Grant:
        """What the request may do.

        Raises:
            web.HTTPForbidden: It comes from a web page, or through a name that is not this server's.
            web.HTTPNotFound: Its address was not handed out for this.
        """
        if request.headers.getall("Host", []) != [self._host] or "Origin" in request.headers:
            raise web.HTTPForbidden
        known = hmac.compare_digest(request.match_info["secret"].encode(), self._secret.encode())
        grant = self._grants.get(request.match_info["name"]) if known else None
        if grant is None or grant.method != request.method:
            raise web.HTTPNotFound
        return grant

    async def _get(self, request: web.Request) -> web.StreamResponse:
        grant = self._grant(request)
        if not grant.path.is_file():
            raise web.HTTPNotFound
        if grant.end is None:
            return web.FileResponse(grant.path)
        with grant.path.open("rb") as file:
            file.seek(grant.start)
            return web.Response(body=file.read(grant.end - grant.start))

    async def _put(self, request: web.Request) -> web.Response:
        target = self._grant(request).path
        temporary = target.with_name(f"{target.name}.{secrets.token_hex(8)}")
        digest = hashlib.md5(usedforsecurity=False)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            async for piece in request.content.iter_chunked(_PIECE):
                file.write(piece)
                digest.update(piece)
                self._received["http"] += len(piece)
        temporary.replace(target)
        return web.Response(headers={"ETag": f'"{digest.hexdigest()}"'}, body=b"stored")
