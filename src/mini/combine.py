"""A run folder as one table.

One row for each job: what is known of the job (`job`, `state`, `seconds`, …), what it was given (`overrides.…` as
typed, `config.…` as resolved), and what it returned under its own name. A metric whose name is taken by one of the
others is called `metrics.…`.

Jobs may disagree about a column. Whole numbers and fractions become fractions if that is exact; anything else that
does not fit one type becomes text, each value as JSON writes it. No value is changed without that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini import store
from mini.errors import RecordError, RunFolderError
from mini.store import Record, RunFolder

if TYPE_CHECKING:
    import polars as pl

OWN = ("job", "state", "error", "seconds", "started", "attempt", "host", "gpu", "folder")
"""The columns that are there in every table, and come first."""

_EXACT = 2**53  # whole numbers beyond this do not fit a float


def table(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """Every job's row.

    Args:
        folder: The run.

    Returns:
        The table, by job, and what was wrong with records that could not be read; their jobs are in the table, in
        state `unreadable`.

    Raises:
        RunFolderError: There is no run.
        RecordError: `jobs.jsonl` is damaged.
    """
    rows, problems = [], []
    for job, record in folder.records():
        if isinstance(record, RecordError):
            problems.append(record)
        rows.append(_row(job, record))
    rows.sort(key=lambda row: row["job"])
    return frame(rows, OWN), problems


def write(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """As `table`, and leave it in the run folder as `results.parquet`."""
    combined, problems = table(folder)
    target = folder.path / store.RESULTS
    temporary = target.with_name(f".{target.name}.tmp")
    combined.write_parquet(temporary)
    temporary.replace(target)
    return combined, problems


def tables(folder: RunFolder, name: str = store.TABLE) -> pl.LazyFrame:
    """The tables that jobs wrote, one below the other, with the job's index in the column `job`.

    Args:
        folder: The run.
        name: The file each job wrote into its folder; jobs without one are left out.

    Returns:
        All columns of all jobs; where a job has no such column, null. A whole number beside a fraction becomes a
        fraction, anything beside text becomes text.

    Raises:
        RunFolderError: No job wrote such a file.
        RecordError: A file is no parquet file; the message names it.
    """
    import polars as pl

    by_schema: dict[tuple[tuple[str, pl.DataType], ...], list[tuple[int, Path]]] = {}
    for job in folder.jobs():
        path = job["folder"] / name
        if path.exists():
            try:
                schema = tuple(pl.scan_parquet(path, glob=False).collect_schema().items())
            except pl.exceptions.PolarsError as error:
                raise RecordError(f"{path} is damaged: {error}") from error
            by_schema.setdefault(schema, []).append((job["index"], path))
    if not by_schema:
        raise RunFolderError(f"no job of {folder.path} wrote a {name}")
    frames = [_scan(files) for files in by_schema.values()]
    return pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]


def _scan(files: Sequence[tuple[int, Path]]) -> pl.LazyFrame:
    import polars as pl

    path = "__path"
    jobs = pl.LazyFrame(
        {path: [str(file) for _, file in files], "job": [index for index, _ in files]},
        schema={path: pl.String, "job": pl.Int64},
    )
    scanned = pl.scan_parquet([file for _, file in files], include_file_paths=path, glob=False, hive_partitioning=False)
    if "job" in scanned.collect_schema().names():
        scanned = scanned.rename({"job": "metrics.job"})
    return scanned.join(jobs, on=path, how="left", maintain_order="left").select("job", pl.exclude("job", path))


def frame(rows: Sequence[Mapping[str, Any]], first: Iterable[str] = ()) -> pl.DataFrame:
    """Flat rows as a table in which nothing is lost.

    Args:
        rows: None, bool, int, float and str by column; rows may lack columns.
        first: Columns to begin with, in this order.

    Returns:
        A table of all columns, in the order they were first seen.
    """
    import polars as pl

    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in first}
    for i, row in enumerate(rows):
        for name, value in row.items():
            if name not in columns:
                columns[name] = [None] * len(rows)
            columns[name][i] = value
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def _series(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.Null)
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {str}:
        return pl.Series(name, values, dtype=pl.String)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds == {float} or (
        kinds == {int, float} and all(abs(value) <= _EXACT for value in values if type(value) is int)
    ):
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def _row(job: Mapping[str, Any], record: Record | RecordError | None) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job["index"], "folder": str(job["folder"])}
    if not isinstance(record, Record):
        state = "queued" if record is None else "unreadable"
        return {**row, "state": state, "error": str(record) if record else None, **job["row"]}
    outcome = record.outcome
    row |= {
        "state": outcome.state.value,
        "error": str(outcome.failure) if outcome.failure else None,
        "seconds": outcome.seconds,
        "started": outcome.started,
        "attempt": outcome.attempt,
        "host": outcome.where.get("host"),
        "gpu": outcome.where.get("gpu"),
    }
    for name, value in record.row.items():
        metric = name.removeprefix("metrics.")
        taken = metric in OWN or metric.startswith(("overrides.", "config."))
        row[name if taken else metric] = value
    return row
