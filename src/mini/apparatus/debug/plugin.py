"""The engine `debug`: its options, and how to make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mini.apparatus.options import Options, boolean, number, option
from mini.apparatus.plugin import Plugin

if TYPE_CHECKING:
    from mini.apparatus.debug.apparatus import DebugApparatus


@dataclass(frozen=True)
class DebugOptions(Options):
    """`apparatus=debug`: this process, one job after the other; `breakpoint()` stops."""

    pdb: bool = option(False, "enter the debugger where a job raised", boolean)
    timeout: float | None = option(
        None, "accepted, and does nothing here", number(0, "seconds", above=True), config=False
    )


def _make(name: str, options: DebugOptions) -> DebugApparatus:
    from mini.apparatus.debug.apparatus import DebugApparatus

    return DebugApparatus(name)


PLUGIN = Plugin("debug", "this process, one job after the other", DebugOptions, _make)
