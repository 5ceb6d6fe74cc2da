"""When a study begins no further trial."""

from __future__ import annotations

import time
from collections.abc import Callable

from mini.studies.options import StudyOptions


class Stopping:
    """Counts what became of trials.

    Args:
        options: Of the study.
        clock: Seconds.
    """

    def __init__(self, options: StudyOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._began = clock()
        self._complete = self._failed = self._over = self._since_best = 0
        self._seconds = 0.0
        self._best: float | None = None

    def told(self, values: tuple[float, ...] | None, seconds: float, *, is_failure: bool) -> None:
        """One more trial is over.

        Args:
            values: Of its metrics, if it has them.
            seconds: How long it ran.
            is_failure: Whether it went wrong.
        """
        self._over += 1
        self._seconds += seconds
        self._failed += is_failure
        self._since_best += 1
        if values is not None:
            self._complete += 1
            value = values[0] if self._options.direction[0] == "minimize" else -values[0]
            if self._best is None or value < self._best:
                self._best, self._since_best = value, 0

    def why(self) -> str | None:
        """The reason to begin no further trial, as a sentence; None if there is none."""
        stop, rate = self._options.stop, self._options.max_failure_rate
        if stop.time is not None and self._clock() - self._began >= stop.time:
            return "its time is over (study.stop.time)"
        if stop.trials is not None and self._complete >= stop.trials:
            return f"{self._complete} trials came to their end (study.stop.trials)"
        if stop.stale is not None and self._best is not None and self._since_best >= stop.stale:
            return f"none of the last {self._since_best} trials was better (study.stop.stale)"
        if stop.budget is not None and self._seconds >= stop.budget:
            return f"the trials ran for {self._seconds:.0f} s in all (study.stop.budget)"
        if stop.target is not None and self._best is not None and self._best <= self._target(stop.target):
            return "the target was reached (study.stop.target)"
        if rate is not None and self._over and self._failed / self._over > rate:
            return f"{self._failed} of {self._over} trials failed (study.max_failure_rate)"
        return None

    def _target(self, target: float) -> float:
        return target if self._options.direction[0] == "minimize" else -target
