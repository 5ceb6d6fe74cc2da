"""The engine `slurm`: its options, how to make one, and how to find its runs again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini.apparatus.options import Options, Pairs, boolean, items, option, text, texts, whole
from mini.apparatus.plugin import Attached, Plugin

if TYPE_CHECKING:
    from mini.apparatus.slurm.apparatus import SlurmApparatus
    from mini.runs.folder import RunFolder

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def _time(value: Any) -> str:
    """A time limit as Slurm writes it, D-HH:MM:SS."""
    wrong = ValueError("it must be minutes, or a time such as 90s, 15m, 2h, 1d, 1:30:00 or 2-12:00:00")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong
    written = str(value).strip()
    if written[-1:] in _UNITS and written[:-1].isdecimal():
        seconds = int(written[:-1]) * _UNITS[written[-1]]
    else:
        found = seconds_of(written)
        if found is None:
            raise wrong
        seconds = found
    if seconds <= 0:
        raise wrong
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


def seconds_of(written: str) -> int | None:
    """The seconds of a time as Slurm writes one: `30` minutes, `1:30:00`, `2-12`; None for none, or no limit.

    Args:
        written: As Slurm has it.
    """
    match = _TIME.fullmatch(written)
    if match is None:
        return None
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if len(parts) == 3:
        return parts[0] * 3600 + parts[1] * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)


def _memory(value: Any) -> str:
    written = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d+[KMGT]?B?", written, re.IGNORECASE):
        raise ValueError("it must be MiB, or a size such as 800M or 16G")
    return written.upper().removesuffix("B")


def _environment(value: Any) -> str:
    if value not in ("shared", "uv"):
        raise ValueError("it must be shared or uv")
    return str(value)


def _flags(value: Any) -> Pairs:
    """Flags of sbatch, without their dashes."""
    checked = tuple((name.lstrip("-").replace("_", "-"), part) for name, part in items(value))
    for name, part in checked:
        if name in _OURS:
            raise ValueError(f"it must be without {name}: {_OURS[name]}")
        if isinstance(part, list | tuple | Mapping):
            raise ValueError(
                f"it must be a mapping from flag to text, number, true or null, and {name} is none of these"
            )
    return checked


_OURS = {
    "array": "there is a task of the array for each job; see apparatus.array_parallelism",
    "chdir": "jobs run where the command was given",
    "output": "what a job prints is in its log.txt",
    "error": "what a job prints is in its log.txt",
    "parsable": "it is given always",
    "wait": "the launcher waits",
    "wrap": "what runs is the job",
    "signal": "see apparatus.grace",
    "ntasks": "see apparatus.tasks_per_node and apparatus.nodes",
    "requeue": "see apparatus.requeues",
    "no-requeue": "see apparatus.requeues",
}


@dataclass(frozen=True)
class SlurmOptions(Options):
    """`apparatus=slurm`: the queue of a Slurm cluster. `gpu` says which GPU."""

    retries: int = option(0, "further attempts of a job that failed or whose process died", whole(0))
    partition: str | None = option(None, "the partition; null: the cluster's default", text)
    account: str | None = option(None, "the account that pays", text)
    qos: str | None = option(None, "the quality of service", text)
    time: Any = option(
        None, "the time limit of a job: minutes, or `90s`, `2h`, `1:30:00`, `2-12:00:00`; null: the partition's", _time
    )
    nodes: int = option(1, "nodes of each job", whole(1))
    tasks_per_node: int = option(1, "processes of each job on each node; the first of all records", whole(1))
    cpus_per_task: int | None = option(None, "cores of each process; null: the cluster's default", whole(1))
    mem: Any = option(None, "memory of each node: MiB, or such as `16G`; null: the cluster's default", _memory)
    gres: str | None = option(None, "generic resources as Slurm names them, instead of `gpu`", text)
    constraint: str | None = option(None, "features that a node must have, such as `a100&nvlink`", text)
    array_parallelism: int | None = option(None, "how many jobs at a time; null: as many as Slurm starts", whole(1))
    setup: tuple[str, ...] = option((), "lines of shell before Python starts: `[module load cuda, …]`", texts)
    sbatch: Pairs = option(
        (), "any other flag of sbatch, without its dashes: `{exclude: node7, exclusive: true}`", _flags
    )
    python: str | None = option(None, "the interpreter on the nodes; null: the one that runs here", text)
    environment: str = option(
        "shared",
        "`shared`: the environment that runs here, on a file system that nodes share; `uv`: made on each node from "
        "`uv.lock`, once, in `~/.cache/mini`",
        _environment,
    )
    snapshot: bool = option(True, "run the source as it was at submission, from a copy in the run folder", boolean)
    group: int | None = option(
        None, "how many short jobs a task of the array runs; null: by measuring, 1: each alone", whole(1)
    )
    requeues: int = option(
        3, "how often a job that reached its time limit is queued again, with its folder as it was", whole(0)
    )
    grace: int = option(60, "seconds before the time limit at which a job is interrupted", whole(1))
    probe: bool = option(True, "check with a job of a second that nodes have the run folder", boolean)
    logs: bool = option(False, "show here what jobs print", boolean)


def _make(name: str, options: SlurmOptions) -> SlurmApparatus:
    from mini.apparatus.slurm.apparatus import SlurmApparatus

    return SlurmApparatus(name)


def _attach(folder: RunFolder, place: Mapping[str, Any] | None) -> Attached:
    from mini.apparatus.slurm.runs import SlurmRun

    return SlurmRun(folder)


PLUGIN = Plugin("slurm", "the queue of a Slurm cluster", SlurmOptions, _make, _attach)
