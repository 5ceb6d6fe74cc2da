"""`mini cancel`, `retry`, `pull` and `rm`: what changes a run."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

from mini import project
from mini.apparatus.handle import Run, elsewhere
from mini.cli import text
from mini.errors import UsageError
from mini.runs import layout, lookup, status
from mini.runs.folder import RunFolder
from mini.runs.status import RunState


def cancel(run: str | None, *, app: str | None) -> int:
    """Stop what runs, and wait until it is."""
    opened = Run.open(run, app=app)
    if opened.status().state is not RunState.RUNNING:
        print(f"{opened.id} is not running")
        return 0
    one = opened.cancel()
    print(f"{one.id}: {text.counts(one)}")
    return 0


def pull(run: str | None, *, app: str, include: str | None) -> int:
    """Bring a run's files home from the engine that keeps it."""
    found = elsewhere(app).fetch(run)
    opened = Run(RunFolder(project.outputs() / found.id))
    if not (opened.folder.path / layout.RUN).exists():
        shutil.copytree(found.path, opened.folder.path, dirs_exist_ok=True)
    count = opened.pull(include)
    print(f"{count} files of {opened.id} → {opened.folder.path}")
    return 0


def retry(run: str | None, *, job: int | None, apparatus: str | None, yes: bool) -> int:
    """Run again what failed, was lost or cancelled: the command the run was begun with, in the same folder."""
    opened = Run.open(run)
    folder, manifest = opened.folder, opened.folder.manifest()
    if opened.status().state is RunState.RUNNING:
        if not text.confirm(f"{opened.id} is still running. Cancel it, and retry?", yes):
            return 3
        opened.cancel()
    if not manifest.get("overrides_all") and (folder.path / layout.PARCELS).exists():
        opened.retry()
        return 0
    command = manifest.get("command")
    if not command or "program" not in manifest:
        raise UsageError(f"{folder.path.name} was not begun by a Hydra application; begin it again from its program")
    overrides = [
        *manifest["overrides_all"],
        f"hydra.sweep.dir={folder.path}",
        f"hydra.launcher.resume={folder.path}",
        *([f"apparatus={apparatus}"] if apparatus else []),
        *([f"hydra.launcher.only={job}"] if job is not None else []),
    ]
    if apparatus:
        overrides = [o for o in overrides if not o.startswith("apparatus=") or o == f"apparatus={apparatus}"]
    (folder.path / layout.DRIVER).unlink(missing_ok=True)  # what went on by itself is over
    line = [sys.executable, *manifest["program"], *overrides]
    print(shlex.join(line[1:]))
    return subprocess.run(line, cwd=manifest["cwd"]).returncode


def rm(run: str, *, yes: bool) -> int:
    """Remove a run that does not run."""
    folder = lookup.find(project.outputs(), run)
    if folder.is_driven():
        raise UsageError(f"{folder.path.name} is running; `mini cancel {folder.path.name}` first")
    one = status.read_status(folder)
    if not text.confirm(f"Remove {folder.path} with its {one.total} jobs?", yes):
        return 1
    if (folder.path / layout.DRIVER).exists():
        Run(folder).release()
    shutil.rmtree(folder.path)
    print(f"removed {folder.path}")
    return 0
