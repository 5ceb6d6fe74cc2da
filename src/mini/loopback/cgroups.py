"""A limit on the memory of a container, by a control group, where this machine lets its user have one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TOP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class MemoryLimit:
    """A control group for the processes of a container.

    Args:
        folder: The group's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def make(cls, name: str, limit: int) -> MemoryLimit | None:
        """Make one; None where that is not possible.

        Args:
            name: Of the group, unique on this machine.
            limit: Bytes.
        """
        for parent, file, swap in _parents():
            folder = parent / name
            try:
                folder.mkdir()
                (folder / file).write_text(str(limit))
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                continue
            with contextlib.suppress(OSError):  # there may be none
                (folder / swap).write_text(str(limit) if swap.startswith("memory.memsw") else "0")
            return cls(folder)
        return None

    @property
    def procs(self) -> Path:
        """The file that takes a process."""
        return self._folder / "cgroup.procs"

    @property
    def exceeded(self) -> bool:
        """Whether the kernel ended a process for it."""
        for file in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in (self._folder / file).read_text().splitlines():
                    if line.startswith("oom_kill ") and int(line.split()[1]) > 0:
                        return True
        return False

    def remove(self) -> None:
        """Remove it; its processes are gone."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def peak(pid: int) -> int:
    """The most memory, in bytes, that a process and those it started had; 0 where nobody can say."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return total


def _parents() -> list[tuple[Path, str, str]]:
    """Folders in which a group can be made, with the names of the files that take the limits."""
    found = []
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append((_TOP / "memory" / path.lstrip("/"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"))
        elif not controllers:
            own = _TOP / path.lstrip("/")
            # A group with processes of its own has no groups below it that limit memory, but for the top one.
            for folder in (own, *(own.parents if own != _TOP else ())):
                with contextlib.suppress(OSError):
                    if "memory" in (folder / "cgroup.subtree_control").read_text().split() and os.access(
                        folder / "cgroup.procs", os.W_OK
                    ):
                        found.append((folder, "memory.max", "memory.swap.max"))
                if folder == _TOP:
                    break
    return found
