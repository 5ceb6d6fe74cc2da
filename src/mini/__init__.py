"""mini: run the jobs of an experiment here or in the cloud, and get one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mini._tls import ensure_grpc_trusts_system_ca
    from mini.apparatus.base import Apparatus
    from mini.apparatus.debug.apparatus import DebugApparatus
    from mini.apparatus.frames import history, results
    from mini.apparatus.handle import Run
    from mini.apparatus.local.apparatus import LocalApparatus
    from mini.apparatus.modal.apparatus import ModalApparatus
    from mini.apparatus.modal.image.build import make_image
    from mini.apparatus.modal.image.requirements import uv_freeze
    from mini.apparatus.modal.image.source import project_packages
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus
    from mini.apparatus.slurm.apparatus import SlurmApparatus
    from mini.errors import MiniError
    from mini.job import Job, JobError, Outcome, Pruned, State
    from mini.studies.python import study
    from mini.worker.context import attempt, job_dir, progress

# Hydra imports this package at the start of every application: everything is imported when it is first used.
_HOMES = {
    "Apparatus": "mini.apparatus.base",
    "DebugApparatus": "mini.apparatus.debug.apparatus",
    "Job": "mini.job",
    "JobError": "mini.job",
    "LocalApparatus": "mini.apparatus.local.apparatus",
    "MiniError": "mini.errors",
    "ModalApparatus": "mini.apparatus.modal.apparatus",
    "Outcome": "mini.job",
    "Pruned": "mini.job",
    "RehearsalApparatus": "mini.apparatus.rehearsal.apparatus",
    "Run": "mini.apparatus.handle",
    "SlurmApparatus": "mini.apparatus.slurm.apparatus",
    "State": "mini.job",
    "attempt": "mini.worker.context",
    "ensure_grpc_trusts_system_ca": "mini._tls",
    "history": "mini.apparatus.frames",
    "job_dir": "mini.worker.context",
    "make_image": "mini.apparatus.modal.image.build",
    "progress": "mini.worker.context",
    "project_packages": "mini.apparatus.modal.image.source",
    "results": "mini.apparatus.frames",
    "study": "mini.studies.python",
    "uv_freeze": "mini.apparatus.modal.image.requirements",
}

__all__ = [
    "Apparatus",
    "DebugApparatus",
    "Job",
    "JobError",
    "LocalApparatus",
    "MiniError",
    "ModalApparatus",
    "Outcome",
    "Pruned",
    "RehearsalApparatus",
    "Run",
    "SlurmApparatus",
    "State",
    "attempt",
    "ensure_grpc_trusts_system_ca",
    "history",
    "job_dir",
    "make_image",
    "progress",
    "project_packages",
    "results",
    "study",
    "uv_freeze",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mini' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
