"""The process that drives a run on this machine when whoever began it is gone: `python -m mini.driver RUN`."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mini import batch, combine
from mini.apparatus.base import Apparatus
from mini.apparatus.local.apparatus import LocalApparatus
from mini.batch import Group
from mini.errors import RecordError
from mini.limits import Limits
from mini.runs import files, layout, records
from mini.runs.folder import RunFolder
from mini.worker.pickling import Parcel, again


@dataclass(frozen=True)
class Task:
    """What a driver is to do.

    Args:
        options: Of the `LocalApparatus`.
        path: Where modules are imported from.
        cwd: Where the command was given.
        parcels: The encoded jobs, without their functions and arguments.
        deadline: When to stop, in Unix seconds.
        max_failures: When to stop.
    """

    options: Mapping[str, Any]
    path: Sequence[str]
    cwd: str
    parcels: Sequence[Parcel]
    deadline: float | None = None
    max_failures: int | None = None


def task(apparatus: Apparatus, parcels: Sequence[Parcel], deadline: float | None, max_failures: int | None) -> Task:
    """What a driver does in the place of this process."""
    return Task(apparatus._options, list(sys.path), str(Path.cwd()), parcels, deadline, max_failures)


def write(folder: RunFolder, tasks: Sequence[Task]) -> None:
    """Leave in a run folder what its driver is to do."""
    bare = [
        replace(task, parcels=[replace(p, job=replace(p.job, fn=_gone, args=(), kwargs={})) for p in task.parcels])
        for task in tasks
    ]
    files.write_atomically(folder.path / layout.PARCELS, pickle.dumps(bare, protocol=5))


def drive(folder: RunFolder) -> None:
    """Run what has no finished record; what failed before is tried once more."""
    tasks: list[Task] = pickle.loads((folder.path / layout.PARCELS).read_bytes())
    os.chdir(tasks[0].cwd)
    sys.path[:] = tasks[0].path
    made = [LocalApparatus(**task.options) for task in tasks]
    groups = []
    for task, apparatus in zip(tasks, made, strict=True):
        parcels = [next_one for parcel in task.parcels if (next_one := _open(parcel)) is not None]
        if parcels:
            groups.append(Group(apparatus, [parcel.job for parcel in parcels], parcels))
    limits = Limits(tasks[0].max_failures, tasks[0].deadline)
    try:
        outcomes = batch.run(groups, folder, _Combining(folder), again=True, limits=limits)
        print(f"{sum(outcome.ok for outcome in outcomes)} of {len(outcomes)} jobs done")
    except batch.Stopped as stopped:
        print(stopped)
    finally:
        for apparatus in made:
            apparatus.close()


class _Combining(batch.Silent):
    """Leaves the table before the run is over for those who look."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def __exit__(self, *_: object) -> None:
        combine.write(self._folder)


def _open(parcel: Parcel) -> Parcel | None:
    """The parcel's next attempt; None if it is done."""
    try:
        before = records.read_record(Path(str(parcel.job.folder))).outcome
    except (FileNotFoundError, RecordError):
        return parcel
    if before.ok:
        return None
    while parcel.job.attempt <= before.attempt:
        parcel = again(parcel)
    return parcel


def _gone() -> None:
    """In the place of a function that is in the parcel, encoded."""


if __name__ == "__main__":
    drive(RunFolder(sys.argv[1]))
