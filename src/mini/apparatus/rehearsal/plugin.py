"""The engine `rehearsal`: its options, and how to make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.options import boolean, number, option
from mini.apparatus.plugin import Plugin

if TYPE_CHECKING:
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus


@dataclass(frozen=True)
class RehearsalOptions(ModalOptions):
    """`apparatus=rehearsal`: Modal's client and container runtime on this machine; no token, no network, no GPU."""

    pull: float | None = option(
        None,
        "MiB; files up to this size come home after a run; null for all: the volume goes with the command",
        number(0),
    )
    isolated: bool = option(
        True, "containers have what the image would pin, and not all that is installed here", boolean
    )


def _make(name: str, options: RehearsalOptions) -> RehearsalApparatus:
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus

    return RehearsalApparatus(options.name or name, environment=options.environment)


PLUGIN = Plugin("rehearsal", "Modal's client and container runtime, all on this machine", RehearsalOptions, _make)
