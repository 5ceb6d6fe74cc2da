"""What a container says of the job it runs, and hears about it: how far it is, and whether it shall stop.

Both are in a `modal.Dict` of the run, or of the session that is attached; it is made by the first container that has
something to say, so that the start of a job costs no request. A cache: it may vanish.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mini.worker import context
from mini.worker.pickling import Call

LIVE = "MINI_LIVE"
"""Of the environment: the Dict of a detached run, where jobs are known by their index."""

PROGRESS = "MINI_PROGRESS"
"""Of the environment: the Dict of a session, where jobs are known by their `key`."""

STOP = "stop"
"""The entry of a session's Dict with the keys of the jobs that shall stop, or end early: True where that."""

_FIRST_LOOK = 0.5  # seconds until it is looked for the first time whether the job shall stop
_FIRST_WORD = 2.0  # seconds until a job is first said to be running
_PAUSE = 3.0  # seconds between two times
_PATIENCE = 5.0  # seconds for a job that shall stop to do so


class Stopped(BaseException):
    """Raised in a job that shall stop."""


class Preempted(KeyboardInterrupt):
    """Raised in a job whose container is about to be taken away; the job will run again in another."""


def key(digest: str, folder: str | None, index: int) -> str:
    """What a job is called among all of a session.

    Args:
        digest: Of its function.
        folder: The job's.
        index: The job's.
    """
    return f"{digest}/{folder}/{index}"


@dataclass
class _Running:
    """A job, and when something is to be done about it next, by the monotonic clock."""

    call: Call
    key: str
    give_up: Callable[[], None]
    started: float = field(default_factory=time.time)
    word: float = field(default_factory=lambda: time.monotonic() + _FIRST_WORD)
    look: float = field(default_factory=lambda: time.monotonic() + _FIRST_LOOK)
    end: float | None = None

    @property
    def due(self) -> float:
        return min(self.word, self.look) if self.end is None else self.end


class Beat:
    """One thread for all the jobs of a container, one after the other."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._marked: Mapping[str, bool] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def is_marked(self, call: Call, digest: str) -> bool:
        """Whether it is known already that a job shall stop, from a look during another one. Asks nobody.

        Args:
            call: The job.
            digest: Of its function.
        """
        return self._marked.get(key(digest, call.folder, call.index)) is False

    @contextlib.contextmanager
    def during(self, call: Call, digest: str, give_up: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, say how far the job is, and raise `Stopped` in it when it shall stop.

        SIGINT, which a container gets when it must make room, raises `Preempted`.

        Args:
            call: The job.
            digest: Of its function.
            give_up: Called in another thread when the job does not stop; it records that, and ends the process.
        """
        with self._changed:
            self._running = _Running(call, key(digest, call.folder, call.index), give_up)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="mini-beat", daemon=True)
                self._thread.start()
        handlers: dict[signal.Signals, Any] = {signal.SIGUSR2: _raise_stopped, signal.SIGINT: _raise_preempted}
        if threading.current_thread() is not threading.main_thread():
            handlers = {}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            with self._changed:
                self._running = None
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while self._running is None:
                    self._changed.wait()
                running = self._running
                self._changed.wait(max(0.0, running.due - time.monotonic()))
                if self._running is not running or time.monotonic() < running.due:
                    continue
            self._act(running)

    def _act(self, running: _Running) -> None:
        now = time.monotonic()
        if running.end is not None:
            running.give_up()
            running.end = now + _PATIENCE
            return
        if now >= running.word:
            running.word = now + _PAUSE
            self._say(running)
        if now >= running.look:
            running.look = running.word if running.word > now + _FIRST_LOOK else now + _PAUSE
            self._marked = _marked() if PROGRESS in os.environ else {}
            if self._marked.get(running.key) is True:
                self._prune(running)
            elif running.key in self._marked:
                self._stop(running)

    def _say(self, running: _Running) -> None:
        call, here = running.call, context.current()
        if not call.record:
            return
        said = {"index": call.index, "attempt": call.attempt, "started": running.started, "beat": time.time()}
        said |= here.said() if here is not None else {}
        with contextlib.suppress(Exception):  # a cache
            if LIVE in os.environ:
                _dict(LIVE).put(call.index, said)
            elif PROGRESS in os.environ:
                _dict(PROGRESS).put(running.key, said)

    def _prune(self, running: _Running) -> None:
        """Let `mini.progress` raise in the job."""
        with self._changed:
            here = context.current()
            if self._running is running and here is not None and here.index == running.call.index:
                here.pruned = True

    def _stop(self, running: _Running) -> None:
        with self._changed:
            if self._running is running:
                running.end = time.monotonic() + _PATIENCE
                os.kill(os.getpid(), signal.SIGUSR2)


def _raise_stopped(*_: object) -> None:
    here = context.current()
    if here is not None and here.is_calling:  # and not meanwhile at an end, with an outcome that stands
        raise Stopped("it was stopped")


def _raise_preempted(*_: object) -> None:
    here, error = context.current(), Preempted("the container must go")
    if here is not None and here.is_calling:
        here.interruption = error
    raise error


def _marked() -> Mapping[str, bool]:
    import modal

    with contextlib.suppress(Exception):  # nobody has said anything, or the cache is gone
        marked: Mapping[str, bool] = modal.Dict.from_name(os.environ[PROGRESS]).get(STOP, {})
        return marked
    return {}


@cache
def _dict(name: str) -> Any:
    import modal

    return modal.Dict.from_name(os.environ[name], create_if_missing=name == PROGRESS)
