"""One worker process, as seen from the process that started it."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import spawn
from typing import Any

from mini.apparatus.local.bundle import Bundle, How, Tokens
from mini.apparatus.local.warden import CODE, GRACE, end_orphans
from mini.apparatus.local.worker import BOOT, LENGTH, Functions, Over, Request, Setup, message
from mini.job import Outcome

_ORDERLY = 30.0  # seconds a worker has for its exit handlers and threads
_CHUNK = 2**18  # bytes
_MARK = "MINI_WORKER"  # in the environment of a worker and all it starts, with a text that no other has


class NotStarted(Exception):
    """A worker ended before it was ready."""


class WorkerProcess:
    """A worker process with its warden, as seen from the process that started it.

    Args:
        setup: What it is told.

    Raises:
        OSError: The system starts no more processes.
    """

    why = ""
    """Nothing more is known of its death than its exit code."""

    def __init__(self, setup: Setup) -> None:
        self.threads, self.is_asked = setup.threads, False
        self._functions, self._tokens = Functions(), Tokens()
        self._socket, theirs = socket.socketpair()
        self._control, warden = socket.socketpair()
        self._mark = secrets.token_hex(8)
        options = spawn.get_command_line()  # with the flags of this interpreter, up to the program
        handles = [theirs.fileno(), warden.fileno(), self._tokens.reader]
        try:
            self._process = subprocess.Popen(
                [*options[: options.index("-c")], "-c", BOOT, *map(str, handles)],
                pass_fds=handles,
                stdin=subprocess.DEVNULL,
                env={**os.environ, _MARK: self._mark},
                start_new_session=True,
            )
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
            warden.close()
        self._socket.setblocking(False)
        self._data = bytearray()
        self._code: int | None = None
        self._send(pickle.dumps(sys.path) + message(setup))

    def wait_until_ready(self) -> None:
        """Wait for the first sign of life.

        Raises:
            NotStarted: The process ended; says how.
        """
        if self._receive(None) is None:
            raise NotStarted(f"it exited with code {self.end()} before it was ready")

    def run(self, bundle: Bundle) -> tuple[How, bool]:
        """Hand over a bundle, and what comes back.

        Returns:
            How it ended, and whether the worker can have another.
        """
        shared = bundle.parcels[0].shared
        function = None if self._functions.use(shared.digest) is not None else shared.data
        if function is not None:
            self._functions.use(shared.digest, function)
        bundle.begin(self._tokens)
        self._send(message(Request(shared.digest, function, [parcel.data for parcel in bundle.parcels])))
        while True:
            answer = self._receive(bundle.due())
            if isinstance(answer, Outcome):
                bundle.finish(answer)
            elif isinstance(answer, Over):
                return How.ORDERLY, answer.goes_on
            elif answer is None:
                return (How.STOPPED if self.is_asked else How.DIED), False
            if bundle.is_timed_out():
                self.ask_to_end()
                while isinstance(answer := self._receive(None), Outcome):  # in the last moment
                    bundle.finish(answer)
                return How.TIMEOUT, False
            bundle.look()

    def ask_to_end(self) -> None:
        """Let the warden end the process, and all it started, within a few seconds."""
        self.is_asked = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def end(self) -> int:
        """Wait for the end, which comes in good order where nothing runs, and say the exit code."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        if self._code is None:
            self._wait_for_code(_ORDERLY)
        if self._code is None:
            self.ask_to_end()
            self._wait_for_code(GRACE + 60)
        self._process.wait()
        self._close()
        return 1 if self._code is None else self._code

    def _wait_for_code(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._code is None and (left := end - time.monotonic()) > 0:
            readable, _, _ = select.select([self._control, self._socket], [], [], left)
            if self._control in readable:
                self._hear_code()
            elif readable and not self._fill():  # what it says now nobody needs; it has closed its end
                select.select([self._control], [], [], left)

    def _hear_code(self) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = self._control.recv(CODE.size)
        if len(data) == CODE.size:
            (self._code,) = CODE.unpack(data)
        else:  # the warden itself was killed
            end_orphans(self._process.pid, f"{_MARK}={self._mark}".encode())
            self._code = -signal.SIGKILL

    def _send(self, data: bytes) -> None:
        """Send all; where the worker is gone, `_receive` says so."""
        view = memoryview(data)
        with contextlib.suppress(OSError):
            while view:
                _, writable, _ = select.select([], [self._socket], [])
                view = view[self._socket.send(view) :] if writable else view

    def _receive(self, seconds: float | None) -> Any:
        """The next message: an outcome, or that the request is over; None at the end, `...` if none comes in time."""
        end = None if seconds is None else time.monotonic() + seconds
        while (found := self._message()) is None:
            if self._code is not None:
                return None
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return ...
            readable, _, _ = select.select([self._socket, self._control], [], [], left)
            if self._control in readable:
                self._hear_code()  # all that was sent has arrived
                while self._fill():
                    pass
            elif readable and not self._fill():  # it closed its end, or ended; the warden will say
                select.select([self._control], [], [], left)
        return found

    def _fill(self) -> bool:
        """Read what has arrived; False if nothing will."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return self._code is None
        except OSError:
            return False
        self._data += data
        return bool(data)

    def _message(self) -> Any:
        if len(self._data) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack(self._data[: LENGTH.size])
        end = LENGTH.size + size
        if len(self._data) < end:
            return None
        data = bytes(self._data[LENGTH.size : end])
        del self._data[:end]
        return pickle.loads(data)

    def _close(self) -> None:
        for each in (self._socket, self._control, self._tokens):
            each.close()
