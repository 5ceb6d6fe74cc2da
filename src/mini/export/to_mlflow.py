"""A run as an experiment of MLflow, in a SQLite file: a run of MLflow's for each job."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mini.export import library
from mini.export.content import Content, ExportedJob

_BATCH = 500  # MLflow takes at most a thousand metrics at once
_PARAMETERS = 100  # and so many parameters
_LONGEST = 6000  # characters of a parameter
_FOREIGN = re.compile(r"[^\w\-. :/]")  # what a name may not have


def write(content: Content, target: Path, form: str) -> str:
    """Write the store.

    Args:
        content: The run.
        target: An empty folder.
        form: `mlflow`.

    Returns:
        The command that shows it.

    Raises:
        UsageError: MLflow is not installed.
    """
    tracking: Any = library("mlflow.tracking", form)
    entities: Any = library("mlflow.entities", form)
    library("sqlalchemy", form)
    store = f"sqlite:///{target.absolute() / 'mlflow.db'}"
    client = tracking.MlflowClient(tracking_uri=store)
    experiment = client.create_experiment(content.id, artifact_location=(target.absolute() / "artifacts").as_uri())
    for job in content.jobs:
        _write_job(client, entities, experiment, content, job)
    return f"mlflow ui --backend-store-uri {shlex.quote(store)}"


def _write_job(client: Any, entities: Any, experiment: str, content: Content, job: ExportedJob) -> None:
    tags = {"mini.run": content.id, "mini.job": str(job.index), "mini.folder": job.folder}
    tags |= {f"mini.{name}": v for name in ("host", "gpu", "error") if (v := getattr(job, name)) is not None}
    started = _milliseconds(job.started)
    made = client.create_run(experiment, start_time=started, tags=tags, run_name=f"job {job.index}")
    run = made.info.run_id
    parameters = [entities.Param(_name(key), str(v)[:_LONGEST]) for key, v in job.parameters.items()]
    for batch in _batches(parameters, _PARAMETERS):
        client.log_batch(run, params=batch)
    for batch in _batches(_metrics(entities.Metric, job, started), _BATCH):
        client.log_batch(run, metrics=batch)
    status = "FINISHED" if job.is_done else "KILLED" if job.state == "cancelled" else "FAILED"
    client.set_terminated(run, status, end_time=_milliseconds(job.ended))


def _metrics(metric: Any, job: ExportedJob, started: int) -> Iterator[Any]:
    """Curves have their metrics' names; what the job returned is below `result/`, as it may have the same."""
    for point in job.points:
        for name, value in point.metrics.items():
            yield metric(_name(name), value, _milliseconds(point.time) or started, point.step)
    for name, value in job.metrics.items():
        yield metric(_name(f"result/{name}"), value, _milliseconds(job.ended) or started, 0)


def _name(name: str) -> str:
    return _FOREIGN.sub("_", name)[:250]


def _milliseconds(seconds: float | None) -> int:
    return round(seconds * 1000) if seconds is not None else 0


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch
