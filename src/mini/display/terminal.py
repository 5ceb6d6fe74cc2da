"""What a person sees: how the jobs go, the table at the end, and what failed."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mini.combine import JOB_COLUMNS, groups, several
from mini.display import table
from mini.display.table import Column
from mini.display.text import format_cell as format_cell
from mini.display.text import format_mean
from mini.display.text import printable as printable
from mini.errors import did_you_mean
from mini.job import Job, Outcome, State
from mini.runs import layout
from mini.runs.live import read_live
from mini.runs.values import metrics

if TYPE_CHECKING:
    import polars as pl

_REFRESH = 4  # times a second
_NEWLINE = "\n"
_WIDE = 200  # columns, where nobody can say how wide the page is


def console(stream: TextIO | None = None) -> Console:
    """A console that does not fold tables where there is no terminal.

    Args:
        stream: Where to. What its encoding does not have is shown as an escape from now on, whoever prints there.
    """
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False, markup=False, emoji=False)


class Display:
    """Shows how a batch goes: live bars on a terminal, a line for each finished job anywhere else.

    Args:
        jobs: The batch.
        live: False where jobs print to this terminal themselves.
        stream: Where to; standard error, so that a program's output stays its own.
        total: How many jobs there will be, where they are added one by one; None for those of the batch.
    """

    def __init__(
        self, jobs: Sequence[Job], *, live: bool = True, stream: TextIO | None = None, total: int | None = None
    ) -> None:
        self._console = console(stream or sys.stderr)
        self._unfinished = {job.index: job for job in jobs}
        self._total = len(jobs) if total is None else total
        self._done = self._failed = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._live = _LiveView(self) if live and self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(self._console)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, job: Job) -> None:
        """One more job of the batch."""
        with self._lock:
            self._unfinished[job.index] = job
            self._total = max(self._total, self._done + len(self._unfinished))

    def finished(self, outcome: Outcome, row: Mapping[str, Any] | None = None) -> None:
        """One job is over.

        Args:
            outcome: What became of it.
            row: Its record's columns, where the record may come from elsewhere; else its value is unpickled.
        """
        with self._lock:
            job = self._unfinished.pop(outcome.index)
            self._done += 1
            self._failed += outcome.state.is_failure
        if outcome.state is State.CANCELLED:  # many at once, and none of them news to whoever stopped them
            return
        if self._live is None or outcome.state.is_failure:
            self._console.print(_line(job, outcome, row, self._done, self._total))

    def warn(self, message: str) -> None:
        """Something is not as it should be."""
        self._console.print(Text(f"warning: {printable(message, _NEWLINE)}", style="yellow"), soft_wrap=True)

    def snapshot(self) -> tuple[int, int, int, list[tuple[Job, dict[str, Any]]]]:
        """How many are done, failed and in all, and the running jobs with what they said last."""
        with self._lock:
            unfinished = list(self._unfinished.values())
            done, failed = self._done, self._failed
        running = []
        for job in unfinished:
            live = read_live(Path(job.folder)) if job.folder else None
            if live is not None:
                running.append((job, live))
            elif len(running) + 8 < len(unfinished) and job.index > unfinished[0].index + 256:
                break  # jobs start in order: what is far behind has not started
        return done, failed, self._total, running


class _LiveView:
    """Bars that redraw themselves: one for the run, one line for each running job."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._began = time.monotonic()
        self._run = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._task = self._run.add_task("jobs", total=None, note="")
        self._live: Live | None = None

    def start(self, target: Console) -> None:
        self._live = Live(
            console=target,
            get_renderable=self._render,
            refresh_per_second=_REFRESH,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _render(self) -> Group:
        done, failed, total, running = self._display.snapshot()
        note = Text.from_markup(f"[red]{failed} failed[/red]").markup if failed else ""
        self._run.update(self._task, completed=done, total=total, note=note)
        lines = Table.grid(padding=(0, 1))
        for job, live in running[:16]:
            lines.add_row(*_progress_cells(job, live))
        if len(running) > 16:
            lines.add_row(f"… and {len(running) - 16} more")
        return Group(self._run, lines)


def _progress_cells(job: Job, live: Mapping[str, Any]) -> tuple[Text, ...]:
    step, total = live.get("step"), live.get("total")
    bar = ""
    if step is not None and total:
        filled = round(16 * min(step / total, 1))
        bar = "━" * filled + "╌" * (16 - filled)
    where = f"{step}/{total}" if total else str(step) if step is not None else f"{_age(live):.0f} s"
    metrics = " ".join(f"{printable(name)}={value:.4g}" for name, value in (live.get("metrics") or {}).items())
    return tuple(map(Text, (f"  #{job.index}", _short(job), f"{bar} {where}".strip(), metrics)))


def _age(live: Mapping[str, Any]) -> float:
    return max(0.0, time.time() - float(live.get("started") or time.time()))


def _short(job: Job) -> str:
    given = (f"{k.removeprefix('overrides.')}={v}" for k, v in job.row.items() if k.startswith("overrides."))
    return printable(" ".join(given))


def _line(job: Job, outcome: Outcome, row: Mapping[str, Any] | None, done: int, total: int) -> Text:
    style = "green" if outcome.ok else "yellow" if outcome.state is State.PRUNED else "red"
    line = Text(f"[{done}/{total}] ").append(f"#{job.index} {outcome.state}", style=style)
    if outcome.seconds is not None:
        line.append(f" in {outcome.seconds:.1f} s")
    for part in (_short(job), _returned(outcome, row) if outcome.ok else printable(str(outcome.failure), _NEWLINE)):
        if part:
            line.append(f"  {part}")
    return line


def _returned(outcome: Outcome, row: Mapping[str, Any] | None) -> str:
    """The numbers that a job returned."""
    if row is None:
        try:
            row = metrics(outcome.result())
        except Exception:  # noqa: BLE001 - a value that cannot be unpickled here is shown nowhere, and is no failure
            return ""
    shown = {name.removeprefix("metrics."): cell for name, cell in row.items() if name.startswith("metrics.")}
    cells = [f"{printable(name)}={format_cell(cell)}" for name, cell in shown.items() if isinstance(cell, int | float)]
    return " ".join(cells) if shown.keys() != {"value"} else "".join(cells).removeprefix("value=")


def best_first(frame: pl.DataFrame, sort: str | None) -> tuple[pl.DataFrame, str | None]:
    """Sort a table of results.

    Args:
        frame: As `combine.table` makes it.
        sort: A column, with `-` in front to begin with the highest; None keeps the order.

    Returns:
        The sorted table, rows without a value last; and what is wrong with `sort`, if something is.
    """
    if not sort:
        return frame, None
    column = sort.removeprefix("-")
    if column not in frame.columns:
        return (
            frame,
            f"results.sort={sort}: there is no column {column!r}; {did_you_mean(column, frame.columns)}",
        )
    descending = sort.startswith("-")
    key = frame[column]
    if key.dtype.is_float():
        key = key.fill_nan(None)  # a diverged loss is never the best
    order = key.alias("key").to_frame().with_row_index("row").sort("key", descending=descending, nulls_last=True)
    return frame[order["row"].to_list()], None


def columns(frame: pl.DataFrame, chosen: Sequence[str] | None = None) -> list[str]:
    """The columns worth showing: what was swept, and the metrics.

    Args:
        frame: As `combine.table` makes it.
        chosen: The user's choice, of which those are taken that exist.
    """
    if chosen:
        return [name for name in chosen if name in frame.columns]
    shown = [several.RUN, "job"] if frame.columns[0] == several.RUN else ["job"]
    if frame["state"].n_unique() > 1 or frame["state"][0] != State.DONE:
        shown.append("state")
    for name in frame.columns:
        if name.startswith("overrides."):
            if frame.height == 1 or frame[name].n_unique() > 1:
                shown.append(name)
        elif name not in (*JOB_COLUMNS, *shown) and not name.startswith("config."):
            shown.append(name)
    return [*shown, "seconds"]


def print_results(out: Console, frame: pl.DataFrame, shown: Sequence[str], rows: int, hint: str = "") -> None:
    """Print a table as wide as there is room: what was swept goes before the metrics, and these before the rest.

    Args:
        out: Where to.
        frame: In the order to show it.
        shown: Its columns.
        rows: The most to show.
        hint: How to see the columns that have no room.
    """
    part = frame.select(shown).head(rows)
    view = [
        Column(
            name.removeprefix("overrides."),
            [format_cell(cell) for cell in part[name]],
            right=frame[name].dtype.is_numeric(),
            rank=_rank(name, frame),
            whole=name == several.RUN,
        )
        for name in shown
    ]
    table.show(out, view, hint=hint)


def print_groups(out: Console, frame: pl.DataFrame, rows: int, hint: str = "") -> None:
    """Print a table of groups, each metric as its mean ± its standard deviation.

    Args:
        out: Where to.
        frame: As `combine.groups.group` makes it.
        rows: The most to show.
        hint: How to see the columns that have no room.
    """
    part = frame.head(rows)
    view = []
    for name in part.columns:
        metric = name.removesuffix(".mean")
        if metric != name and f"{metric}.std" in part.columns:
            pairs = zip(part[name], part[f"{metric}.std"], strict=True)
            view.append(Column(metric, [format_mean(mean, std) for mean, std in pairs], right=True, rank=2))
        elif not (name.endswith(".std") and f"{name.removesuffix('.std')}.mean" in part.columns):
            cells = [format_cell(cell) for cell in part[name]]
            rank = 1 if name in (groups.BEST_JOB, groups.BEST_RUN) else 0
            view.append(Column(name.removeprefix("overrides."), cells, right=part[name].dtype.is_numeric(), rank=rank))
    table.show(out, view, hint=hint)


def _rank(name: str, frame: pl.DataFrame) -> int:
    """How soon a column gives way; the highest first."""
    if name in ("run", "job", "state") or name.startswith("overrides."):
        return 0
    if name in JOB_COLUMNS or name.startswith("config."):
        return 3
    differs = frame.height == 1 or frame[name].n_unique() > 1
    return 1 if differs and frame[name].dtype.is_numeric() else 2


def failures(frame: pl.DataFrame, most: int = 20) -> list[Text]:
    """Each failed job: its overrides, the last line of its traceback, where its log is.

    Those that were cancelled or pruned did not fail.
    """
    lines = []
    failed = frame.filter(~frame["state"].is_in([State.DONE, State.QUEUED, State.CANCELLED, State.PRUNED]))
    for row in failed.head(most).iter_rows(named=True):
        given = " ".join(
            f"{name.removeprefix('overrides.')}={value}"
            for name, value in row.items()
            if name.startswith("overrides.") and value is not None
        )
        lines.append(
            Text.assemble(
                (f"#{row['job']} {row['state']}", "red"),
                f"  {printable(given)}\n    " if given else "\n    ",
                f"{printable(str(row['error']), _NEWLINE)}\n    log: {printable(row['folder'])}/{layout.LOG}",
            )
        )
    if failed.height > most:
        lines.append(Text(f"… and {failed.height - most} more"))
    return lines
