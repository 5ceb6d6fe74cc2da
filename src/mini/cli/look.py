"""`mini ls`, `status`, `watch` and `logs`: how runs go. Reads; starts nothing."""

from __future__ import annotations

import json
import sys
import time

import click

from mini import project
from mini.apparatus import handle
from mini.apparatus.handle import Run
from mini.cli import text
from mini.cli.parameters import app_option, job_argument, json_option, run_argument
from mini.display.text import printable, printable_log
from mini.job import State
from mini.runs import lookup, notes, status, study_state
from mini.runs.records import Record
from mini.runs.status import RunState, Status, UnfinishedJob

_TAIL = 15  # lines of a failed job's log
_NEWLINE = "\n"


def _shown(log: str) -> str:
    """A log as it is for a program that reads this, and without what moves the cursor for a terminal."""
    return printable_log(log) if sys.stdout.isatty() else log


@click.command("ls")
@app_option
@json_option
def ls_command(app: str | None, as_json: bool) -> int:
    """List the runs here, the latest first; with --app those that the engine keeps, by name."""
    if app is not None:
        names = handle.elsewhere(app).names()
        print(json.dumps([{"id": name} for name in names]) if as_json else "\n".join(names))
        return 0
    statuses, damaged = status.read_all(lookup.list_runs(project.outputs()))
    if as_json:
        print(json.dumps([_as_json(one) for one in statuses]))
    else:
        head = ["run", "began", "state", "jobs", "apparatus"]
        rows = [
            [one.id, text.when(one.began), one.state.value, text.counts(one), ",".join(one.apparatus)]
            for one in statuses
        ]
        said = [notes.read_notes(project.outputs() / one.id) for one in statuses]
        for name, cells in (("tags", [",".join(one.tags) for one in said]), ("note", [one.note for one in said])):
            if any(cells):
                head.append(name)
                rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
        text.print_rows(head, rows, {"began": 2, "apparatus": 3, "note": 1}, cut=("tags", "note"))
    for damage in damaged:
        print(f"warning: {printable(damage)}", file=sys.stderr)
    return int(bool(damaged))


@click.command("status")
@run_argument()
@app_option
@json_option
def status_command(run: str | None, app: str | None, as_json: bool) -> int:
    """Count the jobs by state, and list each unfinished one with its progress and age."""
    from mini.cost import estimate

    opened = Run.open(run, app=app)
    one = opened.status()
    usage, cost = estimate.of_folder(opened.folder)
    if as_json:
        print(json.dumps(one.as_json() | ({"usage": [part.as_json() for part in usage]} if usage else {})))
    else:
        _print_status(one, app)
        if cost is not None:
            print(cost)
    return one.exit_code


@click.command("watch")
@run_argument()
@app_option
def watch_command(run: str | None, app: str | None) -> int:
    """Follow a run that another process drives, until it ends. The exit code is the run's."""
    from mini.display import terminal
    from mini.job import Job

    opened = Run.open(run, app=app)
    folder = opened.folder
    known: set[int] = set()
    seen: set[int] = set()
    began = time.monotonic()
    with terminal.Display([]) as shown:
        while True:
            one = opened.status()  # before the records, so that none is missed that came last
            for line, record in folder.records():
                if line.index not in known:  # a study adds jobs while it runs
                    known.add(line.index)
                    shown.add(Job(line.index, print, key=line.key, folder=line.folder, row=line.row))
                if isinstance(record, Record) and line.index not in seen:
                    seen.add(line.index)
                    shown.finished(record.outcome, record.row)
            if one.state is not RunState.RUNNING:
                break
            time.sleep(opened.pause(time.monotonic() - began))
    print(f"{one.id}: {one.state}, {text.counts(one)}")
    if (best := study_state.describe(folder.path)) is not None:
        print(best)
    return one.exit_code


@click.command("logs")
@run_argument()
@job_argument()
@app_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
def logs_command(run: str | None, job: int | None, app: str | None, follow: bool) -> int:
    """Print a job's log; without JOB the ends of the logs of those that failed.

    `mini logs 3` is job 3 of the latest run.
    """
    if (
        run is not None
        and run.isdecimal()
        and job is None
        and not any(p.name == run for p in lookup.list_runs(project.outputs()))
    ):
        run, job = None, int(str(run))  # `mini logs 3`: of the latest run
    opened = Run.open(run, app=app)
    if job is None:
        opened.status()
        failed = [
            (line, record.outcome)
            for line, record in opened.folder.records()
            if isinstance(record, Record) and not record.outcome.ok and record.outcome.state is not State.PRUNED
        ]
        for line, outcome in failed:
            failure = printable(str(outcome.failure), _NEWLINE)
            print(f"#{line.index} {outcome.state}  {text.overrides(line.row)}\n  {failure}")
            tail = _shown(opened.logs(line.index)).splitlines()[-_TAIL:]
            print("".join(f"    {part}\n" for part in tail), end="")
        if not failed:
            print(f"no job of {opened.id} has failed; `mini logs {opened.id} JOB` shows the log of one")
        return 0
    shown, began = "", time.monotonic()
    while True:
        now = opened.status() if follow else None
        log = opened.logs(job)
        print(_shown(log[len(shown) :]), end="", flush=True)
        shown = log
        if now is None or now.state is not RunState.RUNNING or all(one.index != job for one in now.unfinished):
            return 0
        time.sleep(opened.pause(time.monotonic() - began))


def _state(job: UnfinishedJob) -> str:
    return f"{job.state.value} ({job.reason})" if job.reason else job.state.value


def _as_json(one: Status) -> dict[str, object]:
    said = notes.read_notes(project.outputs() / one.id)
    without = {name: value for name, value in one.as_json().items() if name != "unfinished"}
    return {**without, "tags": list(said.tags), "note": said.note}


def _print_status(one: Status, app: str | None) -> None:
    print(f"{one.id}  {one.state}  {text.counts(one)}  {','.join(one.apparatus)}  began {text.when(one.began)}")
    if (best := study_state.describe(project.outputs() / one.id)) is not None:
        print(best)
    shown = one.unfinished[:40]
    rows = [
        (f"#{job.index}", _state(job), text.age(job.age), text.progress(job.live), text.overrides(job.row))
        for job in shown
    ]
    if rows:
        ranks, cut = {"age": 2, "given": 1}, ("progress", "given")
        text.print_rows(("job", "state", "age", "progress", "given"), rows, ranks, cut=cut)
    if len(one.unfinished) > len(shown):
        print(f"… and {len(one.unfinished) - len(shown)} more unfinished jobs")
    for damage in one.damaged:
        print(f"warning: {printable(damage)}")
    if one.state is RunState.STOPPED and app is not None:
        print("nobody runs it; what is not done can be run where it was begun")
    elif one.state is RunState.STOPPED:
        print(f"nobody runs it; `mini retry {one.id}` runs what is not done")
