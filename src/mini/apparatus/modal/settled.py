"""What became of jobs whose containers cannot say it: recorded where they would have recorded it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mini.apparatus.modal import container
from mini.apparatus.modal.volume import ModalVolume
from mini.errors import MiniError
from mini.job import Failure, Job, Outcome, State
from mini.runs import layout, records


def at_home(outcome: Outcome, homes: Mapping[str, str]) -> Outcome:
    """The outcome with its folder as it is, or will be, on this machine.

    Args:
        outcome: As a container had it.
        homes: The folder here of each run, by its folder in a container.
    """
    if outcome.folder is None:
        return outcome
    there = PurePosixPath(outcome.folder)
    run = next((parent for parent in there.parents if str(parent) in homes), None)
    here = Path(there).absolute() if run is None else Path(homes[str(run)], *there.relative_to(run).parts)
    return replace(outcome, folder=str(here))


def unsaid(job: Job, state: State, failure: Failure) -> Outcome:
    """The outcome of a job that no container can say."""
    folder = job.folder if job.record else None
    return Outcome(
        job.index, state, failure=failure, ended=time.time(), attempt=job.attempt, folder=folder, key=job.key
    )


def record(
    volume: ModalVolume, outcomes: Sequence[Outcome], rows: Mapping[int, Mapping[str, Any]]
) -> Iterator[Outcome]:
    """Write the records of jobs whose containers could not; where one did before it was lost, that one stands."""
    new = []
    for outcome in outcomes:
        if outcome.folder is None or outcome.ok:
            yield outcome
            continue
        with tempfile.TemporaryDirectory() as temporary:
            recorded = None
            with contextlib.suppress(MiniError, FileNotFoundError):
                data = volume.read(str(PurePosixPath(outcome.folder, layout.RECORD).relative_to(container.OUTPUTS)))
                Path(temporary, layout.RECORD).write_bytes(data)
                recorded = replace(records.read_record(Path(temporary)).outcome, folder=outcome.folder)
        if recorded is not None and recorded.ok:
            yield recorded
        else:
            new.append(outcome)
            yield outcome
    with tempfile.TemporaryDirectory() as temporary:
        for outcome in new:
            assert outcome.folder is not None
            folder = Path(temporary, *PurePosixPath(outcome.folder).relative_to(container.OUTPUTS).parts)
            records.write_record(replace(outcome, folder=str(folder)), rows.get(outcome.index, {}))
        if new:
            volume.upload(temporary, "")
