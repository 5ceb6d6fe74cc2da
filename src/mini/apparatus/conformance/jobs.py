"""What the suite runs. Importable where jobs run, and without pytest."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mini.apparatus.base import Apparatus
from mini.job import Job, Outcome
from mini.runs.folder import RunFolder
from mini.worker.context import progress

FOLDER = "outputs/run/3"
"""The folder of the job that `record` is given, relative to the working directory."""


class TwoArguments(Exception):
    """An exception that pickle cannot rebuild."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def double(x: Any) -> Any:
    """Twice its argument."""
    return 2 * x


def fail_on(bad: int, x: int) -> int:
    """Its second argument, unless that is the first."""
    if x == bad:
        raise LookupError(f"no {x}")
    return x


def raise_two() -> None:
    """Raise what cannot be rebuilt."""
    raise TwoArguments("a", "b")


def wait_for(path: str, step: int = 3) -> str:
    """Say how far it is, and wait until there is a file."""
    progress(step, 10, loss=0.5)
    for _ in range(6000):
        if Path(path).exists():
            return path
        time.sleep(0.05)
    raise TimeoutError(f"nobody made {path}")


def touch(path: str, seconds: float) -> None:
    """Make a file, and take some time."""
    Path(path).touch()
    time.sleep(seconds)


def record(apparatus: Apparatus, job: Job) -> Outcome:
    """Run one job as a part of a run, and bring its files home."""
    assert job.folder is not None
    job = replace(job, folder=str(Path(job.folder).absolute()))
    folder = RunFolder("outputs/run")
    parcels = apparatus.encode([job])
    folder.begin({})
    folder.add_jobs([job])
    apparatus.announce(folder)
    (outcome,) = apparatus.start(parcels)
    apparatus.collect(folder, [job])
    return outcome


def go_on():
    """Say how far it is, for longer than anybody waits."""
    for step in range(1, 12_001):
        progress(step, 12_000, loss=0.5)
        time.sleep(0.05)
