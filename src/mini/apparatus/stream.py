"""The outcomes of jobs that were started, as they come; and what becomes of a job whose worker cannot say it."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mini.errors import RecordError
from mini.job import Failure, Job, Outcome, State
from mini.runs import live, records
from mini.runs.values import metrics
from mini.worker import pickling
from mini.worker.pickling import Parcel


class Stream(Iterator[Outcome]):
    """Outcomes as they come, in no order, each job exactly once.

    Iterating waits for the next. All methods may be called from other threads.
    """

    @abc.abstractmethod
    def add(self, parcels: Sequence[Parcel]) -> None:
        """Start more jobs, with indices that no job of this stream has.

        An iteration that had ended goes on: `next` then waits for these.

        Raises:
            UsageError: The stream is closed.
        """

    @abc.abstractmethod
    def stop(self, index: int) -> None:
        """Stop one job. Its outcome comes as any other, in state `CANCELLED`; a result that came meanwhile stands.

        Nothing happens if the job has finished. The other jobs go on, those that wait in the same process too.

        Args:
            index: The job's index.
        """

    def prune(self, job: Job) -> None:
        """Let `mini.progress` raise `Pruned` in a running job, which must end then. One that has finished stays so.

        Where a job's folder is its folder here, a file in it says so. An engine whose jobs are elsewhere tells them.

        Args:
            job: The job.
        """
        if job.folder is not None:
            live.mark_pruned(Path(job.folder))

    @abc.abstractmethod
    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running jobs of a run said last, by index; a cache, and possibly seconds old.

        Returns:
            For each job that is known to run: `started`, `beat` (Unix time in seconds), `attempt`, and what it gave to
            `mini.progress`: `step`, `total`, `metrics`.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Stop the jobs that have not finished; the iteration ends. May be called twice."""


def retried(parcel: Parcel, outcome: Outcome, retries: int) -> Parcel | None:
    """The next attempt of a job, or None if it is not to be tried again."""
    if outcome.ok or outcome.state is State.PRUNED or outcome.attempt > retries:
        return None
    return pickling.next_attempt(parcel)


def record_loss(parcel: Parcel, outcome: Outcome) -> Outcome:
    """Record what a worker could not: that it died.

    Returns:
        What is on record: a result that the worker had recorded before it died stands.
    """
    job = parcel.job
    if not job.record or job.folder is None:
        return outcome
    try:
        recorded = records.read_record(Path(job.folder)).outcome
        if recorded.attempt == job.attempt:
            return recorded
    except (FileNotFoundError, RecordError):
        pass
    folder, row = Path(job.folder), job.row
    if outcome.state is State.CANCELLED and live.is_pruned(folder):
        said = live.read_live(folder) or {}
        row = {**row, **metrics(said.get("metrics"))}
        outcome = pruned(outcome, said.get("step"), said.get("total"))
    outcome = replace(outcome, folder=job.folder)
    records.write_record(outcome, row)
    return outcome


def pruned(outcome: Outcome, step: int | None, total: int | None) -> Outcome:
    """The outcome of a job that did not end when it was pruned, and was stopped.

    Args:
        outcome: As of a job that somebody stopped.
        step: Where it was, if it has said so.
        total: How many steps there are.
    """
    return replace(outcome, state=State.PRUNED, failure=Failure("Pruned", live.describe_step(step, total)))
