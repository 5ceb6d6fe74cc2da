"""A copy of the source as it is now, so that what waits in a queue is not changed by an edit."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mini import project
from mini.runs import layout

_LARGEST = 2**20  # bytes; a larger file is data, and linked
_MANY = 1000  # entries; a folder with more, or with more below it and no source, is data, and linked as a whole
_NO_SOURCE = {"__pycache__", "node_modules", "outputs", "multirun"}


def take(entries: Sequence[str], root: Path, target: Path) -> list[str]:
    """Copy the source of a project.

    Args:
        entries: Where modules are imported from, as `sys.path` has them.
        root: The project's folder; only what is below it is copied, and no environment in it.
        target: The folder for the copies; made. What the folder around it has are copies already, and stay.

    Returns:
        The entries, those below the project replaced by their copies. Files that are larger than a MiB, and folders of
        very many files, are links to what they are here. Nothing is copied where the project is the home folder.
    """
    if project.is_shared(root):  # all of a home folder is no source
        return list(entries)
    places = [Path(entry or ".").absolute() for entry in entries]
    own = [
        path
        for path in places
        if path.is_relative_to(root)
        and not path.is_relative_to(target.parent)
        and path.is_dir()
        and not _is_environment(path, root)
    ]
    for top in own:
        if not any(top != other and top.is_relative_to(other) for other in own):
            _copy(top, target / top.relative_to(root), target)
    return [
        str(target / path.relative_to(root)) if path in own else entry
        for entry, path in zip(entries, places, strict=True)
    ]


def take_next(entries: Sequence[str], root: Path, run: Path) -> list[str]:
    """As `take`, into the next free folder of a run.

    Args:
        entries: As for `take`.
        root: As for `take`.
        run: The run's folder.
    """
    numbers = itertools.count()
    return take(entries, root, next(t for n in numbers if not (t := run / layout.SNAPSHOT / str(n)).exists()))


def _copy(source: Path, to: Path, target: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for entry in _entries(source):
        path, copy = Path(entry.path), to / entry.name
        if path == target or copy.exists():
            continue
        if entry.is_dir(follow_symlinks=False):
            if _is_data(path):
                copy.symlink_to(path)
            else:
                _copy(path, copy, target)
        elif not entry.is_file() or entry.stat().st_size > _LARGEST or entry.is_dir():
            copy.symlink_to(path.resolve())
        else:
            shutil.copy2(path, copy)


def _is_data(folder: Path) -> bool:
    count = 0
    for path, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        if Path(path) == folder and count > _MANY:
            return True
        if any(name.endswith(".py") for name in files):
            return False
    return count > _MANY


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
