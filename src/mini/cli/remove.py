"""`mini rm` and `mini gc`: runs that go. What would go is shown before it does."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mini import limits, project
from mini.apparatus.handle import Run
from mini.cli import text
from mini.cli.parameters import Count, app_option, complete_run, yes_option
from mini.display.text import format_bytes, printable
from mini.errors import MiniError, UsageError
from mini.job import State
from mini.runs import layout, lookup, notes, status
from mini.runs.folder import RunFolder


@click.command("rm")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run)
@app_option
@yes_option
def rm_command(runs: tuple[str, ...], app: str | None, yes: bool) -> int:
    """Remove runs that do not run, after asking."""
    if app is not None:
        raise UsageError(text.only_here(" ".join(runs), app, "rm"))
    home = project.outputs()
    found = {folder.path: folder for folder in (lookup.find(home, run) for run in runs)}
    for folder in found.values():
        _require_quiet(folder)
    parts = [f"{path} with its {len(folder.jobs())} jobs" for path, folder in found.items()]
    if not text.confirm(f"Remove {', '.join(parts)}?", yes):
        return 1
    for folder in found.values():
        _remove(folder)
    return 0


@dataclass(frozen=True)
class _Candidate:
    """A folder that may go.

    Args:
        path: Its path.
        why: Why it may.
        size: Bytes of its files.
        run: The run, if it is one.
    """

    path: Path
    why: str
    size: int
    run: RunFolder | None = None


@click.command("gc")
@click.option("--older", metavar="AGE", help="Also runs that began longer ago, such as 30d; those with a tag are kept.")
@click.option("--keep", type=Count(), metavar="N", default=1, help="Keep the N latest runs (default 1).")
@click.option("--cache", is_flag=True, help="Also what is cached and can be made again: ~/.cache/mini.")
@yes_option
def gc_command(older: str | None, keep: int, cache: bool, yes: bool) -> int:
    """Show which runs have nothing worth keeping and how many bytes that is; remove them with --yes, or if you agree.

    That is a run in which no job is done. A run that runs, and one with a tag or a note, stays.
    """
    age = limits.duration(older, "--older") if older is not None else None
    found = list(_candidates(age, keep))
    if cache:
        folder = project.cache_folder("")
        found += [_Candidate(path, "cache", _size(path)) for path in sorted(folder.iterdir())]
    if not found:
        print("nothing to remove")
        return 0
    text.print_rows(
        ("what", "why", "size"),
        [(project.relative(one.path) if one.run else str(one.path), one.why, format_bytes(one.size)) for one in found],
        folds=("what",),
    )
    question = f"Remove these {len(found)}, {format_bytes(sum(one.size for one in found))}?"
    if not text.confirm(question, yes):
        return 1
    for one in found:
        if one.run is not None:
            _remove(one.run)
        else:
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()
    return 0


def _candidates(age: float | None, keep: int) -> Iterator[_Candidate]:
    for path in lookup.list_runs(project.outputs())[keep:]:
        folder = RunFolder(path)
        said = notes.read_notes(path)
        if said.tags or said.note or folder.is_driven():
            continue
        try:
            now = Run(folder).status()
        except (MiniError, OSError):  # nobody knows what of it is worth keeping
            continue
        if now.state is status.RunState.RUNNING:
            continue
        if not now.counts.get(State.DONE.value) and not now.damaged:
            yield _Candidate(path, "no job is done", _size(path), folder)
        elif age is not None and now.began is not None and time.time() - now.began > age:
            yield _Candidate(path, f"began {text.when(now.began)}", _size(path), folder)


def _size(path: Path) -> int:
    """Bytes of the files in a folder; a link is none."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def _require_quiet(folder: RunFolder) -> None:
    if folder.is_driven():
        raise UsageError(f"{folder.id} is running; `mini cancel {folder.id}` first")


def _remove(folder: RunFolder) -> None:
    _require_quiet(folder)  # it may have been begun again since it was looked at
    if (folder.path / layout.DRIVER).exists():
        Run(folder).release()
    shutil.rmtree(folder.path)
    print(f"removed {printable(str(folder.path))}")
