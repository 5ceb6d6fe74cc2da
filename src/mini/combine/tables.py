"""The tables that the jobs of a run wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mini.errors import RecordError, RunFolderError
from mini.runs import layout
from mini.runs.files import replacing
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl


def tables(folder: RunFolder, name: str = layout.TABLE) -> pl.LazyFrame:
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
        path = Path(job.folder, name)
        if path.exists():
            try:
                schema = tuple(pl.scan_parquet(path, glob=False).collect_schema().items())
            except pl.exceptions.PolarsError as error:
                raise RecordError(f"{path} is damaged: {error}") from error
            by_schema.setdefault(schema, []).append((job.index, path))
    if not by_schema:
        raise RunFolderError(f"no job of {folder.path} wrote a {name}")
    frames = [_scan(files) for files in by_schema.values()]
    return pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]


def write_tables(folder: RunFolder, target: Path, name: str = layout.TABLE) -> None:
    """Write the tables that jobs wrote into one parquet file, in memory that does not grow with their number.

    Args:
        folder: The run.
        target: The file; replaced once the whole is written.
        name: As for `tables`.

    Raises:
        RunFolderError: As for `tables`.
        RecordError: As for `tables`, or the file cannot be written.
    """
    import polars as pl

    joined = tables(folder, name)
    try:
        with replacing(target) as temporary:
            joined.sink_parquet(temporary)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordError(f"cannot write the tables of {folder.path} to {target}: {error}") from error


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
