"""`mini cancel`, `retry`, `pull` and `rm`: what changes a run."""

from __future__ import annotations

import shlex
import shutil

import click

from mini import project
from mini.apparatus.handle import Run, elsewhere
from mini.cli import repeat, text
from mini.cli.parameters import app_option, complete_engine, complete_job, run_argument, yes_option
from mini.errors import UsageError
from mini.launcher import asked
from mini.runs import layout, lookup
from mini.runs.folder import RunFolder
from mini.runs.status import RunState


@click.command("cancel")
@run_argument()
@app_option
def cancel_command(run: str | None, app: str | None) -> int:
    """Stop what runs, keep what is done, and wait until it has stopped."""
    opened = Run.open(run, app=app)
    if opened.status().state is not RunState.RUNNING:
        print(f"{opened.id} is not running")
        return 0
    one = opened.cancel()
    print(f"{one.id}: {text.counts(one)}")
    return 0


@click.command("pull")
@run_argument()
@app_option
@click.option("--include", metavar="GLOB", help="Only such paths of the run, such as '*/checkpoint.npz'.")
def pull_command(run: str | None, app: str | None, include: str | None) -> int:
    """Bring a run's files home from the engine that keeps it (default modal); a second time only what is new."""
    found = elsewhere(app or "modal").fetch(None if run == lookup.LATEST else run)
    opened = Run(RunFolder(project.outputs() / found.id))
    if not (opened.folder.path / layout.RUN).exists():
        shutil.copytree(found.path, opened.folder.path, dirs_exist_ok=True)
    count = opened.pull(include)
    print(f"{count} files of {opened.id} → {opened.folder.path}")
    return 0


@click.command("retry")
@run_argument()
@click.option("--job", type=int, metavar="N", shell_complete=complete_job, help="Only this one.")
@click.option("--apparatus", metavar="NAME", shell_complete=complete_engine, help="Run it there instead.")
@click.option(
    "--stale",
    type=click.Choice(("rerun", "warn", "keep")),
    help="What is done with results of other code (default rerun).",
)
@app_option
@yes_option
def retry_command(
    run: str | None, job: int | None, apparatus: str | None, stale: str | None, app: str | None, yes: bool
) -> int:
    """Run again what failed, was lost or cancelled: the command the run was begun with, in the same folder."""
    if app is not None:
        raise UsageError(text.only_here(run, app, "retry"))
    opened = Run.open(run)
    folder, manifest = opened.folder, opened.folder.manifest()
    is_command = bool(manifest.get("overrides_all")) or not (folder.path / layout.PARCELS).exists()
    more = [
        "hydra.launcher.reuse=anywhere",  # a result stands, whatever engine has made it
        *([f"hydra.launcher.move={apparatus}"] if apparatus else []),
        *([f"hydra.launcher.stale={stale}"] if stale else []),
        *([f"hydra.launcher.only={job}"] if job is not None else []),
    ]
    if not is_command and (apparatus or stale or job is not None):
        raise UsageError(
            f"{opened.id} was begun from Python: it is retried as a whole, where it was; leave options out"
        )
    words = asked.again(manifest, folder.path, *more) if is_command else []
    if is_command:
        print(shlex.join(words))
    if not repeat.is_trusted(folder, manifest, yes):
        return 1
    if opened.status().state is RunState.RUNNING:
        if not text.confirm(f"{opened.id} is still running. Cancel it, and retry?", yes):
            return 3
        opened.cancel()
    if not is_command:
        opened.retry()
        return 0
    (folder.path / layout.DRIVER).unlink(missing_ok=True)  # what went on by itself is over
    return repeat.run(words, manifest)
