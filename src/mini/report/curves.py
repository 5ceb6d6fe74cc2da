"""The curves of a page: the histories of jobs, thinned to what a page can hold, as arrays of numbers."""

from __future__ import annotations

import array
import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mini.combine.history import FIRST, history, of_jobs
from mini.errors import RecordError
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl

MOST_VALUES = 2_000_000
"""Numbers on one page; the curves of more are thinned."""

_FEWEST = 40  # points of a curve, however many curves there are
_MOST = 1000  # points of a curve
_MOST_CURVES = 30  # metrics


def read(folder: RunFolder, jobs: Sequence[int]) -> pl.DataFrame:
    """The history of a run, with its rows in the table in the place of the jobs' numbers.

    Args:
        folder: The run.
        jobs: The job of each row of the table.
    """
    import polars as pl

    try:
        said = history(folder, overrides=False)
    except (RecordError, pl.exceptions.PolarsError, OSError):  # a table that a job wrote is damaged, or of any kind
        said = of_jobs((job.index, job.folder) for job in folder.jobs())
    rows = pl.DataFrame({"job": jobs, "row": range(len(jobs))}, schema={"job": pl.Int64, "row": pl.Int64})
    return said.join(rows, on="job", how="inner", maintain_order="left")


def encode(said: Sequence[pl.DataFrame], heights: Sequence[int]) -> tuple[dict[str, Any], bytes]:
    """Histories as arrays.

    Args:
        said: Of each run, as `read` gives it.
        heights: How many rows each has in the table, where they follow those of the run before.

    Returns:
        What is where, and the numbers: `metrics`, their names; `series`, how many curves; `steps` and `values`, how
        many numbers; `thinned`, whether some were left out. The bytes are, little-endian: for each curve five 32-bit
        integers (row, metric, first step, first value, length), then the steps and then the values as 32-bit floats.
        Curves with the same steps share them.
    """
    import polars as pl

    offsets = itertools.accumulate(heights, initial=0)
    parts = [one.with_columns(pl.col("row") + offset) for one, offset in zip(said, offsets, strict=False)]
    table = pl.concat(parts, how="diagonal_relaxed") if len(parts) > 1 else parts[0]
    names = [
        name
        for name in table.columns
        if name not in (*FIRST, "row", "epoch", "iteration", "iter") and table[name].dtype.is_numeric()
    ][:_MOST_CURVES]
    curves = max(1, table["row"].n_unique() * len(names))
    most = min(_MOST, max(_FEWEST, MOST_VALUES // curves))
    places: dict[bytes, int] = {}
    series, steps, values = array.array("i"), array.array("f"), array.array("f")
    thinned = False
    for metric, name in enumerate(names):
        of_metric = table.select("row", pl.col("step").cast(pl.Float32), pl.col(name).cast(pl.Float32).alias("value"))
        of_metric = of_metric.filter(pl.col("value").is_not_null() & pl.col("step").is_not_null())
        place, length = pl.int_range(pl.len()).over("row"), pl.len().over("row")
        stride = (length / most).ceil().cast(pl.Int64)
        kept = of_metric.filter((place % stride == 0) | (place == length - 1))
        thinned = thinned or kept.height < of_metric.height
        grouped = kept.group_by("row", maintain_order=True).agg("step", "value")
        values_before = len(values)
        for row, own in grouped.select("row", "step").iter_rows():
            key = array.array("f", own).tobytes()
            if key not in places:
                places[key] = len(steps)
                steps.frombytes(key)
            series.extend((row, metric, places[key], values_before, len(own)))
            values_before += len(own)
        values.extend(kept["value"].to_list())
    data = b"".join(_little_endian(one) for one in (series, steps, values))
    described = {"metrics": names, "series": len(series) // 5, "steps": len(steps), "values": len(values)}
    return {**described, "thinned": thinned}, data


def _little_endian(values: array.array[Any]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
