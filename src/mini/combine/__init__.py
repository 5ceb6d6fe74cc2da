"""A run folder as one table.

One row for each job: what is known of the job (`job`, `state`, `seconds`, …), what it was given (`overrides.…` as
typed, `config.…` as resolved), and what it returned under its own name. A metric whose name is taken by one of the
others is called `metrics.…`.

Jobs may disagree about a column. Whole numbers and fractions become fractions if that is exact; anything else that
does not fit one type becomes text, each value as JSON writes it. No value is changed without that.

There are two ways to the same table: all records parsed at once (`columnar`), which takes about as long again as
reading them, and record by record (`exact`), which says what a record means and is taken whenever the other is not
sure. Rows of jobs that were done when `results.parquet` was written are taken from there.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from mini.combine import columnar, exact
from mini.combine.exact import JOB_COLUMNS, frame
from mini.combine.tables import tables, write_tables
from mini.errors import RecordError
from mini.runs import layout
from mini.runs.files import write_atomically
from mini.runs.folder import RunFolder
from mini.runs.status import describe_damaged_table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["JOB_COLUMNS", "frame", "table", "tables", "write", "write_tables"]

_BEGAN = "mini.began"  # a file that somebody else wrote has no such metadata, and says nothing of the records


def table(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """Every job's row.

    Args:
        folder: The run.

    Returns:
        The table, by job, and what is damaged: records, whose jobs are in the table in state `unreadable`; lines of
        `jobs.jsonl`; `results.parquet`, with which nothing is lost.

    Raises:
        RunFolderError: There is no run.
    """
    combined, problems, unusable = _combine(folder)
    return combined, [*problems, *unusable]


def write(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """As `table`, and leave it in the run folder as `results.parquet`.

    That the file cannot be written, because the disk is full or the folder read-only, is one more problem in the list.
    """
    began = time.time_ns()
    combined, problems, _ = _combine(folder)  # a damaged table is replaced
    target, data = folder.path / layout.RESULTS, io.BytesIO()
    combined.write_parquet(data, metadata={_BEGAN: str(began)})
    try:
        write_atomically(target, data.getvalue())
    except OSError as error:
        kept = f"the records of its jobs are kept, and `mini results {folder.id}` reads them"
        return combined, [*problems, RecordError(f"cannot write {target}: {error.strerror or error}; {kept}")]
    return combined, problems


def _combine(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError], list[RecordError]]:
    """The table, what is damaged of the records, and what is of the table that was written last."""
    previous, unusable = _previous(folder)
    found = columnar.table(folder, previous)
    combined, problems = (found, []) if found is not None else exact.table(folder)
    return combined, problems, unusable


def _previous(folder: RunFolder) -> tuple[columnar.PreviousTable | None, list[RecordError]]:
    """The table as it was written last, and what is wrong with it."""
    import polars as pl

    path = folder.path / layout.RESULTS
    try:
        began = pl.read_parquet_metadata(path).get(_BEGAN)
        if began is None or not began.isdecimal():
            return None, []
        previous = pl.read_parquet(path)
        if previous.columns[: len(JOB_COLUMNS)] != list(JOB_COLUMNS):
            raise pl.exceptions.SchemaError("its columns are not those of a run")
    except FileNotFoundError:
        return None, []
    except (OSError, pl.exceptions.PolarsError) as error:
        return None, [RecordError(f"{describe_damaged_table(path)} ({error})")]
    return columnar.PreviousTable(previous, int(began)), []
