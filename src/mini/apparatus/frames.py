"""Runs as data frames, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mini.apparatus.handle import Run

if TYPE_CHECKING:
    import polars as pl


def history(run: Run | Path | str | None = None) -> pl.DataFrame:
    """Every row that a job of a run gave to `progress`, and those of the `metrics.parquet` that jobs wrote.

    Args:
        run: A run, its id or a beginning of it, or its folder; None for the latest.

    Returns:
        Columns `job`, the overrides that differ between jobs (`overrides.…`), `step`, `time` (Unix time in seconds),
        and a column for each metric. By job and step. Where a job began once more, the rows of its earlier try end
        where the later one began.

    Raises:
        NoSuchRun: There is none, or there are several that begin so.
        RecordError: A `metrics.parquet` is damaged; the message names it.
    """
    from mini.combine.history import history as combined

    opened = run if isinstance(run, Run) else Run.open(None if run is None else str(run))
    return combined(opened.folder)
