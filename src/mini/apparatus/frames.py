"""Runs as data frames, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mini.apparatus.handle import Run

if TYPE_CHECKING:
    import polars as pl


def results(run: Run | Path | str | None = None, *, app: str | None = None) -> pl.DataFrame:
    """The table of a run: one row for each job.

    Args:
        run: A run, its id or a beginning of it, or its folder; None for the latest.
        app: The engine that keeps the run, such as `modal`, where there is no folder of it here.

    Returns:
        The columns `job`, `state`, `seconds` and so on; what each job was given (`overrides.…` as typed, `config.…` as
        resolved); and each metric that it returned. Reads no pickled value.

    Raises:
        NoSuchRun: There is none, or there are several that begin so.
        CloudError: An engine cannot be reached, and jobs of the run are not finished here.
    """
    return opened(run, app=app).table()


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

    return combined(opened(run).folder)


def opened(run: Run | Path | str | None, *, app: str | None = None) -> Run:
    """A run, whichever way it is named.

    Args:
        run: As for `results`.
        app: As for `results`.

    Raises:
        NoSuchRun: There is none, or there are several that begin so.
    """
    if isinstance(run, Run):
        return run
    return Run.open(None if run is None else str(run), app=app)
