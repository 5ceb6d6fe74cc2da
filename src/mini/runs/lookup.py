"""Finding runs by what a person calls them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mini.errors import NoSuchRun, did_you_mean
from mini.runs import layout
from mini.runs.folder import RunFolder

LATEST = "latest"
"""What the run that began last is called, unless a run has that name."""


def list_runs(home: Path) -> list[Path]:
    """The run folders in a folder, the latest first."""
    found = []
    for manifest in home.glob(f"*/{layout.RUN}") if home.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # it is being removed
            found.append((manifest.stat().st_mtime, manifest.parent.name, manifest.parent))
    return [path for _, _, path in sorted(found, reverse=True)]


def latest(home: Path, exclude: Path | None = None) -> RunFolder:
    """The run that began last.

    Args:
        home: Where runs are, such as `outputs/`.
        exclude: A folder that does not count.

    Raises:
        NoSuchRun: There is none.
    """
    for path in list_runs(home):
        if path.absolute() != exclude:
            return RunFolder(path)
    raise NoSuchRun(f"there is no run under {home}")


def find(home: Path, name: str) -> RunFolder:
    """A run by its id, a beginning of one that no other has, a path, or `latest`.

    Raises:
        NoSuchRun: There is none, with those that are near; or several begin so.
    """
    if (Path(name) / layout.RUN).exists():
        return RunFolder(name)
    known = [path.name for path in list_runs(home)]
    if name in known:
        return RunFolder(home / name)
    if name == LATEST:
        return latest(home)
    return RunFolder(home / choose(known, name, str(home)))


def choose(known: list[str], name: str, where: str) -> str:
    """The one name that begins so.

    Args:
        known: All names, the latest first.
        name: What was asked for.
        where: Where was looked, for the error.

    Raises:
        NoSuchRun: There is none, or there are several.
    """
    matches = [run for run in known if name and run.startswith(name)]
    if len(matches) == 1 or name in matches:
        return name if name in matches else matches[0]
    if matches:
        shown = ", ".join(matches[:5]) + (f" and {len(matches) - 5} more" if len(matches) > 5 else "")
        raise NoSuchRun(f"several runs under {where} begin with {name!r}: {shown}; write more of it")
    if not known:
        raise NoSuchRun(f"there is no run {name!r} under {where}, and no other")
    raise NoSuchRun(f"there is no run {name!r} under {where}; {did_you_mean(name, known[:8])}")
