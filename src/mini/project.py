"""The project a command stands in: its folder, its name, its lock, where its runs are, and where what it caches is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1]
"""The folder this package is imported from."""

_MARKS = ("requirements.txt", "setup.py", "setup.cfg", "environment.yml", "environment.yaml", ".git")
"""What a project without a `pyproject.toml` has in its folder."""


def root(start: Path | None = None) -> Path:
    """The project's folder, from `start` (the working directory) upwards.

    It is the nearest folder with a `pyproject.toml`; else the nearest with a `requirements.txt`, `setup.py`,
    `setup.cfg`, `environment.yml` or a git repository, below the home folder; else `start`.
    """
    here = (start or Path.cwd()).absolute()
    upwards = (here, *here.parents)
    declared = next((folder for folder in upwards if (folder / "pyproject.toml").exists()), None)
    if declared is not None:
        return declared
    marked = (folder for folder in upwards if any((folder / mark).exists() for mark in _MARKS))
    return next((folder for folder in marked if not is_shared(folder)), here)


def is_shared(folder: Path) -> bool:
    """Whether a folder is the home folder or the root of the disk, and so no project, whatever lies in it."""
    return folder.absolute() in (Path.home(), Path(folder.anchor or "/"))


def declaration(folder: Path) -> Mapping[str, Any]:
    """What the `pyproject.toml` of a folder says; empty where there is none, or it cannot be read."""
    import tomllib  # takes 4 ms, and a command that runs here reads no declaration

    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def lock(start: Path | None = None) -> Path | None:
    """The project's `uv.lock`, in its folder or at the root of its uv workspace; None without one."""
    folder = root(start)
    if (folder / "uv.lock").exists():
        return folder / "uv.lock"
    for above in folder.parents:
        workspace = declaration(above).get("tool", {}).get("uv", {}).get("workspace")
        if workspace is not None and _is_member(folder, above, workspace):
            return above / "uv.lock" if (above / "uv.lock").exists() else None
    return None


def name(start: Path | None = None) -> str:
    """What the project calls itself in its `pyproject.toml`, else its folder's name."""
    folder = root(start)
    return str(declaration(folder).get("project", {}).get("name") or folder.name)


def outputs(start: Path | None = None) -> Path:
    """The folder that holds the project's runs."""
    return root(start) / "outputs"


def relative(path: Path) -> str:
    """A path as it is from the project's folder; of one that is not in it, from the working directory."""
    absolute, folder = path.absolute(), root()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else os.path.relpath(absolute)


def cache_folder(name: str) -> Path:
    """A private folder of this user for what can be made again.

    Args:
        name: What is kept there.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mini" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _is_member(folder: Path, root: Path, workspace: Mapping[str, Any]) -> bool:
    def matches(key: str) -> bool:
        return any(folder in root.glob(pattern.rstrip("/")) for pattern in workspace.get(key, ()))

    return matches("members") and not matches("exclude")
