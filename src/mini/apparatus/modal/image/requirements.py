"""The versions that a container gets: those that `uv.lock` resolves for it, by `uv export`."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from mini import project as projects
from mini.apparatus.modal import extra
from mini.errors import UsageError, did_you_mean

LEFT_OUT = ("local", "dev")
"""The dependency groups a container does without, where nothing else is said."""

CUDA = "cuda"
"""The group that is for a GPU: installed remotely only."""

PROJECT = "the project"
"""What the group is called of the dependencies that are in no group."""

_DEFAULT_INDEX = "pypi.org"


@dataclass(frozen=True)
class Pin:
    """One distribution in one version.

    Args:
        name: As the lock has it.
        version: Exact.
        hashes: Of every file of it that fits the container, as `sha256:…`; empty where the lock has none.
        index: The index it comes from, if that is not the default one.
        url: Where it comes from, if that is no index.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    index: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """As a requirements file has it, with hashes."""
        return " ".join([str(self), *(f"--hash={digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class Local:
    """A dependency that is no file of an index: shipped as source.

    Args:
        name: As the lock has it.
        folder: Of a path or workspace dependency; None where it ships as it is installed here.
        commit: Of a git dependency that the lock has.
    """

    name: str
    folder: Path | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Requirements:
    """What a container needs.

    Args:
        pins: By name.
        local: Dependencies that are shipped as source, by name.
        groups: How many pins each dependency group brings by itself; those of the project are called `the project`.
        locked: Whether they are of `uv.lock`, and not of the environment here.
        whole: Whether nothing is needed besides; else the installer finds what only the container needs.
        indexes: Addresses of further indexes.
    """

    pins: tuple[Pin, ...]
    local: tuple[Local, ...]
    groups: Mapping[str, int]
    locked: bool = True
    whole: bool = True
    indexes: tuple[str, ...] = ()


def uv_freeze(
    project: Path, exclude_groups: Iterable[str] = LEFT_OUT, *, python: str, check: bool = True, counts: bool = False
) -> Requirements:
    """The resolved pins of a project, for Linux on x86-64.

    Args:
        project: The folder with `pyproject.toml`; `uv.lock` is there or at the root of the workspace.
        exclude_groups: Dependency groups to leave out; those of `LEFT_OUT` and `CUDA` need not exist.
        python: The container's Python, such as `3.12`.
        check: Whether a lock that is behind `pyproject.toml` is refused.
        counts: Whether `groups` is filled, which takes one more call of uv for each.

    Returns:
        The pins of the project and of all other groups; without `modal` and what only `modal` needs, which Modal puts
        into every container itself.

    Raises:
        UsageError: uv is missing, the lock is behind, or a group is unknown; says what to run.
    """
    excluded = tuple(exclude_groups)
    known = check_groups(project, excluded)
    if check:
        _uv(project, "lock", "--check", "--offline", otherwise="uv.lock is behind pyproject.toml; run `uv lock`")
    included = [name for name in known if name not in excluded]
    groups = {}
    if counts:
        project_only = _export(project, [], python)
        groups[PROJECT] = len(project_only[0])
        for name in included:
            groups[name] = len(_export(project, ["--only-group", name], python)[0])
    pins, local = _export(project, [part for name in included for part in ("--group", name)], python)
    return Requirements(pins, local, groups)


def pylock(project: Path, exclude_groups: Iterable[str], leave_out: Iterable[Local]) -> str:
    """The pins of a project for any machine, with the addresses of their files, as PEP 751 has it.

    Args:
        project: As for `uv_freeze`.
        exclude_groups: As for `uv_freeze`.
        leave_out: Dependencies that are shipped as source.
    """
    excluded = tuple(exclude_groups)
    groups = [part for name in _groups(project) if name not in excluded for part in ("--group", name)]
    without = [part for local in leave_out for part in ("--no-emit-package", local.name)]
    return _uv(
        project,
        *("export", "--frozen", "--offline", "--no-default-groups", *groups, *without, "--no-emit-project"),
        *("--prune", "modal", "--format", "pylock.toml", "--no-header"),
        otherwise="uv.lock cannot be exported",
    )


def environment(python: str) -> dict[str, str]:
    """The environment markers of a container.

    Args:
        python: Its Python, such as `3.12`.
    """
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }


def check_groups(project: Path, excluded: Iterable[str]) -> list[str]:
    """The dependency groups of a project.

    Args:
        project: Its folder.
        excluded: Those that are to be left out.

    Raises:
        UsageError: One that is to be left out is not there, and none of `LEFT_OUT` and `CUDA`.
    """
    known = _groups(project)
    for name in excluded:
        if name not in known and name not in (*LEFT_OUT, CUDA):
            raise UsageError(f"image.exclude_groups: there is no group {name!r}; {did_you_mean(name, known)}")
    return known


def _groups(project: Path) -> list[str]:
    return sorted(projects.declaration(project).get("dependency-groups", {}))


def _export(project: Path, choice: Sequence[str], python: str) -> tuple[tuple[Pin, ...], tuple[Local, ...]]:
    only = "--only-group" in choice
    text = _uv(
        project,
        *("export", "--frozen", "--offline", "--no-default-groups", *choice),
        *(() if only else ("--no-emit-project",)),
        *("--prune", "modal", "--format", "pylock.toml", "--no-header"),
        otherwise="uv.lock cannot be exported",
    )
    markers = environment(python)
    pins, local = [], []
    for package in tomllib.loads(text).get("packages", []):
        name = canonicalize_name(package["name"])
        if "marker" in package and not Marker(package["marker"]).evaluate(markers):
            continue
        if "directory" in package:
            local.append(Local(name, folder=(project / package["directory"]["path"]).resolve()))
        elif "vcs" in package:
            local.append(Local(name, commit=package["vcs"]["commit-id"]))
        elif "archive" in package and "url" not in package["archive"]:  # a file here
            local.append(Local(name))
        else:
            pins.append(_pin(name, package, python))
    return tuple(sorted(pins, key=str)), tuple(sorted(local, key=lambda one: one.name))


def _pin(name: str, package: Mapping[str, Any], python: str) -> Pin:
    archive = package.get("archive")
    if archive is not None:
        return Pin(name, package.get("version", ""), _digests([archive]), url=archive["url"])
    wheels = [wheel for wheel in package.get("wheels", []) if _fits(wheel.get("name") or wheel["url"], python)]
    files = [*wheels, *([package["sdist"]] if "sdist" in package and not wheels else [])]
    index = package.get("index")
    return Pin(name, package["version"], _digests(files), None if index and _DEFAULT_INDEX in index else index)


def _digests(files: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted(f"{kind}:{value}" for file in files for kind, value in file.get("hashes", {}).items()))


def _fits(url: str, python: str) -> bool:
    """Whether a wheel can be installed on Linux, x86-64, with this Python."""
    try:
        _, _, _, tags = parse_wheel_filename(url.rsplit("/", 1)[-1].replace("%2B", "+"))
    except InvalidWheelFilename:
        return False
    minor = int(python.split(".")[1])
    for tag in tags:
        if tag.platform != "any" and not (tag.platform.endswith("x86_64") and "linux" in tag.platform):
            continue
        if "musl" in tag.platform:
            continue
        if tag.interpreter in ("py3", f"py3{minor}", f"cp3{minor}"):
            return True
        if tag.abi == "abi3" and tag.interpreter.startswith("cp3") and int(tag.interpreter[3:] or 0) <= minor:
            return True
        if tag.abi == "none" and tag.interpreter.startswith("py3") and int(tag.interpreter[3:] or 0) <= minor:
            return True
    return False


def _uv(project: Path, *arguments: str, otherwise: str) -> str:
    program = extra.uv()
    if program is None:
        raise UsageError("uv, which reads uv.lock, is neither installed here nor on the PATH; run `pip install uv`")
    done = subprocess.run(
        [program, *arguments, "--project", str(project), "--color", "never"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith(("Using", "Resolved")))
        raise UsageError(f"{otherwise} (in {project}; uv says: {said.strip()})")
    return done.stdout
