"""What a page shows of some runs, as plain values and arrays of numbers."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mini import combine
from mini.combine import JOB_COLUMNS
from mini.errors import RecordError
from mini.report import curves, importance
from mini.runs import layout, records, status
from mini.runs.folder import RunFolder
from mini.runs.status import Status

if TYPE_CHECKING:
    import polars as pl

_TRACEBACKS = 40  # of failures that differ
_LONGEST_TRACEBACK = 6000  # characters
_LONGEST_CELL = 2000
_WIDEST = 400  # columns on a page
_FAILED = ("failed", "timeout", "lost", "unreadable")


class Contents(NamedTuple):
    """What a page shows.

    Args:
        values: JSON values.
        arrays: The curves' numbers, which `values["history"]` describes.
    """

    values: dict[str, Any]
    arrays: bytes


def read(
    folders: Sequence[RunFolder],
    *,
    links_from: Path | None = None,
    compute_importance: bool = True,
    statuses: Mapping[str, Status] | None = None,
) -> Contents:
    """Read what a page shows of some runs. Unpickles nothing.

    Args:
        folders: The runs; more than one are compared.
        links_from: The folder of the page: links to logs and files are relative to it. None for a page that is
            served, where they begin with `files/` and the run's name.
        compute_importance: Whether to say which of the swept values mattered, where scikit-learn is installed.
        statuses: How the runs go, by their names, where that is known already.

    Raises:
        RunFolderError: There is no run.
    """
    import polars as pl

    frames, said, runs = [], [], []
    unique = _unique_names(folders)
    for folder in folders:
        now = (statuses or {}).get(folder.id) or status.read_status(folder)
        table, problems = combine.table(folder)
        table = _with_running(table.with_columns(_texts_of_constants(table)), now)
        name = unique[folder.path]
        runs.append(_run(folder, name, now, table, [*map(str, problems), *now.damaged], links_from))
        said.append(curves.read(folder, table["job"].to_list()))
        frames.append(table if len(folders) == 1 else table.insert_column(0, pl.Series("run", [name] * table.height)))
    table = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    columns, constants = _columns(table, [run["path"] for run in runs], folders)
    history, arrays = curves.encode(said, [frame.height for frame in frames])
    values = {
        "generated": time.time(),
        "runs": runs,
        "jobs": table.height,
        "columns": columns,
        "constants": constants,
        "failures": _failures(table, folders),
        "history": history,
        "importance": importance.of_table(table, [c["name"] for c in columns if c["group"] == "swept"], _metrics(table))
        if compute_importance
        else None,
    }
    return Contents(values, arrays)


def _unique_names(folders: Sequence[RunFolder]) -> dict[Path, str]:
    counts = Counter(folder.id for folder in folders)
    return {one.path: one.id if counts[one.id] == 1 else str(one.path) for one in folders}


def _run(
    folder: RunFolder, name: str, now: Status, table: pl.DataFrame, damaged: Iterable[str], links_from: Path | None
) -> dict[str, Any]:
    """What was asked, and how it went."""
    try:
        manifest = folder.manifest()
    except RecordError:
        manifest = {}
    ended = _latest_end(table)
    return {
        "id": name,
        "path": f"files/{folder.id}" if links_from is None else os.path.relpath(folder.path, links_from),
        "state": now.state.value,
        "counts": dict(now.counts),
        "total": now.total,
        "began": now.began,
        "ended": ended if now.state is not status.RunState.RUNNING else None,
        "engines": list(now.apparatus),
        "seconds": _seconds_by_place(table),
        "damaged": list(dict.fromkeys(damaged))[:50],
        "asked": _asked(manifest),
    }


def _asked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    command = manifest.get("command")
    known = {name: manifest.get(name) for name in ("task", "overrides", "git", "lock", "python", "host", "user", "cwd")}
    images = [
        {"key": str(image.get("key")), "python": image.get("python"), "base": image.get("base")}
        for image in manifest.get("images") or ()
        if isinstance(image, dict)
    ]
    return {**known, "command": command if isinstance(command, list) else [], "images": images}


def _latest_end(table: pl.DataFrame) -> float | None:
    import polars as pl

    if table["started"].dtype == pl.Null:
        return None
    latest = table.select((pl.col("started") + pl.col("seconds")).max()).item()
    return float(latest) if latest is not None else None


def _seconds_by_place(table: pl.DataFrame) -> list[list[Any]]:
    """Seconds of jobs by GPU, those without one last."""
    import polars as pl

    if table["seconds"].dtype == pl.Null:
        return []
    sums = table.group_by(pl.col("gpu").cast(pl.String)).agg(pl.col("seconds").sum()).sort("gpu", nulls_last=True)
    return [[gpu, seconds] for gpu, seconds in sums.iter_rows()]


def _texts_of_constants(table: pl.DataFrame) -> list[pl.Expr]:
    import polars as pl

    return [pl.col(name).cast(pl.String) for name in ("state", "error", "host", "gpu", "folder")]


def _with_running(table: pl.DataFrame, now: Status) -> pl.DataFrame:
    """With what the unfinished jobs say."""
    import polars as pl

    if not now.unfinished:
        return table
    unfinished = pl.DataFrame(
        {
            "job": [job.index for job in now.unfinished],
            "state now": [job.state.value for job in now.unfinished],
            "progress": [_share(job.live) for job in now.unfinished],
            "started now": [_number(job.live.get("started")) for job in now.unfinished],
        },
        schema={"job": pl.Int64, "state now": pl.String, "progress": pl.Float64, "started now": pl.Float64},
    )
    joined = table.join(unfinished, on="job", how="left", maintain_order="left")
    waiting = pl.col("state") == "queued"
    return joined.with_columns(
        pl.when(waiting).then(pl.coalesce("state now", "state")).otherwise("state").alias("state"),
        pl.coalesce(pl.col("started").cast(pl.Float64), "started now").alias("started"),
    ).drop("state now", "started now")


def _share(live: Mapping[str, Any]) -> float | None:
    step, total = _number(live.get("step")), _number(live.get("total"))
    return min(1.0, step / total) if step is not None and total else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# Columns.


def _metrics(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if _group(name) == "metric" and table[name].dtype.is_numeric()]


def _group(name: str) -> str:
    if name.startswith("overrides."):
        return "swept"
    if name.startswith("config."):
        return "config"
    return "job" if name in JOB_COLUMNS or name in ("run", "progress") else "metric"


def _columns(
    table: pl.DataFrame, paths: Sequence[str], folders: Sequence[RunFolder]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The columns, and those whose value is the same for all jobs."""
    import polars as pl

    columns: list[dict[str, Any]] = []
    constants: dict[str, Any] = {}
    swept: dict[tuple[Any, ...], str] = {}
    for name in table.columns:
        group, values = _group(name), table[name]
        if name == "folder":
            columns.append({"name": name, "group": "job", "kind": "text", "values": _links(table, paths, folders)})
            continue
        if group in ("swept", "config") and table.height > 1 and values.n_unique() == 1:
            constants[name] = _cell(values[0])
            continue
        if values.dtype == pl.Null and group != "job":
            continue
        kind, cells = _cells(values)
        if group == "config":
            if (same := swept.get(tuple(cells))) is not None and name.endswith(same.removeprefix("overrides.")):
                continue  # what an override set, once more
        elif group == "swept":
            swept[tuple(cells)] = name
        columns.append({"name": name, "group": group, "kind": kind, "values": cells})
    order = {"run": -1, "job": 0, "state": 1}
    columns.sort(key=lambda one: (order.get(one["name"], 2), {"swept": 0, "metric": 1, "job": 2}.get(one["group"], 3)))
    for left_out in columns[_WIDEST:]:
        constants[left_out["name"]] = "… not on this page, which has room for 400 columns"
    return columns[:_WIDEST], constants


def _cells(values: pl.Series) -> tuple[str, list[Any]]:
    import polars as pl

    if values.dtype == pl.String:
        numbers = values.cast(pl.Float64, strict=False)
        if values.null_count() < len(values) and numbers.null_count() == values.null_count():
            return "number", [_cell(value) for value in numbers.to_list()]
    kind = "number" if values.dtype.is_numeric() else "text"
    return kind, [_cell(value) for value in values.to_list()]


def _cell(value: Any) -> Any:
    """A value as JSON has it: what is not finite as text, long text cut."""
    if value is None or isinstance(value, int):
        return value if not isinstance(value, bool) else str(value).lower()
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    text = str(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def _links(table: pl.DataFrame, paths: Sequence[str], folders: Sequence[RunFolder]) -> list[str | None]:
    """Where each job's folder is, from the page."""
    bases = {str(folder.path): path for folder, path in zip(folders, paths, strict=True)}
    found: list[str | None] = []
    for folder in table["folder"].to_list():
        base = next((one for one in bases if folder is not None and folder.startswith(f"{one}/")), None)
        path = "" if base is None or bases[base] == "." else f"{bases[base]}/"
        found.append(f"{path}{folder[len(base) + 1 :]}" if base is not None else None)
    return found


# Failures.


def _failures(table: pl.DataFrame, folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """The failures by the last line of their tracebacks, the most frequent first, with one traceback of each."""
    import polars as pl

    failed = table.with_row_index("row").filter(pl.col("state").is_in(_FAILED))
    rows: dict[str, list[int]] = {}
    places: dict[str, str] = {}
    for row, error, state, folder in failed.select("row", "error", "state", "folder").iter_rows():
        text = str(_cell((error or state or "").strip().rsplit("\n", 1)[-1] or state))
        rows.setdefault(text, []).append(row)
        places.setdefault(text, folder)
    groups = sorted(rows, key=lambda text: -len(rows[text]))
    bulk = {f.path: records.read_bulk(f.path)[0] for f in folders if (f.path / layout.RECORDS).is_dir()} if rows else {}
    return [
        {"text": text, "rows": rows[text], "traceback": _traceback(places[text], bulk) if i < _TRACEBACKS else ""}
        for i, text in enumerate(groups)
    ]


def _traceback(folder: str, bulk: Mapping[Path, Mapping[int, records.BulkRecord]]) -> str:
    path = Path(folder)
    try:
        failure = records.read_record(path).outcome.failure
    except (RecordError, OSError):
        many = next((of_run for run, of_run in bulk.items() if path.is_relative_to(run)), {})
        line = next((one for one in many.values() if one.line and path.name == str(one.head.job)), None)
        if line is None:
            return ""
        try:
            failure = records.decode_record(line.line, path, line.path).outcome.failure
        except RecordError:
            return ""
    text = failure.traceback if failure is not None else ""
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"
