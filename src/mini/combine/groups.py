"""Rows that differ in some columns only, such as a seed, as one: the mean of each metric and how far it varies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mini.combine.exact import JOB_COLUMNS
from mini.combine.several import RUN
from mini.job import State

if TYPE_CHECKING:
    import polars as pl

COUNT, BEST, BEST_JOB, BEST_RUN = "n", "best", "best.job", "best.run"
"""Columns of the grouped table."""


def find_column(name: str, columns: Collection[str]) -> str | None:
    """A column by the name that a person has for it.

    Args:
        name: Its name, or for an override what stands after `overrides.`, with or without its `+`.
        columns: Those there are.

    Returns:
        Its full name; None if there is none.
    """
    ways = (name, f"overrides.{name}", f"overrides.+{name}", f"overrides.++{name}")
    return next((way for way in ways if way in columns), None)


def metrics(frame: pl.DataFrame) -> list[str]:
    """The numbers that jobs returned."""
    return [
        name
        for name, dtype in frame.schema.items()
        if dtype.is_numeric() and name not in (*JOB_COLUMNS, RUN) and not name.startswith(("overrides.", "config."))
    ]


def swept(frame: pl.DataFrame) -> list[str]:
    """The overrides that differ between jobs."""
    return [name for name in frame.columns if name.startswith("overrides.") and frame[name].n_unique() > 1]


def group(frame: pl.DataFrame, by: Sequence[str], sort: str | None = None) -> pl.DataFrame:
    """One row for each combination of values.

    Args:
        frame: As `combine.table` makes it, or with the column `run` in front.
        by: The columns whose values make a group. Empty: all rows are one.
        sort: A metric of which the best is wanted, the lowest; with `-` in front the highest.

    Returns:
        The columns `by`; `n`, how many jobs are done; for each metric `NAME.mean` and `NAME.std`, the standard
        deviation of a sample, null where there is one value; and with `sort`, `best` and the job that has it. NaN is
        not counted in, and is never the best.
    """
    import polars as pl

    done = frame.filter(pl.col("state") == State.DONE.value)
    numbers = metrics(frame)
    clean = {name: pl.col(name).fill_nan(None) if frame[name].dtype.is_float() else pl.col(name) for name in numbers}
    wanted: list[pl.Expr] = [pl.len().alias(COUNT)]
    for name in numbers:
        wanted += [clean[name].mean().alias(f"{name}.mean"), clean[name].std().alias(f"{name}.std")]
    metric = sort.removeprefix("-") if sort else None
    if sort and metric in clean:
        highest = sort.startswith("-")
        value = clean[metric]
        where = pl.col("job").sort_by(value, descending=highest, nulls_last=True).first()
        wanted += [(value.max() if highest else value.min()).alias(BEST), where.alias(BEST_JOB)]
        if RUN in frame.columns:
            run = pl.col(RUN).sort_by(value, descending=highest, nulls_last=True).first()
            wanted.append(run.alias(BEST_RUN))
    if by:
        return done.group_by(list(by), maintain_order=True).agg(wanted)
    return done.select(wanted)
