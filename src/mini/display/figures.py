"""A run as a figure of matplotlib, which the extra `plot` brings."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mini.combine import JOB_COLUMNS
from mini.combine.history import history
from mini.errors import OptionError, UsageError, did_you_mean
from mini.job import State
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

_STEP = "step"
_PREFIXES = ("", "config.", "overrides.", "metrics.")
_DECADES = 30.0  # the ratio of the ends of an axis from which it is logarithmic


class HasTable(Protocol):
    """Whatever has a table of results, and a folder."""

    folder: RunFolder

    def table(self) -> pl.DataFrame:
        """One row for each job."""


def plot(
    run: HasTable, y: str, x: str | None = None, *, by: str | Sequence[str] = (), axes: Axes | None = None
) -> Axes:
    """Draw a metric over a swept value, or over steps: the mean of the jobs that share it, and the standard deviation.

    Args:
        run: The run; its finished jobs are drawn, over steps all that have said something.
        y: A column of the table: a metric; over steps one that jobs gave to `progress`.
        x: A column, such as `optimizer.lr`; `step` for curves; None for the swept one with the most values.
        by: One or more columns; a line for each combination of their values.
        axes: Where to draw; None for a new figure.

    Returns:
        The axes.

    Raises:
        OptionError: There is no such column, or `y` has no numbers.
        UsageError: matplotlib is not installed, or no job is done.
    """
    frame = _curves(run) if x == _STEP else _done(run)
    if axes is None:
        axes = _pyplot().subplots(layout="constrained")[1]
    metric = column(frame, y, "y")
    if not frame[metric].dtype.is_numeric():
        raise OptionError(f"y={y!r}: this column has no numbers; {did_you_mean(y, _numeric(frame))}")
    across = column(frame, x, "x") if x is not None else _most_varied(frame)
    groups = [column(frame, name, "by") for name in ([by] if isinstance(by, str) else by)]
    lines: defaultdict[tuple[Any, ...], defaultdict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for at, value, *group in frame.select(across, metric, *groups).iter_rows():
        if value is not None and at is not None:
            lines[tuple(group)][at].append(float(value))
    is_number = frame[across].dtype.is_numeric()
    places = sorted({at for points in lines.values() for at in points}, key=None if is_number else str)
    positions = {at: at if is_number else i for i, at in enumerate(places)}
    draw = _draw_curve if x == _STEP else _draw
    for values, points in sorted(lines.items(), key=lambda line: str(line[0])):
        draw(axes, points, positions, ", ".join(f"{short(n)}={v}" for n, v in zip(groups, values, strict=True)))
    axes.set_xlabel(short(across))
    axes.set_ylabel(short(metric))
    if not is_number:
        axes.set_xticks(range(len(places)), [str(at) for at in places])
    elif x != _STEP and len(places) > 2 and places[0] > 0 and places[-1] / places[0] >= _DECADES:
        axes.set_xscale("log")
    if groups:
        axes.legend()
    return axes


def _done(run: HasTable) -> pl.DataFrame:
    table = run.table()
    done = table if table.is_empty() else table.filter(table["state"] == State.DONE)
    if done.is_empty():
        raise UsageError("no job is done yet, so there is nothing to plot")
    return done


def _curves(run: HasTable) -> pl.DataFrame:
    """What jobs said, each row with what its job was given."""
    table = run.table()
    said = history(run.folder, overrides=False)
    if said.is_empty():
        raise UsageError("no job has given anything to progress() yet, so there are no curves to plot")
    given = [name for name in table.columns if name.startswith(("overrides.", "config."))]
    return said.join(table.select("job", *given), on="job", how="left", maintain_order="left")


def _means(points: dict[Any, list[float]], positions: dict[Any, Any]) -> tuple[list[Any], list[float], list[float]]:
    """Where a line has points, in order; their means, and their standard deviations."""
    import statistics  # a handle of a run brings this module, and seldom draws

    at = [place for place in positions if place in points]
    means = [statistics.fmean(points[place]) for place in at]
    return at, means, [statistics.stdev(points[place]) if len(points[place]) > 1 else 0.0 for place in at]


def _draw_curve(axes: Axes, points: dict[Any, list[float]], positions: dict[Any, Any], label: str) -> None:
    at, means, spread = _means(points, positions)
    (line,) = axes.plot(at, means, label=label)
    if any(spread):
        low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(at, low, high, alpha=0.2, color=line.get_color(), linewidth=0)


def _draw(axes: Axes, points: dict[Any, list[float]], positions: dict[Any, Any], label: str) -> None:
    at, means, spread = _means(points, positions)
    axes.errorbar(
        [positions[p] for p in at], means, spread if any(spread) else None, marker="o", capsize=3, label=label
    )


def column(frame: pl.DataFrame, name: str, what: str) -> str:
    """The column that a person means: `optimizer.lr` is `config.optimizer.lr`, and if there is none, the override.

    Args:
        frame: As `combine.table` makes it.
        name: What was written.
        what: The argument, for the error.

    Raises:
        OptionError: There is no such column.
    """
    for prefix in _PREFIXES:
        if prefix + name in frame.columns:
            return prefix + name
    raise OptionError(f"{what}={name!r}: there is no such column; {did_you_mean(name, map(short, frame.columns))}")


def short(name: str) -> str:
    """A column's name as a person says it."""
    return name.removeprefix("config.").removeprefix("overrides.")


def _most_varied(frame: pl.DataFrame) -> str:
    swept = [name for name in frame.columns if name.startswith("overrides.") and frame[name].n_unique() > 1]
    if not swept:
        return "job"
    return column(frame, max(swept, key=lambda name: frame[name].n_unique()).removeprefix("overrides."), "x")


def _numeric(frame: pl.DataFrame) -> Iterable[str]:
    return [
        name
        for name in frame.columns
        if frame[name].dtype.is_numeric() and name not in JOB_COLUMNS and not name.startswith("config.")
    ]


def _pyplot() -> Any:
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise UsageError("plots need matplotlib: install hydra-apparatus[plot]") from error
