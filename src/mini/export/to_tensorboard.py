"""A run as event files: a folder for each job, with its curves and its place in the HParams dashboard."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mini.export import library
from mini.export.content import Content, ExportedJob


def write(content: Content, target: Path, form: str) -> str:
    """Write the event files.

    Args:
        content: The run.
        target: An empty folder.
        form: `tensorboard`.

    Returns:
        The command that shows them.

    Raises:
        UsageError: tensorboardX is not installed.
    """
    tensorboard: Any = library("tensorboardX", form)
    names = sorted({name for job in content.jobs for name in job.metrics})
    for job in content.jobs:
        _write_job(tensorboard, job, target / f"job{job.index}", names)
    return f"tensorboard --logdir {shlex.quote(str(target))}"


def _write_job(tensorboard: Any, job: ExportedJob, folder: Path, names: list[str]) -> None:
    """Curves have their metrics' names; what the job returned is below `result/`, as it may have the same."""
    parameters = {key: v if isinstance(v, bool | int | float) else str(v) for key, v in job.parameters.items()}
    about, begin, end = tensorboard.summary.hparams(parameters, dict.fromkeys(map(_result, names), 0.0))
    with tensorboard.SummaryWriter(logdir=str(folder)) as writer:
        writer.file_writer.add_summary(about, walltime=job.started)
        writer.file_writer.add_summary(begin, walltime=job.started)
        for point in job.points:
            for name, value in point.metrics.items():
                writer.add_scalar(name, value, point.step, walltime=point.time or job.ended)
        last = job.points[-1].step if job.points else 0
        for name, value in job.metrics.items():
            writer.add_scalar(_result(name), value, last, walltime=job.ended)
        if job.is_done:
            writer.file_writer.add_summary(end, walltime=job.ended)


def _result(name: str) -> str:
    return f"result/{name}"
