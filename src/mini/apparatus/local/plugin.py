"""The engine `local`: its options, and how to make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mini.apparatus.options import Options, boolean, number, option, whole
from mini.apparatus.plugin import Plugin

if TYPE_CHECKING:
    from mini.apparatus.local.apparatus import LocalApparatus


@dataclass(frozen=True)
class LocalOptions(Options):
    """`apparatus=local`: worker processes on this machine."""

    workers: int | None = option(None, "processes; null: as many as cores, or as GPUs where there are fewer", whole(1))
    timeout: float | None = option(
        None, "seconds an attempt of a job may take; null for no limit", number(0, "seconds", above=True)
    )
    fresh: bool = option(False, "a new process for each job, with nothing in it of the jobs before", boolean)
    snapshot: bool = option(
        True, "of a detached run: run the source as it was at the start, from a copy in the run folder", boolean
    )
    logs: bool = option(False, "show here what jobs print", boolean)


def _make(name: str, options: LocalOptions) -> LocalApparatus:
    from mini.apparatus.local.apparatus import LocalApparatus

    return LocalApparatus(name)


PLUGIN = Plugin("local", "worker processes on this machine", LocalOptions, _make)
