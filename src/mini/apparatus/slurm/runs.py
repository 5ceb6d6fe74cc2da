"""Runs on Slurm, looked at by a process that did not begin them: their files are here, the queue knows the rest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from mini.apparatus.plugin import Seen
from mini.apparatus.slurm import scheduler
from mini.apparatus.slurm.scheduler import Queue
from mini.apparatus.slurm.spool import CLIENT, Spool
from mini.apparatus.slurm.submission import Submission
from mini.job import Failure, Outcome, State
from mini.runs import records, status
from mini.runs.folder import RunFolder
from mini.runs.live import write_waiting

_STOPPING = 20.0  # seconds in which jobs that are told to stop still record
_Lost = tuple[int, State, Failure, int, float | None]  # the index, what became of it and why, attempt, when it began
_queues: dict[Path, Queue] = {}
"""Who looks at the scheduler's queue for a run: one for the process, however often the run is looked at."""


class SlurmRun:
    """A run on Slurm.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def refresh(self) -> Seen:
        """As `Attached.refresh`: why jobs wait, and the fate of those whose tasks are gone."""
        submissions = self._submissions()
        if not any(one.open for one in submissions):
            return Seen()
        _, seen = self._queue(submissions).look()
        going, lost = False, list[_Lost]()
        reasons: dict[str, list[int]] = {}
        for one in submissions:
            one.read()
            for gone in list(one.gone(seen)):
                one.open.discard(gone.place)
                lost.append((one.indices[gone.place], gone.state, gone.failure, gone.attempt, gone.started))
            for reason, jobs in one.waiting(seen).items():
                reasons.setdefault(reason, []).extend(jobs)
            going = going or bool(one.open)
        _record(self._folder, lost)
        write_waiting(self._folder.path, reasons)
        return Seen(going)

    def log(self, job: int) -> str | None:
        """As `Attached.log`: it is here."""
        return None

    def cancel(self) -> None:
        """As `Attached.cancel`; a result that came meanwhile stands."""
        submissions = self._submissions()
        for one in submissions:
            one.spool.cancel()
        scheduler.cancel([array for one in submissions for array in one.arrays])
        record_unbegun(self._folder.path, "it was stopped before it began")
        deadline = time.monotonic() + _STOPPING
        while time.monotonic() < deadline:
            for one in submissions:
                one.read()
            if not any(one.running() for one in submissions):
                break
            time.sleep(0.2)
        failure = Failure("Cancelled", "it was stopped before it finished")
        left = status.read_status(self._folder, driven=True).unfinished
        _record(self._folder, [(job.index, State.CANCELLED, failure, 1, None) for job in left])
        write_waiting(self._folder.path, {})

    def pull(self, include: str | None) -> int:
        """As `Attached.pull`: they are here."""
        files = [
            path.relative_to(self._folder.path).as_posix() for path in self._folder.path.rglob("*") if path.is_file()
        ]
        return sum(include is None or fnmatch(path, include) for path in files)

    def release(self) -> None:
        """As `Attached.release`: the submissions' files."""
        for spool in Spool.all(self._folder.path):
            spool.remove()
        _queues.pop(self._folder.path, None)

    def _submissions(self) -> list[Submission]:
        """Those with jobs that have no record; a job that was submitted again is of the last one."""
        left = {job.index for job in status.read_status(self._folder, driven=True).unfinished}
        found = []
        for spool in reversed(Spool.all(self._folder.path)):
            about = spool.about()
            if about.arrays:
                one = Submission(spool, about.arrays, about.width, set())
                one.open = {place for place, index in enumerate(one.indices) if index in left}
                left -= set(one.indices)
                found.append(one)
        return found[::-1]

    def _queue(self, submissions: Sequence[Submission]) -> Queue:
        queue = _queues.get(self._folder.path)
        if queue is None:
            queue = _queues[self._folder.path] = Queue(clock=time.monotonic)
        queue.want([array for one in submissions if one.open for array in one.arrays])
        return queue


def record_unbegun(run: Path, why: str) -> None:
    """Record as cancelled what no task has taken, and let none take it.

    Args:
        run: The run's folder.
        why: What the records say.
    """
    failure, unbegun = Failure("Cancelled", why), list[_Lost]()
    for spool in Spool.all(run):
        indices, taken = spool.indices(), spool.claimed()
        for place, index in enumerate(indices):
            if place not in taken and spool.claim(place, CLIENT):
                unbegun.append((index, State.CANCELLED, failure, spool.entry(place).attempt, None))
    _record(RunFolder(run), unbegun)


def _record(folder: RunFolder, lost: Sequence[_Lost]) -> None:
    """Record what no task could; a result that is there stands."""
    lines = {line.index: line for line in folder.jobs()} if lost else {}
    for index, state, failure, attempt, started in lost:
        line = lines[index]
        where = {"apparatus": "slurm"}
        outcome = Outcome(
            index, state, None, failure, started, time.time(), attempt, where=where, folder=line.folder, key=line.key
        )
        records.write_record(outcome, line.row)
