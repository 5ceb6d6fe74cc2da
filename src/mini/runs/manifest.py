"""`run.json`: what was asked, of which code, in which environment."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mini import project
from mini.runs import layout, provenance
from mini.runs.files import dump_json


def describe(task: str, jobs: int, engines: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
    """The manifest of a run that begins now in this process.

    Args:
        task: The function's name.
        jobs: How many there are.
        engines: By the kind of each engine, what each apparatus of it says of itself: `image`, a plan, and `volume`.

    Returns:
        JSON values.
    """
    said = [one for of_kind in engines.values() for one in of_kind]
    images = {one["image"]["key"]: one["image"] for one in said if "image" in one}
    return {
        "command": sys.argv,
        "task": task,
        "began": time.time(),
        **here(),
        "cwd": str(Path.cwd()),
        "python": platform.python_version(),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
        "git": git_state(),
        "lock": digest(lock) if (lock := project.lock()) is not None else None,
        "jobs": jobs,  # of the first batch; a sweeper may add more
        "images": list(images.values()),
        "volume": next((one["volume"] for one in said if "volume" in one), None),
        "apparatus": sorted(engines),
    }


def here() -> dict[str, str]:
    """This machine and this user, as a manifest has them."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in many containers
        user = str(os.getuid())
    return {"host": platform.node(), "user": user}


BROUGHT = "brought_from"
"""The entry of a manifest that was copied from elsewhere: made here, whatever the manifest itself says."""


def brought(data: bytes, place: str) -> bytes:
    """A manifest as it is kept here when it comes from elsewhere.

    Args:
        data: What was found there.
        place: Where.
    """
    try:
        found = json.loads(data)
    except ValueError:
        return data  # damaged; whoever reads it says so
    return dump_json({**found, BROUGHT: place}, indent=2) + b"\n" if isinstance(found, dict) else data


def is_from_here(run: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether this user began a run on this machine: its files are this user's, and it says so.

    Args:
        run: The run's folder.
        manifest: The run's.
    """
    decisive = [path for name in (layout.RUN, layout.PARCELS) if (path := run / name).exists()]
    if BROUGHT in manifest or any(path.stat().st_uid != os.getuid() for path in [run, *decisive]):
        return False
    return all(manifest.get(name) == value for name, value in here().items())


def git_state() -> dict[str, Any] | None:
    """The commit, whether the working tree differs from it, and how; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": commit, "dirty": dirty, **(provenance.uncommitted() if dirty else {})}
    except (OSError, subprocess.SubprocessError):
        return None


def digest(path: Path) -> str | None:
    """A digest of a file's content; None where there is none."""
    try:
        return blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
