"""The outcomes of jobs in a pool of worker processes."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.grouping import Grouping
from mini.apparatus.local.bundle import Bundle, Ending, How
from mini.apparatus.local.pool import Pool
from mini.apparatus.stream import Stream, record_loss, retried
from mini.errors import UsageError
from mini.job import Failure, Outcome, State
from mini.runs.live import read_live
from mini.worker.pickling import Parcel


class LocalStream(Stream):
    """Keeps every worker of a pool busy; the workers' threads report to it.

    Args:
        pool: Gives the pool, for so many jobs.
        grouping: How many jobs go to a worker at once.
        parcels: The jobs.
        timeout: Seconds each may take; None for no limit.
        retries: Further attempts of a job that failed.
    """

    def __init__(
        self,
        pool: Callable[[int], Pool],
        grouping: Grouping,
        parcels: Sequence[Parcel],
        timeout: float | None,
        retries: int,
    ) -> None:
        self._get_pool, self._grouping, self._timeout, self._retries = pool, grouping, timeout, retries
        self._queued: deque[Parcel] = deque()
        self._sent: set[Bundle] = set()
        self._stopping: set[int] = set()
        self._ready: deque[Outcome] = deque()
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        self.add(parcels)

    def add(self, parcels: Sequence[Parcel]) -> None:
        """Start more jobs.

        Raises:
            UsageError: The stream, or its apparatus, is closed.
        """
        with self._changed:
            if self._closed:
                raise UsageError("this stream is closed, and takes no more jobs; start them anew")
            self._queued.extend(parcels)
            if parcels:
                self._pool = self._get_pool(len(self._queued) + len(self._sent))
            self._fill()

    def stop(self, index: int) -> None:
        """Stop one job: out of the queue, or with the process that runs it; the jobs behind it go to another.

        Args:
            index: The job's index.
        """
        with self._changed:
            if self._closed:
                return
            for parcel in self._queued:
                if parcel.job.index == index:
                    self._queued.remove(parcel)
                    self._finish(parcel, _stopped(parcel))
                    self._changed.notify_all()
                    return
            for bundle in list(self._sent):
                if any(parcel.job.index == index for parcel in bundle.unfinished()):
                    self._stop_in(bundle, index)
                    self._fill()
                    self._changed.notify_all()
                    return

    def _stop_in(self, bundle: Bundle, index: int) -> None:
        self._stopping.add(index)
        self._take_back(bundle)
        left = bundle.unfinished()
        if left and left[-1].job.index == index:  # it has begun, and none behind it will
            self._pool.stop(bundle)
        else:  # it waited, and is dropped; or it is over, and its outcome on its way
            self._stopping.discard(index)

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running jobs of a run have in their live files."""
        with self._changed:
            running = [parcel.job for bundle in self._sent if (parcel := bundle.current) is not None]
        said = {job.index: read_live(Path(job.folder)) for job in running if job.record and job.folder is not None}
        return {index: values for index, values in said.items() if values is not None}

    def __next__(self) -> Outcome:
        with self._changed:
            while not self._ready:
                if self._error is not None:
                    raise self._error
                if self._closed or not (self._queued or self._sent):
                    raise StopIteration
                self._changed.wait()
            return self._ready.popleft()

    def close(self) -> None:
        """Stop what has not finished."""
        with self._changed:
            self._closed = True
            self._queued.clear()
            sent = list(self._sent)
            self._changed.notify_all()
        for bundle in sent:
            bundle.take_back()
            if bundle.unfinished() or not bundle.sent:  # else its worker is about to be free again
                self._pool.stop(bundle)

    # Sending.

    def _fill(self) -> None:
        """Let as many bundles be on their way as there are workers."""
        while self._queued and not self._closed and len(self._sent) < self._pool.size:
            size = min(self._grouping.size(len(self._queued)), len(self._queued))
            first = self._queued[0].shared.digest
            parcels: list[Parcel] = []
            while self._queued and len(parcels) < size and self._queued[0].shared.digest == first:
                parcels.append(self._queued.popleft())
            patience = self._grouping.overdue if len(parcels) > 1 else None
            bundle = Bundle(parcels, self._timeout, patience, self._over, self._ended, self._overdue)
            self._sent.add(bundle)
            self._pool.submit(bundle)

    def _take_back(self, bundle: Bundle) -> None:
        """Queue again what waits in a bundle, as the next to go; what shall stop is not among it."""
        back = bundle.take_back()
        for parcel in reversed(back):
            if parcel.job.index in self._stopping:
                self._finish(parcel, _stopped(parcel))
            elif not self._closed:
                self._queued.appendleft(parcel)

    # What the threads of the pool call.

    def _over(self, bundle: Bundle, parcel: Parcel, outcome: Outcome) -> None:
        with self._changed:
            try:
                self._grouping.finished(outcome.seconds)
                again = (
                    None
                    if self._closed or parcel.job.index in self._stopping
                    else retried(parcel, outcome, self._retries)
                )
                if again is not None:
                    self._queued.appendleft(again)
                else:
                    self._stopping.discard(parcel.job.index)
                    self._ready.append(outcome)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._error = error
            self._changed.notify_all()

    def _ended(self, bundle: Bundle, ending: Ending) -> None:
        with self._changed:
            try:
                self._sent.discard(bundle)
                if ending.hit is not None:
                    outcome = record_loss(ending.hit, _outcome(ending.hit, ending, self._timeout, bundle.sent))
                    again = None
                    if outcome.state is not State.CANCELLED and not self._closed:
                        again = retried(ending.hit, outcome, self._retries)
                    if again is not None:
                        self._queued.appendleft(again)
                    else:
                        self._stopping.discard(outcome.index)
                        self._ready.append(outcome)
                for parcel in reversed(ending.left):
                    if parcel.job.index in self._stopping:
                        self._finish(parcel, _stopped(parcel))
                    elif not self._closed:
                        self._queued.appendleft(parcel)
                self._fill()
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._error = error
            self._changed.notify_all()

    def _overdue(self, bundle: Bundle) -> None:
        with self._changed:
            self._grouping.finished(self._grouping.overdue)
            self._take_back(bundle)
            self._fill()

    def _finish(self, parcel: Parcel, outcome: Outcome) -> None:
        self._stopping.discard(parcel.job.index)
        self._ready.append(record_loss(parcel, outcome))


def _stopped(parcel: Parcel) -> Outcome:
    job = parcel.job
    why = Failure("Cancelled", "it was stopped before it began")
    return Outcome(job.index, State.CANCELLED, None, why, None, time.time(), job.attempt, key=job.key)


def _outcome(parcel: Parcel, ending: Ending, timeout: float | None, sent: float) -> Outcome:
    """What became of a job that was hit by the end of its process."""
    job, now = parcel.job, time.time()
    started: float | None = now - (time.monotonic() - sent) if sent else None
    if ending.how is How.TIMEOUT:
        state, why = State.TIMEOUT, Failure("Timeout", f"it ran for more than {timeout:g} s, and was stopped")
    elif ending.how is How.STOPPED:
        state, why = State.CANCELLED, Failure("Cancelled", "it was stopped before it finished")
    elif ending.how is How.NOT_STARTED:
        state, started = State.LOST, None
        why = Failure("WorkerDied", f"no worker process could be started ({ending.why})")
    else:
        state, why = State.LOST, Failure("WorkerDied", ending.why or _cause_of_death(ending.code))
    return Outcome(job.index, state, None, why, started, now, job.attempt, key=job.key)


def _cause_of_death(code: int | None) -> str:
    if code is None:
        return "its worker process died"
    if code == -signal.SIGKILL:
        return "its worker process was killed by SIGKILL; most often that is the kernel, out of memory"
    if code < 0:
        return f"its worker process was killed by {signal.Signals(-code).name}"
    return f"its worker process exited with code {code}"
