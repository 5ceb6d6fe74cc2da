"""A pool of worker processes, each looked after by a thread.

Not a library's, because of what jobs do to a process: exit with code 0, leave processes behind, close what the pool
reads from. A worker has a warden that ends all it started; a job can be stopped alone; and a worker that is no longer
needed ends as a program does, so that its exit handlers run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import spawn
from typing import Any

from mini.apparatus.local.bundle import Bundle, Ending, How, Tokens
from mini.apparatus.local.warden import CODE, GRACE, end_orphans
from mini.apparatus.local.worker import BOOT, LENGTH, Functions, Over, Request, Setup, message
from mini.errors import UsageError
from mini.job import Outcome
from mini.machine import cores

_ORDERLY = 30.0  # seconds a worker has for its exit handlers and threads
_BURST = 0.001  # seconds in which outcomes of short jobs gather
_CHUNK = 2**18  # bytes
_MARK = "MINI_WORKER"  # in the environment of a worker and all it starts, with a text that no other has


class Pool:
    """Worker processes that are started when they are first needed and kept until `close`.

    Args:
        size: The most of them at a time.
        gpus: The GPUs of this machine.
        gpus_each: How many each worker gets; they are handed out where there are any.
        fresh: Whether each bundle gets a process of its own.
        logs: Whether what jobs print is shown here, too.
    """

    def __init__(
        self, size: int, gpus: Sequence[str] = (), gpus_each: int = 1, *, fresh: bool = False, logs: bool = False
    ) -> None:
        self.size, self._logs = size, logs
        self._gpus, self._gpus_each, self._fresh = gpus, gpus_each, fresh
        self._queue: deque[Bundle] = deque()
        self._threads: list[threading.Thread] = []
        self._workers: set[_Worker] = set()
        self._running: dict[Bundle, _Worker] = {}
        self._idle = 0
        self._closed, self._pid = False, os.getpid()
        self._changed = threading.Condition()
        atexit.register(self.close)

    def grow(self, size: int) -> None:
        """Let there be more workers."""
        with self._changed:
            self.size = max(self.size, size)

    def submit(self, bundle: Bundle) -> None:
        """Let a worker have a bundle as soon as one has nothing else to do.

        Raises:
            UsageError: The pool is closed.
        """
        with self._changed:
            if self._closed:
                raise UsageError("the pool of workers is closed; make a new LocalApparatus")
            self._queue.append(bundle)
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif len(self._threads) < self.size:
                slot = len(self._threads)
                thread = threading.Thread(target=self._serve, args=(slot,), name=f"mini-worker-{slot}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def stop(self, bundle: Bundle) -> None:
        """End the work on a bundle: out of the queue, or with the process that has it."""
        with self._changed:
            worker = self._running.get(bundle)
            if worker is not None:
                worker.ask_to_end()
                return
            bundle.is_stopped = True  # should a thread have it that is starting its worker
            if bundle not in self._queue:
                return
            self._queue.remove(bundle)
        _stopped(bundle)

    def close(self) -> None:
        """End the workers: at once where they run something, else in good order."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:  # a copy of the process that has the workers
            return
        with self._changed:
            self._closed = True
            queued, threads = list(self._queue), list(self._threads)
            self._queue.clear()
            for worker in self._running.values():
                worker.ask_to_end()
            self._changed.notify_all()
        for bundle in queued:
            _stopped(bundle)
        try:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()
        except BaseException:  # the user has no patience
            for worker in list(self._workers):
                worker.ask_to_end()
            raise

    def _serve(self, slot: int) -> None:
        """What a thread does: hand one bundle after the other to its worker."""
        worker: _Worker | None = None
        while (bundle := self._next()) is not None:
            try:
                if worker is not None and worker.threads != self._threads_each():
                    self._dismiss(worker)
                    worker = None
                if worker is None:
                    worker = self._start(slot)
            except (OSError, _NotStarted) as error:
                _, (first, *others) = bundle.close()  # the first of them is told, the others are tried again
                bundle.ended(bundle, Ending(How.NOT_STARTED, first, others, why=str(error)))
                continue
            with self._changed:
                if is_wanted := not (bundle.is_stopped or self._closed):
                    self._running[bundle] = worker
            if not is_wanted:
                _stopped(bundle)
                continue
            how, goes_on = worker.run(bundle)
            with self._changed:  # who stops the bundle from now on must not end the worker, which may have the next
                del self._running[bundle]
                goes_on = goes_on and not worker.is_asked and not self._fresh
            hit, left = bundle.close()
            code = None
            if not goes_on:
                code = self._dismiss(worker)
                worker = None
            bundle.ended(bundle, Ending(how, hit, left, code))
        if worker is not None:
            self._dismiss(worker)

    def _next(self) -> Bundle | None:
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            self._idle -= 1
            return self._queue.popleft() if self._queue else None

    def _threads_each(self) -> int:
        return max(1, cores() // self.size)

    def _start(self, slot: int) -> _Worker:
        mine = None
        if self._gpus:
            first = slot * self._gpus_each
            mine = ",".join(self._gpus[(first + i) % len(self._gpus)] for i in range(self._gpus_each))
        worker = _Worker(Setup(list(sys.argv), self._threads_each(), mine, self._logs))
        self._workers.add(worker)
        try:
            worker.wait_until_ready()
        except BaseException:
            self._workers.discard(worker)
            raise
        return worker

    def _dismiss(self, worker: _Worker) -> int:
        code = worker.end()
        self._workers.discard(worker)
        return code


class _NotStarted(Exception):
    """A worker ended before it was ready."""


class _Worker:
    """One process with its warden, as seen from here."""

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
            _NotStarted: The process ended; says how.
        """
        if self._receive(None) is None:
            raise _NotStarted(f"it exited with code {self.end()} before it was ready")

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


def _stopped(bundle: Bundle) -> None:
    hit, left = bundle.close()
    bundle.ended(bundle, Ending(How.STOPPED, hit, left))
