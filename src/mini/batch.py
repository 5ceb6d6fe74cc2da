"""Many jobs, possibly on several apparatus, recorded in one run folder."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from mini.apparatus.base import Apparatus, Stream
from mini.job import Job, Outcome
from mini.store import RunFolder


@dataclass(frozen=True)
class Group:
    """Jobs that run on one apparatus."""

    apparatus: Apparatus
    jobs: Sequence[Job]


class Watcher(AbstractContextManager["Watcher"], Protocol):
    """Whoever shows how a batch goes."""

    def finished(self, outcome: Outcome) -> None:
        """One job is over."""


class Interrupted(KeyboardInterrupt):
    """The user interrupted a batch.

    Args:
        outcomes: What had finished.
        total: How many jobs there were.
    """

    def __init__(self, outcomes: Sequence[Outcome], total: int) -> None:
        super().__init__(f"interrupted: {len(outcomes)} of {total} jobs had finished, and their records are kept")
        self.outcomes = outcomes


def run(
    groups: Sequence[Group], folder: RunFolder, watcher: Watcher, asked: Mapping[str, Any] | None = None
) -> list[Outcome]:
    """Run jobs to their end.

    Everything is checked and encoded before the first job starts. A job that fails stops no other.

    Args:
        groups: The jobs, by where they run; indices are distinct over all groups, and every job has a folder.
        folder: The run they belong to.
        watcher: Told of each job that is over.
        asked: What `run.json` says; None for more jobs of a run that has begun.

    Returns:
        The outcomes, by index.

    Raises:
        UsageError: Something is wrong with a job or its folder; nothing was started.
        Interrupted: On Ctrl-C; the jobs were stopped.
    """
    jobs = sorted((job for group in groups for job in group.jobs), key=lambda job: job.index)
    folder.require_free(jobs)
    encoded = [(group.apparatus, group.apparatus.encode(group.jobs)) for group in groups]
    if asked is not None:
        folder.begin(asked)
    folder.add_jobs(jobs)
    outcomes: list[Outcome] = []
    streams: list[Stream] = []
    with watcher:
        try:
            streams.extend(apparatus.start(parcels) for apparatus, parcels in encoded)
            for outcome in _merge(streams):
                outcomes.append(outcome)
                watcher.finished(outcome)
        except KeyboardInterrupt as error:
            raise Interrupted(outcomes, len(jobs)) from error
        finally:
            for stream in streams:
                stream.close()
    return sorted(outcomes, key=lambda outcome: outcome.index)


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
