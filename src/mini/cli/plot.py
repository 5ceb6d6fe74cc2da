"""`mini plot`: a metric of a run's jobs over their steps, drawn in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

from mini.apparatus.handle import Run
from mini.cli.parameters import Count, app_option, complete_columns, complete_job, complete_run
from mini.errors import NoSuchRun, OptionError, did_you_mean
from mini.runs import lookup

if TYPE_CHECKING:
    import polars as pl

    from mini.display.curves import Curve

_MOST = 8  # curves that one can still tell from each other
_TALLEST = 30  # lines
_POINTS = 400  # of a curve; a terminal has no more columns


@click.command("plot")
@click.argument("run", shell_complete=complete_run)
@click.argument("metric", required=False, metavar="[METRIC]")
@click.option(
    "--job",
    "jobs",
    type=int,
    multiple=True,
    metavar="N",
    shell_complete=complete_job,
    help="Only this one.",
)
@click.option("--by", metavar="A,B", shell_complete=complete_columns, help="The mean of the jobs with these overrides.")
@click.option("--log", is_flag=True, help="Draw the logarithm.")
@click.option("--height", type=Count(), metavar="N", help="Lines (default: those of the terminal).")
@app_option
def plot_command(
    run: str, metric: str | None, jobs: tuple[int, ...], by: str | None, log: bool, height: int | None, app: str | None
) -> int:
    """Draw METRIC of a run's jobs over their steps: what jobs gave to `progress`, or wrote as metrics.parquet.

    `mini plot loss` is of the latest run.
    """
    from mini.combine.history import FIRST, history
    from mini.display import curves

    if metric is None:
        run, metric = lookup.LATEST, run
    opened = Run.open(run, app=app)
    opened.status()  # of a run elsewhere, brings what is known
    said = history(opened.folder)
    numbers = [
        name
        for name, dtype in said.schema.items()
        if dtype.is_numeric() and name not in FIRST and not name.startswith("overrides.")
    ]
    if not numbers:
        raise OptionError(
            f"no job of {opened.id} has a history: call mini.progress(step, total, loss=…) in the job, "
            "or write a metrics.parquet into its folder"
        )
    if metric not in numbers:
        raise OptionError(f"no job of {opened.id} has a metric {metric!r} by step; {did_you_mean(metric, numbers)}")
    known = set(said["job"])
    for job in jobs:
        if job not in known:
            raise NoSuchRun(f"{opened.id} has no job {job} with a history")
    found, left_out = _curves(said, metric, set(jobs) or known, by)
    if not any(len(curve.values) for curve in found):
        raise OptionError(f"{metric} is never a finite number in these jobs")
    width, lines = shutil.get_terminal_size((100, 30))
    print(
        curves.draw(
            found,
            metric,
            step="step",
            width=width,
            height=height or min(_TALLEST, lines - len(found) - 4),
            colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
            log=log,
        )
    )
    if left_out:
        print(f"… {left_out} more curves; --job N draws one of them, and --by COLUMN the mean of some")
    return 0


def _curves(said: pl.DataFrame, metric: str, jobs: set[int], by: str | None) -> tuple[list[Curve], int]:
    """The curves to draw, each of a job or a group of jobs, and how many were left out."""
    import polars as pl

    from mini.combine import groups
    from mini.display.curves import Curve

    points = said.filter(pl.col("job").is_in(sorted(jobs)) & pl.col(metric).is_finite() & pl.col("step").is_not_null())
    swept = [name for name in said.columns if name.startswith("overrides.")]
    if by is None:
        keys = ["job"]
    else:
        keys = []
        for word in by.split(","):
            key = groups.find_column(word, swept)
            if key is None:
                short = [name.removeprefix("overrides.") for name in swept]
                raise OptionError(f"--by: {word!r} was not swept; {did_you_mean(word, short)}")
            keys.append(key)
        points = points.group_by(*keys, "step", maintain_order=True).agg(pl.col(metric).mean()).sort("step")
    found = []
    for values, part in points.group_by(keys, maintain_order=True):
        stride = max(1, part.height // _POINTS)
        thin = part.gather_every(stride)
        first = part.row(0, named=True)
        shown = swept if by is None else keys
        given = " ".join(f"{name.removeprefix('overrides.')}={first[name]}" for name in shown)
        name = f"#{values[0]} {given}".strip() if by is None else given
        found.append(Curve(name, thin["step"].to_list(), thin[metric].to_list()))
    return found[:_MOST], max(0, len(found) - _MOST)
