"""What `mini` does with runs: each verb prints and returns an exit code."""

from __future__ import annotations

import fnmatch
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini import project
from mini.apparatus.modal import runs
from mini.errors import OptionError, UsageError, did_you_mean
from mini.handle import Run
from mini.runs import layout, lookup, status
from mini.runs.folder import RunFolder
from mini.runs.records import Record
from mini.runs.status import RunState, Status

if TYPE_CHECKING:
    import polars as pl

_TAIL = 15  # lines of a failed job's log
_GLANCE = 0.5  # seconds between two looks at a run that goes on


def home() -> Path:
    """Where the runs of the project around the working directory are."""
    return project.root() / "outputs"


def ls(*, app: str | None, as_json: bool) -> int:
    """The runs here, the latest first; or those on the volume, by name."""
    if app is not None:
        names = runs.runs(runs.volume())
        print(json.dumps([{"id": name} for name in names]) if as_json else "\n".join(names))
        return 0
    looked = [status.read_status(RunFolder(path)) for path in lookup.list_runs(home()) if (path / layout.JOBS).exists()]
    if as_json:
        print(json.dumps([{k: v for k, v in one.as_json().items() if k != "unfinished"} for one in looked]))
        return 0
    rows = [(one.id, _when(one.began), one.state.value, _counts(one), ",".join(one.apparatus)) for one in looked]
    _print_rows(("run", "began", "state", "jobs", "apparatus"), rows)
    return 0


def show_status(run: str | None, *, app: str | None, as_json: bool) -> int:
    """Counts, and each unfinished job."""
    one = Run.open(run, app=app).status()
    if as_json:
        print(json.dumps(one.as_json()))
    else:
        _print_status(one)
    return one.exit_code


def watch(run: str | None, *, app: str | None) -> int:
    """Show how a run goes that somebody else drives, until it ends."""
    from mini.display import terminal
    from mini.job import Job

    opened = Run.open(run, app=app)
    folder = opened.folder
    jobs = [Job(line.index, print, key=line.key, folder=line.folder, row=line.row) for line in folder.jobs()]
    seen: set[int] = set()
    with terminal.Display(jobs) as shown:
        while True:
            one = opened.status()  # before the records, so that none is missed that came last
            for line, record in folder.records():
                if isinstance(record, Record) and line.index not in seen:
                    seen.add(line.index)
                    shown.finished(record.outcome)
            if one.state is not RunState.RUNNING:
                break
            time.sleep(_GLANCE)
    print(f"{one.id}: {one.state}, {_counts(one)}")
    return one.exit_code


def results(
    run: str | None,
    *,
    app: str | None,
    sort: str | None,
    columns: str | None,
    where: Sequence[str],
    rows: int,
    target: Path | None,
    as_json: bool,
    tables: Path | None = None,
) -> int:
    """The table of a run as far as it is; written nowhere unless asked."""
    from mini import combine
    from mini.display import terminal

    opened = Run.open(run, app=app)
    now = opened.status()  # of a run elsewhere, brings the records
    if tables is not None:
        combine.write_tables(opened.folder, tables)
        print(f"the tables of the jobs → {tables}")
        return now.exit_code
    table, problems = combine.table(opened.folder)
    for condition in where:
        table = _where(table, condition)
    table, complaint = terminal.best_first(table, sort)
    if complaint:
        raise OptionError(complaint)
    chosen = [name.strip() for name in columns.split(",")] if columns else None
    for name in chosen or ():
        if name not in table.columns:
            raise OptionError(f"--columns: there is no column {name!r}; {did_you_mean(name, table.columns)}")
    if as_json:
        print((table.select(chosen) if chosen else table).write_json())
    elif target is not None:
        _write(table.select(chosen) if chosen else table, target)
        print(f"{table.height} rows → {target}")
    elif not table.is_empty():
        out = terminal.console()
        out.print(terminal.results(table, terminal.columns(table, chosen), rows))
        if table.height > rows:
            out.print(f"… {table.height - rows} more rows; --rows shows them")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return now.exit_code


def logs(run: str | None, job: int | None, *, app: str | None, follow: bool) -> int:
    """A job's log; without a job the ends of the logs of those that failed."""
    if run is not None and run.isdecimal() and job is None and not any(p.name == run for p in lookup.list_runs(home())):
        run, job = None, int(str(run))  # `mini logs 3`: of the latest run
    opened = Run.open(run, app=app)
    if job is None:
        opened.status()
        failed = [
            (line, record.outcome)
            for line, record in opened.folder.records()
            if isinstance(record, Record) and not record.outcome.ok
        ]
        for line, outcome in failed:
            print(f"#{line.index} {outcome.state}  {_given(line.row)}\n  {outcome.failure}")
            tail = opened.logs(line.index).splitlines()[-_TAIL:]
            print("".join(f"    {part}\n" for part in tail), end="")
        if not failed:
            print(f"no job of {opened.id} has failed; `mini logs {opened.id} JOB` shows the log of one")
        return 0
    shown = ""
    while True:
        now = opened.status() if follow else None
        text = opened.logs(job)
        print(text[len(shown) :], end="", flush=True)
        shown = text
        if now is None or now.state is not RunState.RUNNING or all(one.index != job for one in now.unfinished):
            return 0
        time.sleep(_GLANCE)


def cancel(run: str | None, *, app: str | None) -> int:
    """Stop what runs, and wait until it is."""
    opened = Run.open(run, app=app)
    if opened.status().state is not RunState.RUNNING:
        print(f"{opened.id} is not running")
        return 0
    one = opened.cancel()
    print(f"{one.id}: {_counts(one)}")
    return 0


def pull(run: str | None, *, include: str | None) -> int:
    """Bring a run's files home from the volume."""
    there = runs.volume()
    folder = RunFolder(home() / runs.fetch(there, run).path.name)
    count = runs.pull(there, folder, include)
    print(f"{count} files of {folder.path.name} → {folder.path}")
    return 0


def retry(run: str | None, *, job: int | None, apparatus: str | None, yes: bool) -> int:
    """Run again what failed, was lost or cancelled: the command the run was begun with, in the same folder."""
    opened = Run.open(run)
    folder, asked = opened.folder, opened.folder.manifest()
    if opened.status().state is RunState.RUNNING:
        if not _sure(f"{opened.id} is still running. Cancel it, and retry?", yes):
            return 3
        opened.cancel()
    if not asked.get("overrides_all") and (folder.path / layout.PARCELS).exists():
        opened.retry()
        return 0
    command = asked.get("command")
    if not command or "program" not in asked:
        raise UsageError(f"{folder.path.name} was not begun by a Hydra application; begin it again from its program")
    again = [
        *asked["overrides_all"],
        f"hydra.sweep.dir={folder.path}",
        f"hydra.launcher.resume={folder.path}",
        *([f"apparatus={apparatus}"] if apparatus else []),
        *([f"hydra.launcher.only={job}"] if job is not None else []),
    ]
    if apparatus:
        again = [o for o in again if not o.startswith("apparatus=") or o == f"apparatus={apparatus}"]
    (folder.path / layout.DRIVER).unlink(missing_ok=True)  # what went on by itself is over
    line = [sys.executable, *asked["program"], *again]
    print(shlex.join(line[1:]))
    return subprocess.run(line, cwd=asked["cwd"]).returncode


def rm(run: str, *, yes: bool) -> int:
    """Remove a run that does not run."""
    folder = lookup.find(home(), run)
    if folder.is_driven():
        raise UsageError(f"{folder.path.name} is running; `mini cancel {folder.path.name}` first")
    one = status.read_status(folder)
    if not _sure(f"Remove {folder.path} with its {one.total} jobs?", yes):
        return 1
    shutil.rmtree(folder.path)
    print(f"removed {folder.path}")
    return 0


def _sure(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        print(f"{question} Say so with --yes.", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _print_status(one: Status) -> None:
    print(f"{one.id}  {one.state}  {_counts(one)}  {','.join(one.apparatus)}  began {_when(one.began)}")
    shown = one.unfinished[:40]
    rows = [(f"#{job.index}", job.state.value, _age(job.age), _progress(job.live), _given(job.row)) for job in shown]
    if rows:
        _print_rows(("job", "state", "age", "progress", "given"), rows)
    if len(one.unfinished) > len(shown):
        print(f"… and {len(one.unfinished) - len(shown)} more unfinished jobs")
    for text in one.damaged:
        print(f"warning: {text}")
    if one.state is RunState.STOPPED:
        print(f"nobody runs it; `mini retry {one.id}` runs what is not done")


def _print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _counts(one: Status) -> str:
    return ", ".join(f"{count} {state}" for state, count in one.counts.items()) or "no jobs"


def _when(began: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(began)) if began is not None else "?"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _progress(live: Any) -> str:
    from mini.display.terminal import format_cell

    step, total = live.get("step"), live.get("total")
    steps = "" if step is None else f"{step}/{total}" if total else str(step)
    return " ".join(
        [steps, *(f"{name}={format_cell(value)}" for name, value in (live.get("metrics") or {}).items())]
    ).strip()


def _given(row: Any) -> str:
    return " ".join(f"{k.removeprefix('overrides.')}={v}" for k, v in row.items() if k.startswith("overrides."))


def _where(table: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The rows for which COLUMN=VALUE holds; the value may be a pattern."""
    import polars as pl

    column, equals, value = condition.partition("=")
    if not equals:
        raise OptionError(f"--where {condition}: write COLUMN=VALUE, such as state=failed or overrides.model=large")
    name = column if column in table.columns else f"overrides.{column}"
    if name not in table.columns:
        raise OptionError(f"--where {condition}: there is no column {column!r}; {did_you_mean(column, table.columns)}")
    texts = [None if cell is None else str(cell) for cell in table[name]]
    return table.filter(
        pl.Series([text is not None and fnmatch.fnmatchcase(text, value) for text in texts], dtype=pl.Boolean)
    )


def _write(table: pl.DataFrame, target: Path) -> None:
    writers: dict[str, Callable[[Path], Any]] = {
        ".csv": table.write_csv,
        ".parquet": table.write_parquet,
        ".json": table.write_json,
    }
    if target.suffix not in writers:
        raise OptionError(f"{target} ends in none of {', '.join(writers)}")
    writers[target.suffix](target)
