"""What the distributions installed here consist of."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

COMPILED = (".so", ".pyd", ".dylib")
"""Endings of files that are built for one kind of machine."""


def is_cache(path: Path) -> bool:
    """Whether a file is left behind by Python or an editor, and nobody would miss it."""
    return "__pycache__" in path.parts or path.suffix in (".pyc", ".pyo") or path.name in (".DS_Store", ".git")


def files(folder: Path) -> Iterator[Path]:
    """The files below a folder, without caches, sorted."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not is_cache(path.relative_to(folder)))


def find(name: str) -> importlib.metadata.Distribution | None:
    """A distribution by its name, or None where it is not installed."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(distribution: importlib.metadata.Distribution) -> str | None:
    """The git commit a distribution was installed from, if it was."""
    text = distribution.read_text("direct_url.json")
    found = json.loads(text).get("vcs_info", {}).get("commit_id") if text else None
    return str(found) if found else None


def roots(distribution: importlib.metadata.Distribution) -> list[tuple[str, Path]]:
    """The folders and files that are a distribution's alone, by their place on the path.

    A member of a namespace that other distributions have a part in is a root of its own.
    """
    owned = {
        Path(str(distribution.locate_file(file)))
        for file in distribution.files or ()
        if ".." not in file.parts and not is_cache(Path(str(file))) and not file.parts[0].endswith(".dist-info")
    }
    top = Path(str(distribution.locate_file("")))
    return [(path.relative_to(top).as_posix(), path) for path in _cover(top, owned)]


def _cover(folder: Path, owned: set[Path]) -> list[Path]:
    found = [path for path in sorted(owned) if path.parent == folder]
    for name in sorted({path.relative_to(folder).parts[0] for path in owned if path.parent != folder}):
        below = folder / name
        inside = {path for path in owned if below in path.parents}
        if inside.issuperset(files(below)):
            found.append(below)
        else:
            found.extend(_cover(below, inside))
    return found


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Distributions with all that they need, as installed here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        distribution = find(name)
        if name in found or distribution is None:
            continue
        found[name] = distribution
        for text in distribution.requires or ():
            needed = Requirement(text)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return list(found.values())
