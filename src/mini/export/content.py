"""What is exported of a run, in terms that other tools share: parameters, metrics by step, times, a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mini import combine
from mini.combine.history import FIRST, history
from mini.errors import UsageError
from mini.job import State
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Point:
    """What a job said at one step.

    Args:
        step: How many steps were done.
        time: Unix time in seconds; None if it is not known.
        metrics: By name.
    """

    step: int
    time: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ExportedJob:
    """A finished job.

    Args:
        index: Its number in the run.
        state: What became of it.
        error: The last line of its failure; None for one that is done.
        started: Unix time in seconds; None if it never started.
        seconds: How long it ran; None if it never started.
        host: Where.
        gpu: On which GPU; None for none.
        folder: Its folder here.
        parameters: Its resolved config by dotted key, or its overrides where there is no config.
        metrics: The numbers it returned.
        points: Its history.
    """

    index: int
    state: str
    error: str | None
    started: float | None
    seconds: float | None
    host: str | None
    gpu: str | None
    folder: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    points: Sequence[Point] = field(default=())

    @property
    def is_done(self) -> bool:
        """Whether it has a result."""
        return self.state == State.DONE

    @property
    def ended(self) -> float | None:
        """Unix time in seconds; None if it never started."""
        return self.started + self.seconds if self.started is not None and self.seconds is not None else None


@dataclass(frozen=True)
class Content:
    """A run.

    Args:
        id: Its name.
        project: What it belongs to: the task.
        manifest: What `run.json` says.
        table: One row for each job.
        history: What jobs said while they ran.
        jobs: Those that are finished.
    """

    id: str
    project: str
    manifest: Mapping[str, Any]
    table: pl.DataFrame
    history: pl.DataFrame
    jobs: Sequence[ExportedJob]


def read(folder: RunFolder) -> Content:
    """All of a run that is exported.

    Args:
        folder: The run.

    Raises:
        UsageError: No job of it is finished.
    """
    table, _ = combine.table(folder)
    said = history(folder, overrides=False)
    points = _points(said)
    finished = [State(state) for state in State if State(state).is_finished]
    jobs = [_job(row, points.get(row["job"], ())) for row in table.iter_rows(named=True) if row["state"] in finished]
    if not jobs:
        raise UsageError(f"no job of {folder.id} is finished, so there is nothing to export")
    manifest = folder.manifest()
    return Content(folder.id, str(manifest.get("task") or "mini"), manifest, table, said, jobs)


def _job(row: Mapping[str, Any], points: Sequence[Point]) -> ExportedJob:
    config = dict(_below("config.", row))
    overrides = dict(_below("overrides.", row))
    metrics = {
        name.removeprefix("metrics."): float(value)
        for name, value in row.items()
        if isinstance(value, int | float)
        and name not in combine.JOB_COLUMNS
        and not name.startswith(("config.", "overrides."))
    }
    known = {name: row[name] for name in ("started", "seconds", "host", "gpu", "error")}
    return ExportedJob(
        row["job"],
        row["state"],
        folder=str(row["folder"]),
        parameters=config or overrides,
        metrics=metrics,
        points=points,
        **{**known, "started": _unix(known["started"])},
    )


def _unix(moment: Any) -> float | None:
    return float(moment.timestamp() if hasattr(moment, "timestamp") else moment) if moment is not None else None


def _below(prefix: str, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((n.removeprefix(prefix), v) for n, v in row.items() if n.startswith(prefix) and v is not None)


def _points(said: pl.DataFrame) -> dict[int, list[Point]]:
    points: dict[int, list[Point]] = {}
    for row in said.iter_rows(named=True):
        metrics = {
            name: float(value)
            for name, value in row.items()
            if name not in FIRST and isinstance(value, int | float) and not isinstance(value, bool)
        }
        points.setdefault(row["job"], []).append(Point(row["step"] or 0, row["time"], metrics))
    return points
