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

import contextlib
import time
from typing import TYPE_CHECKING

from mini.combine import columnar, exact
from mini.combine.exact import JOB_COLUMNS, frame
from mini.combine.tables import tables, write_tables
from mini.errors import RecordError
from mini.runs import layout
from mini.runs.files import replacing
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl

__all__ = ["JOB_COLUMNS", "frame", "table", "tables", "write", "write_tables"]

_BEGAN = "mini.began"  # a file that somebody else wrote has no such metadata, and says nothing of the records


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
    found = columnar.table(folder, _previous(folder))
    return (found, []) if found is not None else exact.table(folder)


def write(folder: RunFolder) -> tuple[pl.DataFrame, list[RecordError]]:
    """As `table`, and leave it in the run folder as `results.parquet`."""
    began = time.time_ns()
    combined, problems = table(folder)
    with replacing(folder.path / layout.RESULTS) as temporary:
        combined.write_parquet(temporary, metadata={_BEGAN: str(began)})
    return combined, problems


def _previous(folder: RunFolder) -> columnar.PreviousTable | None:
    """The table as it was written last."""
    import polars as pl

    path = folder.path / layout.RESULTS
    with contextlib.suppress(OSError, pl.exceptions.PolarsError):
        began = pl.read_parquet_metadata(path).get(_BEGAN)
        if began is not None:
            return columnar.PreviousTable(pl.read_parquet(path), int(began))
    return None
