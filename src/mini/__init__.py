"""mini: run the jobs of an experiment here or in the cloud, and get one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mini.apparatus.base import Apparatus
    from mini.apparatus.debug import DebugApparatus
    from mini.apparatus.local import LocalApparatus
    from mini.apparatus.modal import ModalApparatus
    from mini.apparatus.rehearsal import RehearsalApparatus
    from mini.context import job_dir, progress
    from mini.detached import Run
    from mini.errors import JobError, MiniError
    from mini.job import Job, Outcome, State

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
    "job_dir",
    "progress",
]

# Hydra imports this package at the start of every application: everything is imported when it is first used.
_HOMES = {
    "Apparatus": "mini.apparatus.base",
    "DebugApparatus": "mini.apparatus.debug",
    "Job": "mini.job",
    "JobError": "mini.errors",
    "LocalApparatus": "mini.apparatus.local",
    "MiniError": "mini.errors",
    "ModalApparatus": "mini.apparatus.modal",
    "Outcome": "mini.job",
    "RehearsalApparatus": "mini.apparatus.rehearsal",
    "Run": "mini.detached",
    "State": "mini.job",
    "job_dir": "mini.context",
    "progress": "mini.context",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mini' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
