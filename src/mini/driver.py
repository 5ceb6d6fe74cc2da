"""The process that drives a run on this machine when whoever began it is gone: `python -m mini.driver RUN`.

It knows no engine: the registry makes what the run needs.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

from mini import batch, combine, project
from mini.apparatus import registry
from mini.apparatus.base import Apparatus
from mini.apparatus.handle import Assignment, Task
from mini.batch import Placement
from mini.errors import MiniError, RecordError
from mini.job import State
from mini.notify import Notifier
from mini.runs import layout, records, snapshot
from mini.runs.folder import RunFolder
from mini.worker.pickling import Parcel, next_attempt


def drive(folder: RunFolder) -> None:
    """Run what has no finished record; what failed before is tried once more."""
    assignment: Assignment = pickle.loads((folder.path / layout.PARCELS).read_bytes())
    os.chdir(assignment.cwd)
    sys.path[:] = assignment.path
    if any(getattr(task.options, "snapshot", False) for task in assignment.tasks):
        sys.path[:] = snapshot.take_next(sys.path, project.root(), folder.path)
    made: dict[tuple[object, ...], Apparatus] = {}
    notifier = Notifier(assignment.notify, folder)
    try:
        placements = []
        homes = {line.index: line.folder for line in folder.jobs()}
        for task in assignment.tasks:
            parcels = [
                parcel
                for before in task.parcels
                if (parcel := _unfinished(before, Path(homes[before.job.index]))) is not None
            ]
            if parcels:
                placements.append(
                    Placement(
                        _apparatus(task, made),
                        [replace(parcel.job, folder=homes[parcel.job.index]) for parcel in parcels],
                        parcels,
                    )
                )
        watcher = notifier.watching(_Combining(folder))
        outcomes = batch.run_jobs(placements, folder, watcher, in_place=True, limits=assignment.limits)
        print(f"{sum(outcome.ok for outcome in outcomes)} of {len(outcomes)} jobs done")
    except batch.Stopped as stopped:
        print(stopped)
    finally:
        for apparatus in made.values():
            apparatus.close()
        notifier.end()


def _apparatus(task: Task, made: dict[tuple[object, ...], Apparatus]) -> Apparatus:
    """The view that a task asks for; tasks share an apparatus where they may."""
    key = registry.identity(task.kind, task.name, task.options)
    if key not in made:
        made[key] = registry.find(task.kind).make(task.name, task.options)
    return made[key].view(task.options)


class _Combining(batch.Silent):
    """Leaves the table before the run is over for those who look."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def __exit__(self, *_: object) -> None:
        combine.write(self._folder)

    def warn(self, message: str) -> None:
        """Into the driver's log."""
        print(f"warning: {message}", flush=True)


def _unfinished(parcel: Parcel, folder: Path) -> Parcel | None:
    """The parcel's next attempt; None if it is done.

    Args:
        parcel: As it was encoded; a job that runs elsewhere has another folder in it.
        folder: The job's folder here.
    """
    try:
        before = records.read_record(folder).outcome
    except (FileNotFoundError, RecordError):
        return parcel
    if before.ok or before.state is State.PRUNED:
        return None
    while parcel.job.attempt <= before.attempt:
        parcel = next_attempt(parcel)
    return parcel


if __name__ == "__main__":
    try:
        drive(RunFolder(sys.argv[1]))
    except MiniError as error:
        sys.exit(f"error: {error}")
