"""What this machine gives a process: cores and GPUs; how its memory is looked after, and whom it ends with."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

_MOUNTED = Path("sys/fs/cgroup")
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # from linux/prctl.h
_V1 = ("cpu,cpuacct", "cpuacct,cpu", "cpu")  # where the controller of version 1 is mounted, as systems name it


def cores(root: Path = Path("/")) -> int:
    """How many cores this process may use: its affinity, and the quotas of its control groups.

    Args:
        root: The top of the file system; another one for a test.

    Returns:
        At least one; a quota of two and a half cores counts as two.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(int(quota) for quota in quotas(root))]))


def quotas(root: Path = Path("/")) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's control groups and of those above them.

    Args:
        root: As for `cores`.
    """
    for hierarchy, group in _groups(root):
        # In a container the group is often named as the machine outside knows it; its own is then the mounted one.
        inside = [part for part in Path(group).parts if part not in ("/", "..")]
        for depth in range(len(inside), -1, -1):
            quota = _quota(hierarchy.joinpath(*inside[:depth]))
            if quota is not None:
                yield quota


def _groups(root: Path) -> Iterator[tuple[Path, str]]:
    """Where hierarchies with CPU quotas are mounted, and this process's group in each."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux, or no /proc
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield from ((root / _MOUNTED / name, group) for name in ("", "unified"))
        elif "cpu" in controllers.split(","):
            yield from ((root / _MOUNTED / name, group) for name in _V1)


def _quota(folder: Path) -> float | None:
    """The quota of one group, of either version; None for none."""
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no quota
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota_us, period_us = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota_us / period_us if quota_us > 0 else None  # -1: no quota
    return None


def visible_gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs this process may use, as CUDA_VISIBLE_DEVICES would name them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1", "NoDevFiles"))
    devices = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return tuple(sorted(devices, key=int))


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python from looking for cyclic garbage while many small values that all stay are made.

    It would look at all of them again and again, for a quarter of the time that it takes to read a large run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends. Does nothing but on Linux.

    Args:
        parent: The number of the parent; if that is gone already, this process ends now.
    """
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Be the parent of all descendants whose own parents end. Does nothing but on Linux."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
