"""The tables of several runs as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mini.combine.exact import JOB_COLUMNS, frame

if TYPE_CHECKING:
    import polars as pl

RUN = "run"
"""The column that says which run a row is of; the first one."""


def concat(tables: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """One below the other, with the run's id in the column `run`. A metric of that name becomes `metrics.run`.

    Where runs disagree about the type of a column, it becomes what it would be if their jobs were in one run.

    Args:
        tables: The id and the table of each run, as `combine.table` makes it.
    """
    import polars as pl

    named = [
        table.rename({RUN: f"metrics.{RUN}"}, strict=False).select(pl.lit(run).alias(RUN), pl.all())
        for run, table in tables
        if table.height
    ]
    if not named:
        return pl.DataFrame(schema={RUN: pl.String, **dict.fromkeys(JOB_COLUMNS, pl.Null)})
    dtypes: dict[str, set[pl.DataType]] = {}
    for table in named:
        for name, dtype in table.schema.items():
            if dtype != pl.Null:
                dtypes.setdefault(name, set()).add(dtype)
    if all(len(kinds) <= 1 for kinds in dtypes.values()):
        return pl.concat(named, how="diagonal_relaxed")
    return frame([row for table in named for row in table.iter_rows(named=True)], (RUN, *JOB_COLUMNS))
