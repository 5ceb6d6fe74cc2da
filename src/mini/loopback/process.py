"""A container's process: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from mini.loopback.crashes import TAIL

_DRAIN = 2.0  # seconds the last output may take once the process is gone

Emit = Callable[[str, int], None]
"""Is handed what the process prints, with the descriptor: 1 or 2."""


class Process(asyncio.SubprocessProtocol):
    """Started by `start`; it leads a group of its own, and what it starts ends with it.

    Args:
        emit: Is handed what it prints, as soon as it comes.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._decoders = {fd: codecs.getincrementaldecoder("utf-8")(errors="replace") for fd in (1, 2)}
        self._exited, self._closed = asyncio.Event(), asyncio.Event()
        self._open = {1, 2}
        self.tail = ""
        self.pid = 0
        self.returncode: int | None = None

    @classmethod
    async def start(
        cls,
        emit: Emit,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Start one.

        Args:
            emit: As for the class.
            command: The program and its arguments.
            environment: All of its environment.
            folder: Its working directory.
            pass_fds: Descriptors that it gets too.

        Raises:
            OSError: It cannot be started.
        """
        _, process = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(emit),
            *command,
            env=dict(environment),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
        return process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, if it is still there."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        assert self.pid > 1  # 0 would be the group of this process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it is gone and its output is read; end what it left running.

        Returns:
            Its exit code, or a signal as a negative number.
        """
        await self._exited.wait()
        self.kill()
        with contextlib.suppress(TimeoutError):  # somebody outside its group may hold its output open
            await asyncio.wait_for(self._closed.wait(), _DRAIN)
        self._transport.close()
        assert self.returncode is not None
        return self.returncode

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by the event loop."""
        self._say(self._decoders[fd].decode(data), fd)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Called by the event loop."""
        if fd in self._open:
            self._say(self._decoders[fd].decode(b"", final=True), fd)
            self._open.discard(fd)
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        """Called by the event loop, which does not wait for the output's end."""
        self.returncode = self._transport.get_returncode()
        self._exited.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport, self.pid = transport, transport.get_pid()

    def _say(self, text: str, fd: int) -> None:
        if text:
            self.tail = (self.tail + text)[-TAIL:]
            self._emit(text, fd)
