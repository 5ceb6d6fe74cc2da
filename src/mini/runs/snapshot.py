"""A copy of the source as it is now, so that what waits in a queue is not changed by an edit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

_LARGEST = 2**20  # bytes; a larger file is data, and linked
_MANY = 1000  # entries; a folder with more is data, and linked as a whole
_NO_SOURCE = {"__pycache__", "node_modules", "outputs", "multirun"}


def take(entries: Sequence[str], root: Path, target: Path) -> list[str]:
    """Copy the source of a project.

    Args:
        entries: Where modules are imported from, as `sys.path` has them.
        root: The project's folder; only what is below it is copied, and no environment in it.
        target: The folder for the copies; made.

    Returns:
        The entries, those below the project replaced by their copies. Files that are larger than a MiB, and folders of
        very many files, are links to what they are here.
    """
    places = [Path(entry or ".").absolute() for entry in entries]
    own = [path for path in places if path.is_relative_to(root) and path.is_dir() and not _is_environment(path, root)]
    for top in own:
        if not any(top != other and top.is_relative_to(other) for other in own):
            _copy(top, target / top.relative_to(root), target)
    return [
        str(target / path.relative_to(root)) if path in own else entry
        for entry, path in zip(entries, places, strict=True)
    ]


def _copy(source: Path, to: Path, target: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for entry in _entries(source):
        path, copy = Path(entry.path), to / entry.name
        if path == target or copy.exists():
            continue
        if entry.is_dir(follow_symlinks=False):
            if len(os.listdir(path)) > _MANY:  # noqa: PTH208 - to count
                copy.symlink_to(path)
            else:
                _copy(path, copy, target)
        elif not entry.is_file() or entry.stat().st_size > _LARGEST or entry.is_dir():
            copy.symlink_to(path.resolve())
        else:
            shutil.copy2(path, copy)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NO_SOURCE:
                continue
            if entry.is_dir() and Path(entry.path, "pyvenv.cfg").exists():
                continue
            yield entry


def _is_environment(path: Path, root: Path) -> bool:
    """Whether a folder belongs to an environment inside the project."""
    inside = path.relative_to(root).parts
    return "site-packages" in inside or any(
        (root.joinpath(*inside[:depth]) / "pyvenv.cfg").exists() for depth in range(1, len(inside) + 1)
    )
