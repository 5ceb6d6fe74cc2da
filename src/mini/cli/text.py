"""How the command line writes what several commands show."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mini.runs.status import Status


def confirm(question: str, yes: bool) -> bool:
    """Ask on a terminal; without one, say how to answer."""
    if yes:
        return True
    if not sys.stdin.isatty():
        print(f"{question} Say so with --yes.", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below a head, in columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
    from mini.display.terminal import format_cell

    step, total = live.get("step"), live.get("total")
    steps = "" if step is None else f"{step}/{total}" if total else str(step)
    return " ".join(
        [steps, *(f"{name}={format_cell(value)}" for name, value in (live.get("metrics") or {}).items())]
    ).strip()


def overrides(row: Mapping[str, Any]) -> str:
    """What a job was given."""
    return " ".join(f"{k.removeprefix('overrides.')}={v}" for k, v in row.items() if k.startswith("overrides."))
