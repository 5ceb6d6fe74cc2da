"""The engine `ray`: its options, and how to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini.apparatus.options import Options, Pairs, boolean, number, option, text, whole
from mini.apparatus.plugin import Plugin

if TYPE_CHECKING:
    from mini.apparatus.ray.apparatus import RayApparatus


def _amounts(value: Any) -> Pairs:
    given = dict(value) if isinstance(value, Mapping | tuple | list) else None
    if given is None or not all(isinstance(amount, int | float) and amount > 0 for amount in given.values()):
        raise ValueError("it must be a mapping of names to numbers, such as {TPU: 1}")
    return tuple((str(name), float(amount)) for name, amount in given.items())


@dataclass(frozen=True)
class RayOptions(Options):
    """`apparatus=ray`: worker processes on the nodes of a Ray cluster."""

    address: str | None = option(
        None,
        "the cluster: `auto` for the one this machine is part of, `HOST:PORT`, or `ray://HOST:10001`; null: the one "
        "that `RAY_ADDRESS` names, else one of its own on this machine, which ends with the command",
        text,
        shared=True,
    )
    workers: int | None = option(
        None, "processes at a time; null: as many as the cluster has CPUs and GPUs for", whole(1)
    )
    num_cpus: float = option(1.0, "CPUs that each job has", number(0, "CPUs"))
    num_gpus: float | None = option(
        None, "GPUs that each job has, also parts of one; null: as many as `gpu` says", number(0, "GPUs")
    )
    resources: Pairs = option((), "what else of a node each job needs, such as `{TPU: 1}`", _amounts)
    timeout: float | None = option(
        None, "seconds an attempt of a job may take; null for no limit", number(0, "seconds", above=True)
    )
    fresh: bool = option(False, "a new process for each job, with nothing in it of the jobs before", boolean)
    logs: bool = option(False, "show here what jobs print", boolean)


def _make(name: str, options: RayOptions) -> RayApparatus:
    from mini.apparatus.ray.apparatus import RayApparatus

    return RayApparatus(name, address=options.address)


PLUGIN = Plugin("ray", "worker processes on the nodes of a Ray cluster", RayOptions, _make)
