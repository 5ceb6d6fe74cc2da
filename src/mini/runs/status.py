"""How a run goes, from what it left: the records are the truth, the live files say how far the rest is."""

from __future__ import annotations

import enum
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini.errors import MiniError, RecordError
from mini.job import State
from mini.machine import collection_paused
from mini.runs import layout, records
from mini.runs.folder import RunFolder
from mini.runs.jobs import read_jobs
from mini.runs.live import read_live, read_waiting

_PARQUET = b"PAR1"  # how such a file begins and ends

UNREADABLE = "unreadable"
"""Counted in place of a state where a job's record is damaged."""


class RunState(enum.StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    """Nobody drives it, and not all of its jobs are finished."""


@dataclass(frozen=True)
class UnfinishedJob:
    """A job without a record.

    Args:
        index: The job's index.
        state: `QUEUED`, `RUNNING`, or `LOST`: begun, with nobody there to end it.
        row: What it was given.
        live: What it said last: `step`, `total`, `metrics`, `started`, `beat`; empty if it has not begun.
        reason: Why it waits, in the words of the engine's queue, where that is known.
    """

    index: int
    state: State
    row: Mapping[str, Any]
    live: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def age(self) -> float | None:
        """Seconds since it began; None if it has not."""
        started = self.live.get("started")
        return max(0.0, time.time() - started) if isinstance(started, int | float) else None


@dataclass(frozen=True)
class Status:
    """How a run goes.

    Args:
        id: The run's name.
        state: Of the whole.
        counts: How many jobs are in each state.
        total: How many jobs there are.
        began: Unix time, in seconds.
        apparatus: Where its jobs run.
        unfinished: Jobs without a record, those that run first.
        damaged: What could not be read.
    """

    id: str
    state: RunState
    counts: Mapping[str, int]
    total: int
    began: float | None
    apparatus: tuple[str, ...]
    unfinished: tuple[UnfinishedJob, ...]
    damaged: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 done and nothing damaged, 3 still running, 1 anything else."""
        if self.state is RunState.RUNNING:
            return 3
        return 0 if self.state is RunState.DONE and not self.damaged else 1

    def as_json(self) -> dict[str, Any]:
        """For programs; the names are stable."""
        return {
            "id": self.id,
            "state": self.state.value,
            "total": self.total,
            "counts": dict(self.counts),
            "began": self.began,
            "apparatus": list(self.apparatus),
            "unfinished": [
                {
                    "job": job.index,
                    "state": job.state.value,
                    "age": job.age,
                    **_progress_of(job.live),
                    **({"reason": job.reason} if job.reason else {}),
                }
                for job in self.unfinished
            ],
            "damaged": list(self.damaged),
        }


@collection_paused()
def read_status(
    folder: RunFolder, *, driven: bool | None = None, live: Mapping[int, Mapping[str, Any]] | None = None
) -> Status:
    """Look at a run.

    Args:
        folder: The run.
        driven: Whether somebody drives it; None to find out on this machine.
        live: What the jobs said last, by index; None to read their live files.

    Raises:
        RunFolderError: There is no run, or one of a newer version.
    """
    damaged: list[str] = []
    try:
        manifest = folder.manifest()
    except RecordError as error:
        manifest = {}
        damaged.append(str(error))
    driven = folder.is_driven() if driven is None else driven
    bulk, damaged_bulk = records.read_bulk(folder.path)
    counts: Counter[str] = Counter()
    unfinished = []
    jobs, damaged_lines = read_jobs(folder.path)
    reasons = read_waiting(folder.path) if driven else {}
    damaged += damaged_lines + damaged_bulk
    for job in jobs:
        recorded = _recorded_state(job.folder, bulk.get(job.index), damaged)
        if recorded is not None:
            counts[recorded] += 1
            continue
        progress = read_live(job.folder) if live is None else live.get(job.index)
        state = State.QUEUED if progress is None else State.RUNNING if driven else State.LOST
        counts[state.value] += 1
        reason = reasons.get(job.index) if state is State.QUEUED else None
        unfinished.append(UnfinishedJob(job.index, state, job.row, progress or {}, reason))
    if not is_whole_table(folder.path / layout.RESULTS):
        damaged.append(describe_damaged_table(folder.path / layout.RESULTS))
    unfinished.sort(key=lambda job: (job.state is State.QUEUED, job.index))
    return Status(
        folder.path.name,
        _run_state(counts, len(jobs), driven),
        dict(sorted(counts.items())),
        len(jobs),
        began if isinstance(began := manifest.get("began"), int | float) else None,
        tuple(map(str, manifest.get("apparatus") or ())),
        tuple(unfinished),
        tuple(damaged),
    )


def read_all(runs: Iterable[Path]) -> tuple[list[Status], list[str]]:
    """Look at many runs, of which some may be damaged.

    Args:
        runs: Their folders; those with no list of jobs have not begun, and are left out.

    Returns:
        The status of each that can be read, and what is damaged in any.
    """
    statuses, damaged = [], []
    for path in runs:
        folder = RunFolder(path)
        if folder.has_run():
            try:
                statuses.append(read_status(folder))
            except (MiniError, OSError) as error:
                damaged.append(f"{path}: {error}")
    return statuses, [*damaged, *(text for status in statuses for text in status.damaged)]


def is_whole_table(path: Path) -> bool:
    """Whether a parquet file begins and ends like one, or is not there."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(_PARQUET)) == _PARQUET
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET)))
            return begins and size > 2 * len(_PARQUET) and file.read() == _PARQUET
    except FileNotFoundError:
        return True
    except OSError:
        return False


def describe_damaged_table(path: Path) -> str:
    """What is said of a damaged `results.parquet`."""
    return f"{path} is damaged; the table is made from the records, and the file can be removed"


def _run_state(counts: Mapping[str, int], total: int, driven: bool) -> RunState:
    waiting = sum(counts.get(state.value, 0) for state in (State.QUEUED, State.RUNNING, State.LOST))
    unsettled = waiting - counts.get(State.LOST.value, 0)
    if driven:
        return RunState.RUNNING
    if counts.get(State.DONE.value, 0) + counts.get(State.PRUNED.value, 0) == total:
        return RunState.DONE
    return RunState.STOPPED if unsettled or counts.get(State.CANCELLED.value, 0) else RunState.FAILED


def _recorded_state(folder: str, bulk: records.BulkRecord | None, damaged: list[str]) -> str | None:
    """A job's state by the beginning of the record that stands; None where there is none."""
    try:
        own = records.read_head(f"{folder}/{layout.RECORD}")
    except RecordError as error:
        if bulk is None:
            damaged.append(str(error))
            return UNREADABLE
        own = None
    if bulk is not None and (own is None or bulk.head.rank > own.rank):
        own = bulk.head
    return own.state if own is not None else None


def _progress_of(live: Mapping[str, Any]) -> dict[str, Any]:
    return {name: live[name] for name in ("step", "total", "metrics") if name in live}
