"""What a container without a network finds on its loopback: the control plane's files, and nobody who knows a host.

The sockets are made in the container's own network and handed out of it, so that nothing need run there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import cast

from mini.loopback.files import FileServer

_REFUSED = 5  # the answer of a server of names that does not serve whoever asks
_HEADER = 12  # bytes


class OwnNetwork:
    """One container's.

    Args:
        files: Serves the control plane's files.
        refused: The file that takes the names of the hosts it asks for.
    """

    def __init__(self, files: FileServer, refused: Path) -> None:
        self._files, self._refused = files, refused
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._names: asyncio.DatagramTransport | None = None
        refused.touch()

    @property
    def handed(self) -> int:
        """The descriptor that takes the sockets, for the process that makes them."""
        return self._theirs.fileno()

    async def serve(self) -> None:
        """Answer there, once the sockets have come; until the process is gone that was to make them."""
        self._theirs.close()
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._ours, readable.set)
        try:
            await readable.wait()
            _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 2)
        finally:
            loop.remove_reader(self._ours)
            self._ours.close()
        if len(descriptors) == 2:
            listening, names = (socket.socket(fileno=one) for one in descriptors)
            listening.setblocking(False)
            names.setblocking(False)
            await self._files.serve(listening)
            self._names, _ = await loop.create_datagram_endpoint(lambda: _Names(self._refused), sock=names)

    def close(self) -> None:
        """The container is gone."""
        if self._names is not None:
            self._names.close()
        for one in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                one.close()


class _Names(asyncio.DatagramProtocol):
    def __init__(self, refused: Path) -> None:
        self._refused = refused
        self._seen: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by the event loop: a question is refused, and its name noted."""
        if len(data) <= _HEADER:
            return
        name = _name(data[_HEADER:])
        if name and name not in self._seen:
            self._seen.add(name)
            with self._refused.open("a") as file:
                file.write(f"{name}\n")
        answer = data[:2] + bytes([0x81 | (data[2] & 0x01), 0x80 | _REFUSED]) + data[4:6] + bytes(6) + _question(data)
        self._transport.sendto(answer, addr)


def _question(data: bytes) -> bytes:
    """The question alone, without what follows it."""
    place = _HEADER
    while place < len(data) and data[place]:
        place += data[place] + 1
    return data[_HEADER : place + 5]


def _name(data: bytes) -> str:
    labels, place = [], 0
    while place < len(data) and (size := data[place]):
        labels.append(data[place + 1 : place + 1 + size].decode("ascii", "replace"))
        place += size + 1
    return ".".join(labels)
