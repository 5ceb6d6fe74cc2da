"""The engine `rehearsal`: its options, and how to make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini.apparatus.modal import extra
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.options import boolean, number, option
from mini.apparatus.plugin import Plugin
from mini.errors import did_you_mean

if TYPE_CHECKING:
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus

ISOLATIONS = ("sandbox", "packages", "none")
"""What `isolated` may be, the best first."""


def _isolation(value: Any) -> str:
    if isinstance(value, bool):  # as it was written before there were sandboxes
        return "packages" if value else "none"
    if value not in ISOLATIONS:
        near = did_you_mean(str(value), ISOLATIONS)
        raise ValueError(f"it must be {', '.join(ISOLATIONS[:-1])} or {ISOLATIONS[-1]}, or null; {near}")
    return str(value)


@dataclass(frozen=True)
class RehearsalOptions(ModalOptions):
    """`apparatus=rehearsal`: Modal's client and container runtime on this machine; no token, no network, no GPU."""

    pull: float | None = option(
        None,
        "MiB; files up to this size come home after a run; null for all: the volume goes with the command",
        number(0),
    )
    isolated: Any = option(
        None,
        "what containers do not see of this machine: `sandbox`, anything; `packages`, what the image would not have "
        "installed; `none`; null: the first of them that can be had",
        _isolation,
        shared=True,
    )
    network: bool = option(
        False,
        "containers in a sandbox reach what this machine reaches; else only the control plane",
        boolean,
        shared=True,
    )


def _make(name: str, options: RehearsalOptions) -> RehearsalApparatus:
    extra.require("apparatus=rehearsal")
    from mini.apparatus.rehearsal.apparatus import RehearsalApparatus

    return RehearsalApparatus(
        options.name or name, environment=options.environment, isolated=options.isolated, network=options.network
    )


PLUGIN = Plugin("rehearsal", "Modal's client and container runtime, all on this machine", RehearsalOptions, _make)
