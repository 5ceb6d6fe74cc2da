"""How the command line writes what several commands show."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mini.display.text import format_cell, printable
from mini.runs.status import Status


def confirm(question: str, yes: bool) -> bool:
    """Ask on a terminal; without one, say how to answer."""
    if yes:
        return True
    if not sys.stdin.isatty():
        print(f"{printable(question)} Say so with --yes.", file=sys.stderr)
        return False
    return input(f"{printable(question)} [y/N] ").strip().lower() in ("y", "yes")


def print_rows(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    ranks: Mapping[str, int] | None = None,
    folds: Collection[str] = (),
    cut: Collection[str] = (),
) -> None:
    """Rows below a head, in columns, as wide as the terminal.

    Args:
        head: The names of the columns.
        rows: Cells, anybody's text.
        ranks: Columns that give way where there is no room, those with the highest number first.
        folds: Columns whose cells may go on in further lines.
        cut: Columns of which the beginning is worth showing.
    """
    from mini.display import table, terminal

    columns = [
        table.Column(
            name,
            [terminal.printable(row[i]) for row in rows],
            rank=(ranks or {}).get(name, 0),
            whole=name not in (*folds, *cut),
            folds=name in folds,
        )
        for i, name in enumerate(head)
    ]
    table.show(terminal.console(), columns)


def only_here(run: str | None, app: str, verb: str) -> str:
    """Why a run that only an engine keeps cannot be changed here, and what to do."""
    name = run or "RUN"
    return (
        f"`mini {verb}` works on a run whose folder is here, and {name} is on the volume of {app}; "
        f"`mini pull {name} --app {app}` brings it, or give the command where the run was begun"
    )


def counts(one: Status) -> str:
    """How many jobs are in each state."""
    return ", ".join(f"{count} {state}" for state, count in one.counts.items()) or "no jobs"


def when(began: float | None) -> str:
    """A Unix time for a person."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(began)) if began is not None else "?"


def age(seconds: float | None) -> str:
    """Seconds as minutes, or hours."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def progress(live: Mapping[str, Any]) -> str:
    """What a job said last."""
    step, total = live.get("step"), live.get("total")
    steps = "" if step is None else f"{step}/{total}" if total else str(step)
    return " ".join(
        [steps, *(f"{printable(name)}={format_cell(value)}" for name, value in (live.get("metrics") or {}).items())]
    ).strip()


def overrides(row: Mapping[str, Any]) -> str:
    """What a job was given."""
    given = (f"{k.removeprefix('overrides.')}={v}" for k, v in row.items() if k.startswith("overrides."))
    return printable(" ".join(given))
