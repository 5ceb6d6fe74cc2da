"""The project a command is given in: its folder and its name."""

from __future__ import annotations

import tomllib
from pathlib import Path


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
