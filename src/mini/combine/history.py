"""What the jobs of a run said while they ran, as one table."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mini.combine.exact import frame
from mini.combine.tables import tables
from mini.errors import RunFolderError
from mini.runs.folder import RunFolder
from mini.runs.history import Block, read_blocks
from mini.runs.jobs import JobLine

if TYPE_CHECKING:
    import polars as pl

FIRST = ("job", "step", "time")
"""The columns that every history has."""

STEPS = ("step", "epoch", "iteration", "iter")
"""Which column of a table that a job wrote counts its steps: the first of these that it has."""

_OF_BLOCK = ("job", "end", "count")


def history(folder: RunFolder, *, overrides: bool = True, own_tables: bool = True) -> pl.DataFrame:
    """Every row that a job of the run gave to `progress`, and those of the `metrics.parquet` that jobs wrote.

    Where a job began once more, after a preemption or for a further try, the rows of the earlier try end where the
    later one began. Where a job has both, rows of the same step are one row, and of two values of a metric the one
    that the job wrote itself stands.

    Args:
        folder: The run.
        overrides: Whether to add a column for each override that differs between jobs.
        own_tables: Whether to add what jobs wrote as `metrics.parquet`.

    Returns:
        Columns `job`, the swept overrides (`overrides.…`), `step`, `time` (Unix time in seconds; null in a row that
        is from the job's own table alone), and the metrics by name; a metric called as one of the others is
        `metrics.…`. By job, and in the order of each job's rows.

    Raises:
        RunFolderError: There is no run.
        RecordError: A `metrics.parquet` is damaged; the message names it.
    """
    import polars as pl

    jobs = folder.jobs()
    said = of_jobs((job.index, job.folder) for job in jobs)
    if own_tables:
        said = _joined(said, folder)
    if overrides:
        given = _swept(jobs)
        if given.width > 1:
            said = said.join(given, on="job", how="left", maintain_order="left")
        said = said.select("job", *given.columns[1:], pl.exclude("job", *given.columns[1:]))
    return said


def of_jobs(jobs: Iterable[tuple[int, str]]) -> pl.DataFrame:
    """What some jobs gave to `progress`.

    Args:
        jobs: The index and the folder of each.

    Returns:
        Columns `job`, `step`, `time` and the metrics.
    """
    import polars as pl

    blocks: dict[tuple[str, ...], list[tuple[int, float, Block]]] = defaultdict(list)
    tries: dict[int, list[tuple[float, int]]] = {}
    for index, path in jobs:
        found = read_blocks(path)
        for block in found:
            blocks[block.columns].append((index, block.began, block))
        if found and found[-1].began != found[0].began:
            tries[index] = [(block.began, _first_step(block)) for block in found]
    empty = pl.DataFrame(schema={"job": pl.Int64, "step": pl.Int64, "time": pl.Float64})
    parsed = [_parse(columns, of_names, tries) for columns, of_names in blocks.items()]
    return pl.concat([empty, *parsed], how="diagonal").sort("job", maintain_order=True) if parsed else empty


def _parse(
    columns: tuple[str, ...], blocks: Sequence[tuple[int, float, Block]], tries: dict[int, list[tuple[float, int]]]
) -> pl.DataFrame:
    """Rows with the same columns, of many jobs, all at once."""
    import polars as pl

    names = [_metric_name(name) for name in columns]
    schema: dict[str, Any] = {"step": pl.Int64, "time": pl.Float64, **dict.fromkeys(names, pl.Float64)}
    counts = [block.rows.count(b"\n") for _, _, block in blocks]
    try:
        rows = pl.read_csv(b"".join(block.rows for _, _, block in blocks), has_header=False, schema=schema)
        if rows.height != sum(counts):
            raise pl.exceptions.ComputeError("a row is damaged")
    except pl.exceptions.PolarsError:
        rows, counts = _parse_singly(blocks, schema)
    indices = [index for index, _, _ in blocks]
    ends = [min((first for t, first in tries.get(i, ()) if t > began), default=None) for i, began, _ in blocks]
    of_row = (
        pl.DataFrame({"job": indices, "end": ends, "count": counts}, schema=dict.fromkeys(_OF_BLOCK, pl.Int64))
        .filter(pl.col("count") > 0)
        .select(pl.col("job", "end").repeat_by("count"))
        .explode("job", "end")
    )
    rows = pl.concat([of_row, rows], how="horizontal")
    return rows.filter(pl.col("end").is_null() | (pl.col("step") < pl.col("end"))).drop("end")


def _parse_singly(blocks: Sequence[tuple[int, float, Block]], schema: dict[str, Any]) -> tuple[pl.DataFrame, list[int]]:
    """Row by row, where one is damaged: the others stand. How many of each block did."""
    import polars as pl

    whole: list[tuple[float | None, ...]] = []
    counts = []
    for _, _, block in blocks:
        before = len(whole)
        for line in block.rows.decode(errors="replace").splitlines():
            try:
                step, *cells = line.split(",")
                row = (int(step), *(float(cell) if cell else None for cell in cells))
            except ValueError:
                continue
            if len(row) == len(schema):
                whole.append(row)
        counts.append(len(whole) - before)
    return pl.DataFrame(whole, schema=schema, orient="row"), counts


def _first_step(block: Block) -> int:
    try:
        return int(block.rows[: block.rows.index(b",")])
    except ValueError:
        return 2**62


def _metric_name(name: str) -> str:
    return f"metrics.{name}" if name in FIRST or name.startswith(("overrides.", "metrics.")) else name


def _joined(said: pl.DataFrame, folder: RunFolder) -> pl.DataFrame:
    """With the tables that jobs wrote themselves."""
    import polars as pl

    try:
        own = tables(folder).collect()
    except RunFolderError:
        return said
    counting = next((name for name in STEPS if name in own.columns and own[name].dtype.is_numeric()), None)
    step = pl.col(counting).cast(pl.Int64, strict=False) if counting else pl.int_range(1, pl.len() + 1).over("job")
    if "step" in own.columns and counting != "step":
        own = own.rename({"step": "metrics.step"})
    if "time" in own.columns:
        own = own.rename({"time": "metrics.time"})
    own = own.with_columns(step.alias("step")).select("job", "step", pl.exclude("job", "step"))
    if said.is_empty():
        return own.insert_column(2, pl.Series("time", [None] * own.height, dtype=pl.Float64))
    keys = ["job", "step"]
    both = [name for name in own.columns if name in said.columns and name not in keys]
    if not all(one.select(keys).is_duplicated().any() is False for one in (said, own)):
        return pl.concat([said, own], how="diagonal_relaxed").sort("job", maintain_order=True)
    joined = said.join(own, on=keys, how="full", coalesce=True, suffix=" of the table").sort(keys)
    alike = [name for name in both if own[name].dtype.is_numeric()]
    columns = [pl.coalesce(f"{name} of the table", name).alias(name) for name in alike]
    return joined.with_columns(columns).drop(f"{name} of the table" for name in both)


def _swept(jobs: Sequence[JobLine]) -> pl.DataFrame:
    """The overrides that differ between jobs, by job."""
    names = dict.fromkeys(itertools.chain.from_iterable(job.row for job in jobs))
    given = [name for name in names if name.startswith("overrides.")]
    differing = [name for name in given if len({repr(job.row.get(name)) for job in jobs}) > 1]
    rows = [{"job": job.index, **{name: job.row.get(name) for name in differing}} for job in jobs]
    return frame(rows, ("job", *differing))
