"""Finding runs by what a person calls them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from mini import store
from mini.errors import NoSuchRun, OptionError, did_you_mean
from mini.store import RunFolder

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def runs(home: Path) -> list[Path]:
    """The run folders in a folder, the latest first."""
    found = [path.parent for path in home.glob(f"*/{store.RUN}")] if home.is_dir() else []
    return sorted(found, key=lambda path: ((path / store.RUN).stat().st_mtime, path.name), reverse=True)


def latest(home: Path, but: Path | None = None) -> RunFolder:
    """The run that began last.

    Args:
        home: Where runs are, such as `outputs/`.
        but: A folder that does not count.

    Raises:
        NoSuchRun: There is none.
    """
    for path in runs(home):
        if path.absolute() != but:
            return RunFolder(path)
    raise NoSuchRun(f"there is no run under {home}")


def find(home: Path, name: str) -> RunFolder:
    """A run by its id, a beginning of one that no other has, or a path.

    Raises:
        NoSuchRun: There is none, with those that are near; or several begin so.
    """
    if (Path(name) / store.RUN).exists():
        return RunFolder(name)
    known = [path.name for path in runs(home)]
    if name in known:
        return RunFolder(home / name)
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


def duration(text: Any) -> float | None:
    """Seconds from `90`, `90s`, `15m`, `2h` or `1d`; None for None.

    Raises:
        OptionError: It is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) <= 0:
        raise OptionError(f"budget={text!r} is not possible: it must be a time such as 90s, 15m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


def link(source: Path, target: Path) -> None:
    """Let the files of one folder be in another too, without copying where the file system can do that."""
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.name not in (store.RECORD, store.LIVE):
            to = target / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, to)
            except OSError:
                shutil.copy2(file, to)
