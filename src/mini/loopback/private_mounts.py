"""Folders of a container at paths of its own choice, which nobody else sees and which leave nothing behind.

Linux only: the container's process gets a mount namespace of its own, inside a user namespace where it is not root's.
A mount point that does not exist on this machine is never made there: the folder above it is covered, for this
process alone, by one in memory with the same things in it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_PROGRAM = str(Path(__file__).with_name("own_mounts.py"))


def command(mounts: Mapping[str, Path], newroot: Path, program: Sequence[str]) -> list[str]:
    """The command that runs a program with mounts of its own.

    Args:
        mounts: What shall be where, by the absolute path it shall have.
        newroot: A folder that is used where something must be mounted at the top of the file system; made if needed.
        program: The program and its arguments.
    """
    places = json.dumps({path: str(what) for path, what in mounts.items()})
    return [sys.executable, "-I", "-S", _PROGRAM, places, str(newroot), *program]


@functools.cache
def available() -> bool:
    """Whether this machine gives a process mounts of its own."""
    return _try(["/mini-loopback-probe"]) is None


async def problem(paths: Iterable[str]) -> str | None:
    """Why something cannot be mounted at some paths, or None where it can."""
    wanted = tuple(sorted(paths))
    return await asyncio.to_thread(_try, wanted) if wanted else None


def _try(paths: Sequence[str]) -> str | None:
    where = f"the control plane on loopback cannot mount a volume at {', '.join(paths)}"
    if sys.platform != "linux":
        return f"{where}: only Linux gives a process mounts of its own; use a path below /root"
    with tempfile.TemporaryDirectory() as folder:
        what = Path(folder, "volume")
        what.mkdir()
        tried = subprocess.run(
            command(dict.fromkeys(paths, what), Path(folder, "newroot"), [sys.executable, "-I", "-S", "-c", ""]),
            capture_output=True,
            text=True,
            check=False,
        )
    return f"{where}: {tried.stderr.strip()}" if tried.returncode else None
