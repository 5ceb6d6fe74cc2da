"""mini: run the jobs of an experiment here or in the cloud, and get one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mini.apparatus.base import Apparatus
    from mini.apparatus.debug.apparatus import DebugApparatus
    from mini.apparatus.handle import Run
    from mini.apparatus.local.apparatus import LocalApparatus
    from mini.apparatus.modal.apparatus import ModalApparatus
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus
    from mini.errors import MiniError
    from mini.job import Job, JobError, Outcome, State
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
    "RehearsalApparatus": "mini.apparatus.rehearsal.apparatus",
    "Run": "mini.apparatus.handle",
    "State": "mini.job",
    "attempt": "mini.worker.context",
    "job_dir": "mini.worker.context",
    "progress": "mini.worker.context",
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
    "RehearsalApparatus",
    "Run",
    "State",
    "attempt",
    "job_dir",
    "progress",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mini' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
