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
        run: A run, its id or a unique beginning of it, or the path of its folder; None for the latest.
        app: The engine that keeps the run, such as `modal`, where there is no folder of it here.

    Returns:
        The columns `job`, `state`, `seconds` and so on; what each job was given (`overrides.…` as typed, `config.…` as
        resolved); and each metric that it returned. Reads no pickled value.

    Raises:
        NoSuchRun: There is no such run, or there are several.
        CloudError: An engine cannot be reached, and jobs of the run are not finished here.
    """
    return opened(run, app=app).table()


def opened(run: Run | Path | str | None, *, app: str | None = None) -> Run:
    """A run, whichever way it is named.

    Args:
        run: As for `results`.
        app: As for `results`.

    Raises:
        NoSuchRun: There is no such run, or there are several.
    """
    if isinstance(run, Run):
        return run
    return Run.open(None if run is None else str(run), app=app)
