"""A relay that puts a server of this machine far away: every byte takes its time, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

_PIECE = 1 << 16  # bytes


class Relay:
    """Serves on loopback from `start` to `stop`, and passes on what comes as late as a far network would.

    A connection takes one round trip to be made; afterwards what is sent arrives half a round trip later, in both
    directions, with no limit of how much is under way.

    Args:
        round_trip: Seconds.
    """

    def __init__(self, round_trip: float) -> None:
        self._each_way = round_trip / 2
        self._links: set[asyncio.Task[None]] = set()

    async def start(self, to: int, port: int = 0) -> int:
        """Begin to serve.

        Args:
            to: The port of the server that is to be far away, on loopback.
            port: To listen at; 0 for any.

        Returns:
            The port.
        """
        self._to = to
        self._server = await asyncio.start_server(self._link, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop to serve, and end all connections."""
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            await asyncio.sleep(2 * self._each_way)
            answers, far = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._pass_on(reader, far), self._pass_on(answers, writer))
        except (OSError, asyncio.CancelledError):  # either end is gone, or all is
            pass
        finally:
            self._links.discard(task)
            for one in (writer, far):
                if one is not None:
                    one.close()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Hand on what is read, each piece at its own time, and then the end."""
        clock = asyncio.get_running_loop().time
        under_way: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()

        async def deliver() -> None:
            while True:
                while not under_way:
                    arrived.clear()
                    await arrived.wait()
                due, piece = under_way.popleft()
                await asyncio.sleep(due - clock())
                if not piece:
                    with contextlib.suppress(OSError, NotImplementedError):
                        target.write_eof()
                    return
                target.write(piece)
                await target.drain()

        delivery = asyncio.ensure_future(deliver())
        try:
            while True:
                piece = await source.read(_PIECE)
                under_way.append((clock() + self._each_way, piece))
                arrived.set()
                if not piece:
                    break
            await delivery
        finally:
            delivery.cancel()
