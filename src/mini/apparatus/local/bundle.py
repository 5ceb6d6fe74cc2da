"""One or several jobs that go to a worker process at once, and the tokens by which those that wait are taken back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from mini.job import Outcome
from mini.worker.pickling import Parcel


class How(Enum):
    """How the work on a bundle ended."""

    ORDERLY = auto()
    STOPPED = auto()
    """Somebody asked for it."""
    TIMEOUT = auto()
    DIED = auto()
    NOT_STARTED = auto()
    """There was no process that could have begun."""


@dataclass(frozen=True)
class Ending:
    """How the work on a bundle ended, and what is left of it.

    Args:
        how: Why it is over.
        hit: The job that had begun and has no outcome.
        left: The jobs that have not begun.
        code: The exit code of the process, minus the signal if it was ended by one; None if it goes on.
        why: What the system says of a process that did not start; what is known of a death beside the code.
    """

    how: How
    hit: Parcel | None
    left: Sequence[Parcel]
    code: int | None = None
    why: str = ""


class Tokens:
    """A pipe with one byte for each job that waits. Whoever reads it, begins the job or takes it back."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)

    def put(self, count: int) -> None:
        """Let so many jobs begin."""
        os.write(self._writer, b"x" * count)

    def take(self, most: int) -> int:
        """Take back what waits, and say how many these were."""
        try:
            return len(os.read(self.reader, most)) if most > 0 else 0
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self._writer)


@dataclass(eq=False)
class Bundle:
    """Jobs of one function that are sent together, worked off in their order.

    Args:
        parcels: The jobs.
        timeout: Seconds for all of them; None for no limit.
        patience: Seconds after which `overdue` is called; None for never.
        outcome: Called with each job that is over.
        ended: Called once, at the end.
        overdue: Called when the bundle takes long.
    """

    parcels: list[Parcel]
    timeout: float | None
    patience: float | None
    outcome: Callable[[Bundle, Parcel, Outcome], Any]
    ended: Callable[[Bundle, Ending], Any]
    overdue: Callable[[Bundle], Any]
    finished: int = 0
    """How many of them are over."""
    sent: float = 0.0
    """When a worker got it, by the monotonic clock."""
    is_stopped: bool = False
    """Whether no worker shall have it any more."""
    _tokens: Tokens | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def current(self) -> Parcel | None:
        """The job that runs now, if any does."""
        with self._lock:
            running = self._tokens is not None and self.finished < len(self.parcels)
            return self.parcels[self.finished] if running else None

    def unfinished(self) -> list[Parcel]:
        """The jobs that are not known to be over."""
        with self._lock:
            return self.parcels[self.finished :]

    def begin(self, tokens: Tokens) -> None:
        """Let a worker begin the jobs."""
        with self._lock:
            self._tokens, self.sent = tokens, time.monotonic()
            tokens.put(len(self.parcels))

    def due(self) -> float | None:
        """Seconds until something is to be done if nothing comes from the worker; None if there never is."""
        waits = [seconds for seconds in (self.timeout, self.patience) if seconds is not None]
        return max(0.0, self.sent + min(waits) - time.monotonic()) if waits else None

    def is_timed_out(self) -> bool:
        """Whether it has run for too long."""
        return self.timeout is not None and time.monotonic() >= self.sent + self.timeout

    def look(self) -> None:
        """Call `overdue` once, if it is."""
        if self.patience is not None and time.monotonic() >= self.sent + self.patience:
            self.patience = None
            self.overdue(self)

    def finish(self, outcome: Outcome) -> None:
        """One more of the jobs is over."""
        with self._lock:
            parcel = self.parcels[self.finished]
            self.finished += 1
        self.outcome(self, parcel, outcome)

    def take_back(self) -> list[Parcel]:
        """The jobs that have not begun, and will not; they are no longer of the bundle."""
        with self._lock:
            return self._take() if self._tokens is not None else []

    def close(self) -> tuple[Parcel | None, list[Parcel]]:
        """The job that had begun and is not over, and those that had not begun; no worker has the bundle any more."""
        with self._lock:
            if self._tokens is None:
                self.parcels, left = [], self.parcels
            else:
                left = self._take()
                self._tokens = None
            return (self.parcels[self.finished] if self.finished < len(self.parcels) else None), left

    def _take(self) -> list[Parcel]:
        assert self._tokens is not None
        taken = self._tokens.take(len(self.parcels))
        if taken == 0:
            return []
        self.parcels, back = self.parcels[:-taken], self.parcels[-taken:]
        return back
