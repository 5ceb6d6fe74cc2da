"""The project a command stands in: its folder, its name, where its runs are, and where what it caches is."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parents[1]
"""The folder this package is imported from."""


def root(start: Path | None = None) -> Path:
    """The nearest folder with a `pyproject.toml`, from `start` (the working directory) upwards; else `start`."""
    here = (start or Path.cwd()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)


def name(start: Path | None = None) -> str:
    """What the project calls itself in its `pyproject.toml`, else its folder's name."""
    folder = root(start)
    try:
        declared = tomllib.loads((folder / "pyproject.toml").read_text()).get("project", {}).get("name")
    except (OSError, tomllib.TOMLDecodeError):
        declared = None
    return str(declared or folder.name)


def outputs(start: Path | None = None) -> Path:
    """The folder that holds the project's runs."""
    return root(start) / "outputs"


def cache_folder(name: str) -> Path:
    """A private folder of this user for what can be made again.

    Args:
        name: What is kept there.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mini" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
