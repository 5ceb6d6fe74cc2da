"""A pool of worker processes, each looked after by a thread.

Not a library's, because of what jobs do to a process: exit with code 0, leave processes behind, close what the pool
reads from. A worker has a warden that ends all it started; a job can be stopped alone; and a worker that is no longer
needed ends as a program does, so that its exit handlers run.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from mini.apparatus.local.bundle import Bundle, Ending, How
from mini.apparatus.local.process import NotStarted, WorkerProcess
from mini.apparatus.local.worker import Setup
from mini.errors import UsageError
from mini.machine import cores
from mini.worker.pickling import Parcel


class Worker(Protocol):
    """What works off bundles for a pool: a process here, or on another machine."""

    threads: int
    """How many a native library may have there."""

    is_asked: bool
    """Whether somebody asked it to end."""

    why: str
    """What is known of its death beside its exit code."""

    def wait_until_ready(self) -> None:
        """Wait for the first sign of life.

        Raises:
            NotStarted: There will be none; says why.
        """

    def run(self, bundle: Bundle) -> tuple[How, bool]:
        """Hand over a bundle, and what comes back; how it ended, and whether the worker can have another."""

    def ask_to_end(self) -> None:
        """End it, and all it started, within a few seconds."""

    def end(self) -> int | None:
        """Wait for its end, which comes in good order where nothing runs, and say the exit code if there is one."""


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
        self._workers: set[Worker] = set()
        self._running: dict[Bundle, Worker] = {}
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
        worker: Worker | None = None
        while (bundle := self._next()) is not None:
            try:
                if worker is not None and worker.threads != self.threads_each():
                    self._dismiss(worker)
                    worker = None
                if worker is None:
                    worker = self._start(slot)
            except (OSError, NotStarted) as error:
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
            code, why = None, ""
            if not goes_on:
                code, ended = self._dismiss(worker), worker
                worker = None
                if how is How.DIED and hit is not None and self.spares(hit, ended):
                    left = [hit, *left]
                    hit = None
                why = ended.why
            bundle.ended(bundle, Ending(how, hit, left, code, why))
        if worker is not None:
            self._dismiss(worker)

    def _next(self) -> Bundle | None:
        with self._changed:
            self._idle += 1
            while not self._queue and not self._closed:
                self._changed.wait()
            self._idle -= 1
            return self._queue.popleft() if self._queue else None

    def threads_each(self) -> int:
        """How many threads a native library may have in a worker."""
        return max(1, cores() // self.size)

    def spares(self, parcel: Parcel, worker: Worker) -> bool:
        """Whether a job that was hit by the end of its worker runs again as if nothing had been."""
        return False

    def new_worker(self, slot: int) -> Worker:
        """Start another worker.

        Args:
            slot: Its number; two that are there at a time have different ones.
        """
        mine = None
        if self._gpus:
            first = slot * self._gpus_each
            mine = ",".join(self._gpus[(first + i) % len(self._gpus)] for i in range(self._gpus_each))
        return WorkerProcess(Setup(list(sys.argv), self.threads_each(), mine, self._logs))

    def _start(self, slot: int) -> Worker:
        worker = self.new_worker(slot)
        self._workers.add(worker)
        try:
            worker.wait_until_ready()
        except BaseException:
            self._workers.discard(worker)
            raise
        return worker

    def _dismiss(self, worker: Worker) -> int | None:
        code = worker.end()
        self._workers.discard(worker)
        return code


def _stopped(bundle: Bundle) -> None:
    hit, left = bundle.close()
    bundle.ended(bundle, Ending(How.STOPPED, hit, left))
