"""`mini explain`: why a job would run again, or not. Starts no job."""

from __future__ import annotations

import shlex

import click

from mini.apparatus.handle import Run
from mini.cli import repeat
from mini.cli.parameters import job_argument, run_argument, yes_option
from mini.errors import NoSuchRun
from mini.launcher import asked
from mini.runs import layout
from mini.runs.records import Record


@click.command("explain")
@run_argument(required=True)
@job_argument(required=True)
@yes_option
def explain_command(run: str, job: int, yes: bool) -> int:
    """Compare a job's result with what the job would be now: its config, its place, its code. No job is started.

    What a job would be now only its program can say: the command of the run is given again, and ends before any job.
    """
    opened = Run.open(run)
    folder, manifest = opened.folder, opened.folder.manifest()
    if all(line.index != job for line in folder.jobs()):
        raise NoSuchRun(f"{opened.id} has no job {job}")
    if not manifest.get("overrides_all") and (folder.path / layout.PARCELS).exists():
        print(_of_parcel(opened, job))
        return 0
    words = asked.again(manifest, folder.path, f"hydra.launcher.explain={job}")
    if not repeat.is_trusted(folder, manifest, yes):
        print(shlex.join(words))
        return 1
    multirun = folder.path / layout.MULTIRUN
    before = multirun.read_bytes() if multirun.exists() else None
    try:
        return repeat.run(words, manifest)
    finally:
        if before is not None:  # Hydra's sweeper has written its config there
            multirun.write_bytes(before)


def _of_parcel(opened: Run, job: int) -> str:
    """Of a run of functions that travel as they were when it was begun."""
    record = next(record for line, record in opened.folder.records() if line.index == job)
    if isinstance(record, Record) and record.outcome.ok:
        return f"job {job} is done, and would not run again: it runs as it was when {opened.id} was begun"
    state = record.outcome.state if isinstance(record, Record) else "without a record"
    return f"job {job} is {state}, and would run again, as it was when {opened.id} was begun"
