"""A run as offline runs of Weights & Biases, one for each job; `wandb sync` sends them, if somebody wants that."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mini.export import library
from mini.export.content import Content, ExportedJob


def write(content: Content, target: Path, form: str) -> str:
    """Write the offline runs.

    Args:
        content: The run.
        target: An empty folder.
        form: `wandb`.

    Returns:
        The command that sends them.

    Raises:
        UsageError: wandb is not installed.
    """
    wandb: Any = library("wandb", form)
    for job in content.jobs:
        _write_job(wandb, content, job, target)
    return f"wandb sync {shlex.quote(str(target / 'wandb'))}/offline-run-*"


def _write_job(wandb: Any, content: Content, job: ExportedJob, target: Path) -> None:
    """The history has the names of the metrics; the summary is what the job returned."""
    run = wandb.init(
        mode="offline",
        project=content.project.split(".")[0],
        group=content.id,
        name=f"{content.id} {job.index}",
        dir=str(target),
        config=dict(job.parameters),
        tags=[job.state],
        reinit="finish_previous",
        settings=wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
        ),
    )
    before = -1
    for point in job.points:
        before = max(before, point.step)  # a step that goes back is refused
        stamp = {"_timestamp": point.time} if point.time is not None else {}
        run.log({**point.metrics, **stamp}, step=before)
    run.summary.update({**job.metrics, "state": job.state, "seconds": job.seconds, "host": job.host, "gpu": job.gpu})
    run.finish(exit_code=0 if job.is_done else 1)
