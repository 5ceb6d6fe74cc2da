"""The table of a run, record by record: what every value in it means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mini.errors import RecordError
from mini.job import State
from mini.runs.folder import RunFolder
from mini.runs.jobs import JobLine, read_jobs
from mini.runs.records import Record, read_bulk, read_standing
from mini.runs.status import UNREADABLE
from mini.runs.values import valid_text

if TYPE_CHECKING:
    import polars as pl

JOB_COLUMNS = ("job", "state", "error", "seconds", "started", "attempt", "host", "gpu", "folder")
"""The columns that are there in every table, and come first."""

MAX_EXACT = 2**53  # whole numbers beyond this do not fit a float


def table(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """As `mini.combine.table`."""
    jobs, damaged_lines = read_jobs(folder.path)
    bulk, damaged_bulk = read_bulk(folder.path)
    rows, problems = [], [RecordError(text) for text in (*damaged_lines, *damaged_bulk)]
    for job, record in read_standing(jobs, bulk):
        if isinstance(record, RecordError):
            problems.append(record)
        rows.append(_row(job, record))
    rows.sort(key=lambda row: row["job"])
    return frame(rows, JOB_COLUMNS), problems


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
            columns[name][i] = valid_text(value) if isinstance(value, str) else value
    return pl.DataFrame([_series(valid_text(name), values) for name, values in columns.items()])


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
        kinds == {int, float} and all(abs(value) <= MAX_EXACT for value in values if type(value) is int)
    ):
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def _row(job: JobLine, record: Record | RecordError | None) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.index, "folder": job.folder}
    if not isinstance(record, Record):
        state = State.QUEUED.value if record is None else UNREADABLE
        return {**row, "state": state, "error": str(record) if record else None, **job.row}
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
        row[table_name(name)] = value
    return row


def table_name(name: str) -> str:
    """What a column of a record is called in the table."""
    metric = name.removeprefix("metrics.")
    taken = not metric or metric in JOB_COLUMNS or metric.startswith(("overrides.", "config.", "metrics."))
    return name if taken else metric
