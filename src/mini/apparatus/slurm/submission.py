"""Jobs that were submitted, seen from where their tasks are not: what has ended, what runs, what will never end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mini.apparatus.slurm.fate import fate, of_accounting
from mini.apparatus.slurm.scheduler import Found, Look
from mini.apparatus.slurm.spool import Began, Ended, Spool, TaskLog
from mini.job import Failure, State


@dataclass(frozen=True)
class Gone:
    """A job that its task will give no outcome.

    Args:
        place: The job's.
        state: What became of it.
        failure: Why.
        attempt: The last that was begun, or would have been.
        started: When that began; None if it did not.
        task: The task.
        node: Where it was.
    """

    place: int
    state: State
    failure: Failure
    attempt: int
    started: float | None
    task: str
    node: str


class Submission:
    """One submission.

    Args:
        spool: Its files.
        arrays: Slurm's numbers of its arrays.
        width: How many tasks each array has, but for the last.
        open: The places of the jobs whose outcomes are waited for; None for all.
    """

    def __init__(self, spool: Spool, arrays: Sequence[str], width: int, open: set[int] | None = None) -> None:
        self.spool, self.arrays, self._width = spool, list(arrays), width
        self.indices = spool.indices()
        self.open = open if open is not None else set(range(len(self.indices)))
        self.submitted = time.monotonic()
        self._logs: dict[str, TaskLog] = {}

    def read(self) -> list[Ended]:
        """What has ended since the last call."""
        ended = []
        for entry in self.spool.logs():
            log = self._logs.get(entry.name)
            if log is None:
                log = self._logs[entry.name] = TaskLog(self.spool.log(entry.name))
            if log.path.stat().st_size > log.read:
                ended += [event for event in log.update() if event.place in self.open]
        self.open -= {event.place for event in ended}
        return ended

    def running(self) -> dict[int, TaskLog]:
        """The tasks that have a job in hand, by the job's place."""
        return {
            log.current.place: log
            for log in self._logs.values()
            if log.current is not None and not log.left and log.current.place in self.open
        }

    def is_alive(self, seen: Look) -> bool:
        """Whether any task may still do something."""
        return seen.is_alive(self.arrays)

    def gone(self, seen: Look) -> Iterator[Gone]:
        """The open jobs that will have no outcome.

        Args:
            seen: What the queue said, before the last `read`.
        """
        began = {log.current.place: log for log in self._logs.values() if log.current is not None}
        alive = self.is_alive(seen)
        for place in sorted(self.open):
            log = began.get(place)
            if log is None and alive:
                continue
            task = log.task if log is not None else self._own(place)
            found = seen.of(task)
            if found is None or not found.is_alive:
                yield self._gone(place, task, found or of_accounting(task), log.current if log is not None else None)

    def waiting(self, seen: Look) -> dict[str, list[int]]:
        """The indices of the jobs that wait, by the queue's reason.

        Args:
            seen: What the queue said.
        """
        running = self.running()
        reasons: dict[str, list[int]] = {}
        for place in sorted(self.open - running.keys()):
            found = seen.of(self._own(place))
            if found is not None and found.state == "PENDING" and found.reason not in ("", "None"):
                reasons.setdefault(found.reason, []).append(self.indices[place])
        return reasons

    def _own(self, place: int) -> str:
        """The task that a job is the own one of."""
        return f"{self.arrays[place // self._width]}_{place % self._width}"

    def _gone(self, place: int, task: str, found: Found | None, began: Began | None) -> Gone:
        asked = self.spool.is_stopped(place)
        state, failure = fate(found, began=began is not None, output=self.spool.output(task), asked=asked)
        return Gone(
            place,
            state,
            failure,
            began.attempt if began is not None else self.spool.entry(place).attempt,
            began.time if began is not None else None,
            task,
            found.node if found is not None else "",
        )
