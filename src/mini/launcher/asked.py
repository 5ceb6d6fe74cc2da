"""What a command was asked, as `run.json` keeps it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any


def program() -> list[str]:
    """How to call the application again: `-m package` or a script."""
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    return ["-m", module.name.removesuffix(".__main__")] if module is not None else [str(Path(sys.argv[0]).absolute())]


def lasting(overrides: Sequence[str]) -> list[str]:
    """The overrides of Hydra's own config that a further try of the same run needs too."""
    once = ("resume", "only", "budget", "detach", "if_exists")
    passing = ("hydra.mode", "hydra.sweep.dir", *(f"hydra.launcher.{name}" for name in once))
    return [override for override in overrides if not override.lstrip("+").startswith(passing)]


def git_state() -> dict[str, Any] | None:
    """The commit, and whether the working tree differs from it; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def digest(path: Path) -> str | None:
    try:
        return blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None
