"""What is wrong with the options on this cluster, found before anything is submitted."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mini.apparatus.slurm import scheduler
from mini.apparatus.slurm.plugin import SlurmOptions, seconds_of
from mini.errors import CloudError, OptionError, UsageError, did_you_mean

_PROBE = 20  # seconds the check of the folder waits for a free node; a cluster that has none is not asked further
_SHARED = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "panfs",
    "weka",
    "afs",
    "cifs",
    "smb",
    "pvfs",
    "orangefs",
    "gluster",
)
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike.

    Args:
        partition: Its name.
        default: Whether jobs go there if nothing is said.
        limit: Seconds a job may run there; None for no limit.
        cpus: Of each.
        memory: MiB of each.
        gpus: How many of each type each has; of those without a type under "".
        count: How many there are.
    """

    partition: str
    default: bool
    limit: int | None
    cpus: int
    memory: int
    gpus: tuple[tuple[str, int], ...]
    count: int


def nodes() -> list[Nodes]:
    """The cluster's nodes, in one request.

    Raises:
        UsageError: There are no commands of Slurm.
        CloudError: Slurm cannot be reached.
    """
    return parse(scheduler.answer("sinfo", "--noheader", "--exact", "--format=%P|%l|%c|%m|%G|%D"))


def parse(said: str) -> list[Nodes]:
    """What `sinfo` printed.

    Args:
        said: Lines `PARTITION|LIMIT|CPUS|MEMORY|GRES|COUNT`.
    """
    found = []
    for line in said.splitlines():
        partition, limit, cpus, memory, gres, count = line.split("|")
        found.append(
            Nodes(
                partition.rstrip("*"),
                partition.endswith("*"),
                seconds_of(limit),
                _whole(cpus),
                _whole(memory),
                tuple(_gpus(gres)),
                _whole(count),
            )
        )
    return found


def check(options: SlurmOptions, cluster: Sequence[Nodes]) -> str | None:
    """Refuse what the cluster cannot do.

    Args:
        options: Ours.
        cluster: Its nodes.

    Returns:
        The generic resources to ask for; None for none.

    Raises:
        OptionError: A partition that is not there, a time over its limit, more of something than any node has.
    """
    names = {one.partition for one in cluster}
    wanted = options.partition.split(",") if options.partition else [one.partition for one in cluster if one.default]
    for name in wanted:
        if name not in names:
            raise OptionError(f"apparatus.partition={name}: this cluster has none; {did_you_mean(name, names)}")
    there = [one for one in cluster if one.partition in wanted] or list(cluster)
    where = f"in {' or '.join(wanted)}" if wanted else "on this cluster"
    if options.time is not None:
        limits = [one.limit for one in there]
        asked = seconds_of(options.time)
        if None not in limits and asked is not None and asked > (most := max(limit or 0 for limit in limits)):
            raise OptionError(
                f"apparatus.time={options.time}: jobs {where} may take {_written(most)}; ask for less, or choose "
                "another apparatus.partition"
            )
    _at_most("nodes", options.nodes, sum(one.count for one in there), where, "nodes")
    cpus = (options.cpus_per_task or 1) * options.tasks_per_node
    _at_most("cpus_per_task", cpus, max(one.cpus for one in there), where, "cores on a node")
    if options.mem is not None:
        most = max(one.memory for one in there)
        if _mebibytes(options.mem) > most > 1:  # 1: the cluster does not manage memory
            raise OptionError(f"apparatus.mem={options.mem}: no node {where} has more than {most}M")
    return _gres(options, there, where)


def _at_most(name: str, asked: int, most: int, where: str, what: str) -> None:
    if asked > most:
        raise OptionError(f"apparatus.{name}: {asked} {what} are asked for, and {where} the most are {most}")


def _gres(options: SlurmOptions, there: Sequence[Nodes], where: str) -> str | None:
    """The generic resources for the option `gpu`: by the names that the cluster has for its GPUs."""
    if options.gres is not None:
        return options.gres
    wanted = [options.gpu] if isinstance(options.gpu, str) else list(options.gpu or ())
    if not wanted:
        return None
    have: dict[str, int] = {}
    for one in there:
        for name, count in one.gpus:
            have[name] = max(have.get(name, 0), count)
    shown = ", ".join(f"{name or 'of no type'} (up to {count} on a node)" for name, count in sorted(have.items()))
    for gpu in wanted:
        name, _, written = str(gpu).partition(":")
        number = int(written) if written.isdecimal() else 1
        for known in _known_as(name.lower(), have):
            if have[known] >= number:
                return f"gpu:{known}:{number}" if known and name.lower() != "any" else f"gpu:{number}"
    asked = " or ".join(str(gpu) for gpu in wanted)
    if not have:
        raise OptionError(f"gpu={asked}: no node {where} has GPUs; choose another apparatus.partition")
    raise OptionError(f"gpu={asked}: no node {where} has that many of that type; there are {shown}")


def _known_as(name: str, have: dict[str, int]) -> list[str]:
    """What a type of GPU may be called on this cluster, the likeliest first: `a100`, `nvidia_a100-sxm4-80gb`."""
    if name == "any":
        return sorted(have, key=lambda known: -have[known])
    words = [known for known in have if name in re.split(r"[^a-z0-9]+", known.lower()) or name == known.lower()]
    return [*sorted(words), *([""] if "" in have else [])]


def probe(folder: Path, options: SlurmOptions) -> str | None:
    """Check with a job of a second that nodes have a folder.

    Args:
        folder: Where run folders will be; made.
        options: Ours.

    Returns:
        Why that is not known, if it is not: no node was free.

    Raises:
        UsageError: A node has not this folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from error
    mark = folder / f".probe-{uuid.uuid4().hex}"
    where = [f"--{name}={value}" for name in ("partition", "account", "qos") if (value := getattr(options, name))]
    try:
        mark.touch()
        said = scheduler.answer(
            *("srun", f"--immediate={_PROBE}", "--quiet", "--ntasks=1", "--time=1", "--job-name=mini-probe", *where),
            *("sh", "-c", 'test -e "$0" && echo shared || echo "${SLURMD_NODENAME:-$(hostname)}"', str(mark)),
        ).split()
    except CloudError as error:
        return f"no node was free to check that {folder} is shared ({error})"
    finally:
        mark.unlink(missing_ok=True)
    if said[-1:] != ["shared"]:
        raise UsageError(
            f"the folder {folder} is not on {said[-1] if said else 'a node'}: nodes must share it with this "
            "machine; give the command in a project on a shared file system, or choose another folder with "
            "hydra.sweep.dir=FOLDER"
        )
    return None


def is_network_file_system(folder: Path) -> bool:
    """Whether a folder is on a file system that is made for being shared."""
    place, found = folder.absolute(), ("", "")
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        mount, kind = line.split()[1:3]
        if place.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = mount, kind
    return found[1].removeprefix("fuse.").startswith(_SHARED)


def file_system(folder: Path) -> int:
    """What folders have in common of which one check is enough."""
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev


def _whole(written: str) -> int:
    digits = re.match(r"\d+", written)
    return int(digits[0]) if digits else 0


def _gpus(gres: str) -> list[tuple[str, int]]:
    """From `gpu:a100:2(S:0),gpu:4`: the types, in lower case, and how many."""
    found = []
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        if words[0] == "gpu":
            count = _whole(words[-1]) if len(words) > 1 else 1
            found.append((":".join(words[1:-1]), count))
    return found


def _mebibytes(size: str) -> float:
    return int(size.rstrip("KMGT")) * _UNITS.get(size[-1], 1)


def _written(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
