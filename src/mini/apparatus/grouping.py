"""How many short jobs travel together: one policy for all engines.

To send something and to hear of it costs the same whatever the job does, so several short jobs in one bundle are
cheaper than each alone. How long jobs take is known from the first outcomes; until then each goes alone. An engine
says what a bundle may cost with the arguments of `Grouping`, and asks it for a size each time it sends.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable


class Grouping:
    """Decides how many jobs a bundle has, and how long jobs wait for that decision.

    Args:
        width: How many bundles run at a time.
        seconds: Of work that a bundle shall have.
        enough: How many outcomes say how long jobs take.
        largest: The most jobs of a bundle.
        recent: Of how many outcomes the median counts; None for all of them.
        overdue: Seconds after which a bundle is longer than was thought, and what waits in it is better sent again;
            for whoever looks after the bundle.
        hold: Seconds for which jobs may be held back until it is known how long the first take.
        shares: Bundles for each that runs jobs, so that the last ones to finish leave few idle; 1 where whoever is idle
            takes what is left.
        fixed: A size to use whatever the outcomes say; 1 sends every job alone. None to decide by the outcomes.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        *,
        width: int,
        seconds: float,
        enough: int,
        largest: int = 64,
        recent: int | None = None,
        overdue: float = float("inf"),
        hold: float = 0.0,
        shares: int = 4,
        fixed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._width, self._work, self._enough, self._largest = max(1, width), seconds, enough, largest
        self.overdue, self._hold, self.fixed, self._clock = overdue, hold, fixed, clock
        self._shares = shares
        self._seconds: deque[float] = deque(maxlen=recent)
        self._began = clock()

    def finished(self, seconds: float | None) -> None:
        """Note how long a job ran, in seconds; None counts as no time at all."""
        self._seconds.append(seconds or 0.0)

    @property
    def is_known(self) -> bool:
        """Whether enough jobs are over to say how long they take, or nobody needs to know."""
        return self.fixed is not None or len(self._seconds) >= self._enough

    def size(self, waiting: int) -> int:
        """How many of the jobs that wait to send in one bundle, at least 1.

        Args:
            waiting: How many have not been sent.
        """
        if self.fixed is not None:
            return self.fixed
        if not self.is_known:
            return 1
        share = waiting // (self._shares * self._width)
        return max(1, min(self._largest, share, int(self._work / max(statistics.median(self._seconds), 1e-6))))

    def now(self) -> float:
        """The time, by the clock of this policy."""
        return self._clock()

    @property
    def hold(self) -> float:
        """Seconds for which jobs may still be held back; 0 when they should go."""
        return 0.0 if self.is_known else max(0.0, self._began + self._hold - self._clock())
