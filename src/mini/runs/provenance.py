"""What a run was made of, besides its commit: changes that are not committed, installed packages, the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mini import machine

_LARGEST_DIFF = 256 * 1024  # characters
_INSTALLED = re.compile(r"(.+?)-([^-]+)\.(?:dist|egg)-info")


def uncommitted() -> dict[str, Any]:
    """The difference of the working tree from its commit, of files that git knows.

    Returns:
        `diff`, the text; or `diff_size`, its characters, where it is too long to keep; empty outside a repository.
    """
    try:
        done = subprocess.run(
            ["git", "diff", "HEAD", "--no-color", "--no-ext-diff"], capture_output=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    text = done.stdout.decode(errors="replace")
    return {"diff": text} if len(text) <= _LARGEST_DIFF else {"diff_size": len(text)}


def packages() -> dict[str, str]:
    """The installed distributions and their versions, by the names of their folders: reading each would take long."""
    found: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder or "."):
                match = _INSTALLED.fullmatch(entry.name)
                if match is not None:
                    found.setdefault(match[1].replace("_", "-").lower(), match[2])
    return dict(sorted(found.items()))


def hardware() -> dict[str, Any]:
    """This machine: its architecture, cores that may be used, memory in GiB, and the names of its NVIDIA GPUs."""
    memory = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {"machine": platform.machine(), "cores": machine.cores(), "memory": memory, "gpus": gpu_names()}


def gpu_names(root: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The NVIDIA GPUs of this machine, as their driver names them.

    Args:
        root: Where the driver says so; another folder for a test.
    """
    names = []
    for information in sorted(root.glob("*/information")):
        with contextlib.suppress(OSError):
            model = re.search(r"^Model:\s*(.+?)\s*$", information.read_text(errors="replace"), re.MULTILINE)
            names.extend([model[1]] if model is not None else [])
    return names
