"""The outcomes of submitted jobs, as they come: from the files that the tasks write, without asking the scheduler.

The queue is looked at every few seconds only, for what no task can say: why jobs wait, and that a task is gone.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.slurm import scheduler
from mini.apparatus.slurm.scheduler import Queue
from mini.apparatus.slurm.spool import CLIENT
from mini.apparatus.slurm.submission import Gone, Submission
from mini.apparatus.stream import Stream, record_loss, retried
from mini.errors import CloudError, UsageError
from mini.job import Failure, Outcome, State
from mini.runs import layout
from mini.runs.live import read_live, write_waiting
from mini.worker import pickling
from mini.worker.pickling import Parcel

_SHORTEST, _LONGEST = 0.02, 0.25  # seconds between two looks at the files
_SLOW = 5  # times as long as a look took is paused at least


class SlurmStream(Stream):
    """Reads what the tasks write, in the thread that waits for it.

    Args:
        submit: Submits jobs.
        queue: Looks at the scheduler's queue.
        parcels: The jobs.
        retries: Further attempts of a job whose task was lost; of those that fail, the tasks themselves make them.
        run: The folder of the run; None for jobs of no run.
        logs: Whether to show here what jobs print.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[Parcel]], Submission],
        queue: Queue,
        parcels: Sequence[Parcel],
        retries: int,
        run: Path | None,
        logs: bool,
    ) -> None:
        self._submit_jobs, self._queue, self._retries, self._run, self._logs = submit, queue, retries, run, logs
        self._parcels: dict[int, Parcel] = {}
        self._submissions: list[Submission] = []
        self._ready: deque[Outcome] = deque()
        self._shown: dict[int, int] = {}
        self._pause, self._seen = _SHORTEST, -float("inf")
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        self.add(parcels)

    def add(self, parcels: Sequence[Parcel]) -> None:
        """Submit more jobs.

        Raises:
            UsageError: The stream is closed.
            CloudError: Slurm cannot be reached.
        """
        with self._changed:
            if self._closed:
                raise UsageError("this stream is closed, and takes no more jobs; start them anew")
            if parcels:
                self._submit(parcels)

    def _submit(self, parcels: Sequence[Parcel]) -> None:
        self._parcels.update({parcel.job.index: parcel for parcel in parcels})
        submission = self._submit_jobs(parcels)
        self._submissions.append(submission)
        self._queue.follow(submission.arrays)
        self._pause = _SHORTEST

    def stop(self, index: int) -> None:
        """Stop one job: before its task takes it, or by a file that its task looks for every second.

        Args:
            index: The job's index.
        """
        with self._changed:
            for submission in self._submissions:
                for place in submission.open:
                    if submission.indices[place] == index:
                        submission.spool.stop(place)
                        if submission.spool.claim(place, CLIENT):
                            submission.open.discard(place)
                            self._finish(self._parcels[index], State.CANCELLED, _stopped("began"))
                            self._changed.notify_all()
                        return

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running jobs of a run have in their live files."""
        with self._changed:
            running = [s.indices[place] for s in self._submissions for place in s.running()]
            jobs = [self._parcels[index].job for index in running]
        said = {job.index: read_live(Path(job.folder)) for job in jobs if job.record and job.folder is not None}
        return {index: values for index, values in said.items() if values is not None}

    def __next__(self) -> Outcome:
        with self._changed:
            while True:
                self._read()
                if self._ready and not self._closed:
                    return self._ready.popleft()
                if self._closed or not any(submission.open for submission in self._submissions):
                    self._end()
                    raise StopIteration
                self._changed.wait(self._pause)

    def close(self) -> None:
        """Cancel what has not finished."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            left = [submission for submission in self._submissions if submission.open]
            for submission in left:
                submission.spool.cancel()
            self._end()
            self._changed.notify_all()
        if left:
            with contextlib.suppress(CloudError):
                scheduler.cancel([array for submission in left for array in submission.arrays])

    def _end(self) -> None:
        self._queue.forget([array for submission in self._submissions for array in submission.arrays])
        if self._run is not None:
            write_waiting(self._run, {})
        if not self._closed:
            self._submissions.clear()

    # Reading.

    def _read(self) -> None:
        """Read what is new; look at the queue if that is due."""
        began = time.monotonic()
        found = sum(self._read_files(submission) for submission in self._submissions)
        if not found and self._queue.due() == 0.0:
            self._look()
        if self._logs:
            self._show()
        took = time.monotonic() - began
        self._pause = max(_SLOW * took, _SHORTEST if found else min(_LONGEST, self._pause * 1.3))

    def _read_files(self, submission: Submission) -> int:
        ended = submission.read() if submission.open else []
        for event in ended:
            self._ready.append(event.outcome)
        return len(ended)

    def _look(self) -> None:
        with contextlib.suppress(CloudError):  # it may be back at the next look, and the tasks go on without it
            at, seen = self._queue.look()
            if at == self._seen:
                return
            self._seen = at
            reasons: dict[str, list[int]] = {}
            for submission in self._submissions:
                if not submission.open or at < submission.submitted:
                    continue
                self._read_files(submission)  # what ended before the queue was asked
                for gone in list(submission.gone(seen)):
                    submission.open.discard(gone.place)
                    self._lost(submission, gone)
                for reason, jobs in submission.waiting(seen).items():
                    reasons.setdefault(reason, []).extend(jobs)
            if self._run is not None:
                write_waiting(self._run, reasons)

    def _lost(self, submission: Submission, gone: Gone) -> None:
        parcel = self._parcels[submission.indices[gone.place]]
        while parcel.job.attempt < gone.attempt:  # the task has tried it before
            parcel = pickling.next_attempt(parcel)
        where = {"apparatus": "slurm", "task": gone.task, **({"node": gone.node} if gone.node else {})}
        self._finish(parcel, gone.state, gone.failure, gone.started, where)

    def _finish(
        self,
        parcel: Parcel,
        state: State,
        failure: Failure,
        started: float | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what no task could, and hand it on, or try the job once more."""
        job = parcel.job
        lost = Outcome(
            job.index, state, None, failure, started, time.time(), job.attempt, where=where or {}, key=job.key
        )
        outcome = record_loss(parcel, lost)
        again = retried(parcel, outcome, self._retries) if outcome.state is not State.CANCELLED else None
        if again is not None and not self._closed:
            try:
                self._submit([again])
                return
            except (CloudError, UsageError) as error:
                print(f"job {job.index} cannot be submitted again: {error}", file=sys.stderr)
        self._ready.append(outcome)

    def _show(self) -> None:
        """Show what jobs have printed since."""
        running = {s.indices[place] for s in self._submissions for place in s.running()}
        for index in sorted(running | {outcome.index for outcome in self._ready}):
            job = self._parcels[index].job
            if job.record and job.folder is not None:
                with contextlib.suppress(OSError), Path(job.folder, layout.LOG).open("rb") as log:
                    log.seek(self._shown.get(index, 0))
                    text = log.read()
                    self._shown[index] = log.tell()
                    if text:
                        sys.stdout.write(text.decode(errors="replace"))
                        sys.stdout.flush()


def _stopped(before: str) -> Failure:
    return Failure("Cancelled", f"it was stopped before it {before}")
