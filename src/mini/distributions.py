"""What the distributions installed here consist of, and what they need."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OWN = "hydra-apparatus"
"""The distribution that this package is in."""

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


def direct_url(distribution: importlib.metadata.Distribution) -> Mapping[str, Any] | None:
    """Where a distribution was installed from, as PEP 610 has it; None for one of an index."""
    text = distribution.read_text("direct_url.json")
    found: Mapping[str, Any] | None = json.loads(text) if text else None
    return found


def commit(distribution: importlib.metadata.Distribution) -> str | None:
    """The git commit a distribution was installed from, if it was."""
    found = (direct_url(distribution) or {}).get("vcs_info", {}).get("commit_id")
    return str(found) if found else None


def roots(distribution: importlib.metadata.Distribution) -> list[tuple[str, Path]]:
    """The folders and files that are a distribution's alone, by their place on the path.

    A member of a namespace that other distributions have a part in is a root of its own.
    """
    top = Path(str(distribution.locate_file("")))
    owned = {top / file for file in _files(distribution) if not file.parts[0].endswith((".dist-info", ".egg-info"))}
    return [(path.relative_to(top).as_posix(), path) for path in _cover(top, owned)]


def _files(distribution: importlib.metadata.Distribution) -> list[Path]:
    """The files of a distribution, relative to its folder on the path; without caches and programs."""
    listed = [Path(str(file)) for file in distribution.files or ()]
    if not listed:  # a package of the operating system, which keeps its own list
        top = Path(str(distribution.locate_file("")))
        text = distribution.read_text("top_level.txt") or distribution.metadata["Name"].replace("-", "_")
        names = [name for line in text.split() for name in (line, f"{line}.py")]
        found = [path for name in names for path in (files(top / name) if (top / name).is_dir() else [top / name])]
        listed = [path.relative_to(top) for path in found if path.is_file()]
    return [file for file in listed if ".." not in file.parts and not is_cache(file)]


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


def needed(
    names: Iterable[str], *, markers: Mapping[str, str] | None = None, prune: Iterable[str] = ()
) -> dict[str, importlib.metadata.Distribution | None]:
    """What some requirements need in all, by name: each as it is installed here, or None where it is not.

    Args:
        names: Requirements, such as `modal` or `jax[cuda13]>=0.7`.
        markers: The environment in which markers are evaluated; None for this one.
        prune: Names that are left out, with what only they need.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pruned = {canonicalize_name(name) for name in prune}
    found: dict[str, importlib.metadata.Distribution | None] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        new = {(name, extra) for extra in ("", *wanted.extras)} - seen
        if name in pruned or not new:
            continue
        seen |= new
        if name not in found:
            found[name] = find(name)
        distribution = found[name]
        if distribution is not None:
            waiting += requires(distribution, [extra for _, extra in new], markers)
    return found


def requires(
    distribution: importlib.metadata.Distribution,
    extras: Iterable[str] = ("",),
    markers: Mapping[str, str] | None = None,
) -> list[Requirement]:
    """What a distribution itself asks for.

    Args:
        distribution: Of this environment.
        extras: Its extras; the empty one stands for none.
        markers: The environment in which markers are evaluated; None for this one.
    """
    from packaging.requirements import Requirement

    known = [{**(markers or {}), "extra": extra} for extra in extras]
    found = map(Requirement, distribution.requires or ())
    return [one for one in found if one.marker is None or any(one.marker.evaluate(values) for values in known)]


def of_folder(folder: Path) -> importlib.metadata.Distribution | None:
    """The distribution that was installed from a folder here, or None."""
    for distribution in importlib.metadata.distributions():
        place = origin_folder(distribution)
        if place is not None and place.resolve() == folder.resolve():
            return distribution
    return None


def origin_folder(distribution: importlib.metadata.Distribution) -> Path | None:
    """The folder or file here that a distribution was installed from; None where it is gone, or was none."""
    place = urlsplit(str((direct_url(distribution) or {}).get("url", "")))
    path = Path(unquote(place.path))
    return path if place.scheme == "file" and path.exists() else None


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Distributions with all that they need, as installed here."""
    return [distribution for distribution in needed(names).values() if distribution is not None]


def copy(distribution: importlib.metadata.Distribution, target: Path) -> None:
    """Put the files of a distribution into a folder for the path, its metadata too; as links where the disk allows.

    Args:
        distribution: Of this environment.
        target: The folder.
    """
    for file in _files(distribution):
        source, place = Path(str(distribution.locate_file(str(file)))), target / file
        if source.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source.resolve(), place)
            except OSError:  # another disk
                shutil.copy2(source, place)
