"""Many jobs, possibly on several apparatus, recorded in one run folder."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mini.apparatus.base import Apparatus
from mini.apparatus.stream import Stream
from mini.errors import StorageError
from mini.job import Failure, Job, Outcome, State
from mini.limits import Limits
from mini.runs import layout, records
from mini.runs.folder import RunFolder
from mini.runs.live import write_live
from mini.runs.values import metrics
from mini.watcher import Watcher
from mini.worker.pickling import Parcel

_GLANCE = 0.25  # seconds between two looks at whether a run shall stop
_MIRROR = 1.0  # seconds between two looks at how far jobs elsewhere are


@dataclass(frozen=True)
class Placement:
    """Jobs that run on one apparatus, encoded already or not."""

    apparatus: Apparatus
    jobs: Sequence[Job]
    parcels: Sequence[Parcel] | None = None


class Stopped(BaseException):
    """A batch was stopped before its end; what had finished is recorded, and the rest as cancelled.

    Args:
        why: The reason, as the beginning of a sentence.
        outcomes: What became of jobs; those that were cancelled had not finished.
        total: How many jobs there were.
    """

    def __init__(self, why: str, outcomes: Sequence[Outcome], total: int) -> None:
        finished = sum(outcome.state is not State.CANCELLED for outcome in outcomes)
        kept = ", and their records are kept" if finished else ""
        super().__init__(f"{why}: {finished} of {total} jobs had finished{kept}")
        self.outcomes = outcomes


class BatchInterrupted(Stopped, KeyboardInterrupt):
    """The user interrupted a batch."""


def run_jobs(
    placements: Sequence[Placement],
    folder: RunFolder,
    watcher: Watcher,
    manifest: Mapping[str, Any] | None = None,
    *,
    known: Sequence[tuple[Job, Outcome]] = (),
    in_place: bool = False,
    limits: Limits | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Run jobs to their end.

    Everything is checked and encoded, and every apparatus is ready, before the run is recorded and the first job
    starts. A job that fails stops no other. At the end the files of jobs that ran elsewhere come home.

    Args:
        placements: The jobs, by where they run; indices are distinct over all, and every job has a folder.
        folder: The run they belong to.
        watcher: Told of each job that is over.
        manifest: What `run.json` says; None for more jobs of a run that has begun.
        known: Jobs of the run that need not run, with what became of them; their folders are there.
        in_place: Whether the jobs may have been here before, and their folders hold something.
        limits: When to stop before the end.
        prepare: Called when the run is recorded, before its first job starts.

    Returns:
        The outcomes, by index.

    Raises:
        UsageError: Something is wrong with a job or its folder; nothing was started.
        CloudError: The cloud is not ready, and nothing was started; or the connection was lost on the way, and what
            had finished is recorded.
        StorageError: A job's outcome cannot be recorded, as the disk is full; the other jobs were stopped.
        BatchInterrupted: On Ctrl-C; the jobs were stopped.
        Stopped: A limit was met, or somebody cancelled the run; the jobs were stopped.
    """
    jobs = sorted((job for placement in placements for job in placement.jobs), key=lambda job: job.index)
    if not in_place:
        folder.require_free([*jobs, *(job for job, _ in known)])
    encoded = [
        (
            placement.apparatus,
            placement.apparatus.encode(placement.jobs) if placement.parcels is None else placement.parcels,
        )
        for placement in placements
    ]
    places = _by_place(placements)
    for apparatus, _ in encoded:
        apparatus.ready()
    if manifest is not None:
        folder.begin(manifest)
    with folder.driving():
        if manifest is None:
            folder.add_engines({placement.apparatus.kind for placement in placements})
        if any(placement.parcels is None for placement in placements) or known:
            folder.add_jobs(sorted([*jobs, *(job for job, _ in known)], key=lambda job: job.index))
        prepare()
        for apparatus, _ in places:
            apparatus.announce(folder)
        outcomes = _run(encoded, places, jobs, folder, watcher, limits or Limits())
    return sorted([*outcomes, *(outcome for _, outcome in known)], key=lambda outcome: outcome.index)


def _run(
    encoded: Sequence[tuple[Apparatus, Sequence[Parcel]]],
    places: Sequence[tuple[Apparatus, list[Job]]],
    jobs: Sequence[Job],
    folder: RunFolder,
    watcher: Watcher,
    limits: Limits,
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    streams: list[Stream] = []
    elsewhere: list[Stream] = []
    passing = {job.index: job for apparatus, of_place in places if not apparatus.keeps_files for job in of_place}
    with watcher, Guard(streams, folder, limits) as guard, Mirror(elsewhere, jobs) as mirror:
        try:
            for apparatus, parcels in encoded:
                streams.append(apparatus.start(parcels))
                if not apparatus.files_are_here:
                    elsewhere.append(streams[-1])
            for outcome in _merge(streams):
                outcomes.append(outcome)
                if outcome.index in passing:
                    _record_here(outcome, passing[outcome.index])
                mirror.finished(outcome)
                watcher.finished(outcome)
                guard.finished(outcome)
            if guard.why is not None and len(outcomes) < len(jobs):
                raise Stopped(guard.why, outcomes, len(jobs))
        except KeyboardInterrupt as error:
            raise BatchInterrupted("interrupted", outcomes, len(jobs)) from error
        finally:
            for stream in streams:
                stream.close()
            if outcomes:
                collect(places, folder, outcomes, watcher)
            if len(outcomes) < len(jobs):
                cancel({job.index: job for job in jobs}, outcomes)
    return outcomes


def cancel(jobs: Mapping[int, Job], outcomes: Sequence[Outcome]) -> None:
    """Record jobs that were stopped or not begun; a result that arrives meanwhile stands.

    Args:
        jobs: All of a batch, by index.
        outcomes: Of those that are over.
    """
    for index in jobs.keys() - {outcome.index for outcome in outcomes}:
        job, why = jobs[index], Failure("Cancelled", "it was stopped before it finished")
        cancelled = Outcome(
            index, State.CANCELLED, None, why, None, time.time(), job.attempt, folder=job.folder, key=job.key
        )
        try:
            records.write_record(cancelled, job.row)
        except StorageError:  # a job without a record counts as not run
            return


class Guard:
    """Stops a batch when a limit is met or somebody cancels the run.

    Args:
        streams: Those to close; more may be added meanwhile.
        folder: The run.
        limits: When to stop.
    """

    def __init__(self, streams: Sequence[Stream], folder: RunFolder, limits: Limits) -> None:
        self._streams, self._folder, self._limits = streams, folder, limits
        self._failed = 0
        self._over = threading.Event()
        self.why: str | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._look, name="mini-guard", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def finished(self, outcome: Outcome) -> None:
        """One job is over."""
        self._failed += outcome.state.is_failure
        if self._limits.max_failures is not None and self._failed >= self._limits.max_failures:
            self._stop(f"stopped after {self._failed} failures (max_failures)")

    def _look(self) -> None:
        while not self._over.wait(_GLANCE):
            if self._folder.is_cancelled():
                self._stop("cancelled")
            elif self._limits.deadline is not None and time.time() >= self._limits.deadline:
                self._stop("stopped at the end of its budget")

    def _stop(self, why: str) -> None:
        self.why = self.why or why
        self._over.set()
        for stream in list(self._streams):
            stream.close()


class Mirror:
    """Keeps live files in this run folder of jobs whose own files are elsewhere.

    So whoever looks at the folder (the display, `mini status` of another process) sees them as it sees local jobs.

    Args:
        streams: Those of the jobs elsewhere.
        jobs: All of the batch.
    """

    def __init__(self, streams: Sequence[Stream], jobs: Sequence[Job]) -> None:
        self._streams, self._jobs = streams, {job.index: job for job in jobs}
        self._written: dict[int, Mapping[str, Any]] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._look, name="mini-mirror", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for index in list(self._written):
            self._forget(index)

    def add(self, job: Job) -> None:
        """One more job of the batch."""
        with self._lock:
            self._jobs[job.index] = job

    def finished(self, outcome: Outcome) -> None:
        """One job is over; nothing more is said of it."""
        self._forget(outcome.index)

    def _forget(self, index: int) -> None:
        with self._lock:
            job = self._jobs.pop(index, None)
            if job is not None and index in self._written:
                Path(str(job.folder), layout.LIVE).unlink(missing_ok=True)

    def _look(self) -> None:
        while not self._over.wait(_MIRROR):
            said = {index: values for stream in list(self._streams) for index, values in stream.progress().items()}
            with self._lock:
                for index, values in said.items():
                    job = self._jobs.get(index)
                    if job is not None and job.folder is not None and self._written.get(index) != values:
                        write_live(Path(job.folder), values)
                        self._written[index] = values


def _by_place(placements: Sequence[Placement]) -> list[tuple[Apparatus, list[Job]]]:
    """The jobs by where their files are: views of one apparatus share a volume."""
    places: dict[int, tuple[Apparatus, list[Job]]] = {}
    for placement in placements:
        places.setdefault(id(placement.apparatus.volume), (placement.apparatus, []))[1].extend(placement.jobs)
    return list(places.values())


def collect(
    places: Sequence[tuple[Apparatus, list[Job]]], folder: RunFolder, outcomes: Sequence[Outcome], watcher: Watcher
) -> None:
    """Bring files home. Where that fails, what is known here of the jobs is recorded here.

    Args:
        places: Jobs by where their files are.
        folder: The run.
        outcomes: Of the jobs that are over.
        watcher: Told of what goes wrong.
    """
    known = {outcome.index: outcome for outcome in outcomes}
    for apparatus, jobs in places:
        over = [job for job in jobs if job.index in known]
        try:
            if over:
                apparatus.collect(folder, over)
        except Exception as error:  # noqa: BLE001 - whatever it was, the results that are here must not be lost
            watcher.warn(f"the files of {len(over)} jobs are still on {apparatus.volume!r}: {error}")
            for job in over:
                if not Path(str(job.folder), layout.RECORD).exists():
                    _record_here(known[job.index], job)


def _record_here(outcome: Outcome, job: Job) -> None:
    """Record what is known here of a job that ran elsewhere."""
    outcome = replace(outcome, folder=job.folder)
    records.write_record(outcome, {**job.row, **_metrics(outcome)})


def _metrics(outcome: Outcome) -> dict[str, Any]:
    try:
        return metrics(outcome.result())
    except Exception:  # noqa: BLE001 - no value, or none that can be unpickled here
        return {}


def _merge(streams: Sequence[Stream]) -> Iterator[Outcome]:
    """Several streams as one. A single one is read by the caller's thread, where a debugger works best."""
    if len(streams) == 1:
        yield from streams[0]
        return
    merged: queue.SimpleQueue[Outcome | _End] = queue.SimpleQueue()
    for stream in streams:
        threading.Thread(target=_drain, args=(stream, merged), daemon=True).start()
    running = len(streams)
    while running:
        item = merged.get()
        if isinstance(item, _End):
            running -= 1
            if item.error is not None:
                raise item.error
        else:
            yield item


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def _drain(stream: Stream, merged: queue.SimpleQueue[Outcome | _End]) -> None:
    error: BaseException | None = None
    try:
        for outcome in stream:
            merged.put(outcome)
    except BaseException as caught:  # noqa: BLE001 - raised again by the thread that waits
        error = caught
    merged.put(_End(error))


class Silent:
    """A watcher that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def finished(self, outcome: Outcome) -> None:
        """Do nothing."""

    def warn(self, message: str) -> None:
        """Do nothing."""
