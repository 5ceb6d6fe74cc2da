"""The versions that a container gets where no `uv.lock` says it: those that are installed here.

Of what the project declares, all that it needs. Where it declares nothing, as one of conda may, all that is installed
but for tools that no job runs and what only they need: too much costs a few seconds of one build, while what is missing
fails in every job.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mini import distributions
from mini.apparatus.modal.image import declared
from mini.apparatus.modal.image.requirements import Local, Pin, Requirements, check_groups, environment
from mini.errors import UsageError
from mini.project import declaration

NOTE = "pinned from the installed environment; `uv lock` would make this reproducible"

_PRUNED = ("modal", distributions.OWN)  # Modal brings the one, and the other ships as source
_TOOLS = (
    *("pip", "uv", "wheel", "pipx", "virtualenv", "tox", "nox", "twine", "build", "hatch", "poetry", "pdm"),
    *(
        "conda",
        "conda-build",
        "menuinst",
        "libmambapy",
        "ruff",
        "black",
        "isort",
        "flake8",
        "pylint",
        "mypy",
        "pyright",
    ),
    *("pre-commit", "pytest", "coverage", "ipdb", "ipykernel", "jupyter", "jupyterlab", "notebook", "import-linter"),
)
_TOOLS_BEGIN = ("pytest-", "conda-", "types-", "jupyter-", "jupyterlab-")


def freeze(project: Path, exclude_groups: Iterable[str], *, python: str) -> Requirements:
    """The pins of what is installed here and the project needs.

    Args:
        project: Its folder.
        exclude_groups: Dependency groups and extras to leave out.
        python: The container's Python, such as `3.12`.

    Raises:
        UsageError: Something that the project declares is not installed here; says what to run.
    """
    excluded = tuple(exclude_groups)
    check_groups(project, excluded)
    said = declared.read(project, excluded)
    wanted = _wanted(project, said)
    here, there = _needed(project, wanted), _needed(project, wanted, environment(python))
    found = [
        _origin(name, distribution)
        for name, distribution in there.items()
        if distribution is not None and not _is_project(distribution, project)
    ]
    return Requirements(
        tuple(sorted((one for one in found if isinstance(one, Pin)), key=str)),
        tuple(sorted((one for one in found if isinstance(one, Local)), key=lambda one: one.name)),
        {},
        locked=False,
        whole=all(distribution is not None or name in here for name, distribution in there.items()),
        indexes=tuple(said.indexes),
    )


def needed(project: Path, exclude_groups: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The distributions that a project needs on this machine, and that do not ship as source.

    Args:
        project: Its folder.
        exclude_groups: Dependency groups and extras to leave out.

    Raises:
        UsageError: As `freeze`.
    """
    found = _needed(project, _wanted(project, declared.read(project, exclude_groups)))
    return [
        distribution
        for name, distribution in found.items()
        if distribution is not None
        and not _is_project(distribution, project)
        and isinstance(_origin(name, distribution), Pin)
    ]


def _needed(
    project: Path, wanted: Iterable[str], markers: Mapping[str, str] | None = None
) -> dict[str, importlib.metadata.Distribution | None]:
    return distributions.needed([*wanted, *own_needs()], markers=markers, prune=(*_PRUNED, *_names(project)))


def _wanted(project: Path, said: declared.Declared) -> list[str]:
    """The requirements themselves.

    Raises:
        UsageError: One is not installed here; says what to run.
    """
    if not said:
        return _all_but_tools(project)
    names = [str(_checked(requirement, where)) for requirement, where in said.required if _applies(requirement)]
    for folder in said.folders:
        distribution = distributions.of_folder(folder)
        if distribution is None:
            raise UsageError(
                f"{declared.REQUIREMENTS} declares {folder}, which is not installed here; without uv.lock a container "
                f"gets what is installed here: run `pip install -r {declared.REQUIREMENTS}`"
            )
        names.append(distribution.metadata["Name"])
    for requirements in said.optional.values():
        group = [requirement for requirement in requirements if _applies(requirement)]
        if all(_problem(requirement) is None for requirement in group):
            names += map(str, group)
    return names


def own_needs() -> list[str]:
    """What this package needs in a container, beside itself."""
    distribution = distributions.find(distributions.OWN)
    found = distributions.requires(distribution) if distribution is not None else []
    return [f"{one.name}{one.specifier}" for one in found]


def pin(name: str) -> Pin | None:
    """The pin of a distribution as it is installed here; None where it is not, or comes from no index."""
    distribution = distributions.find(name)
    found = _origin(name, distribution) if distribution is not None else None
    return found if isinstance(found, Pin) else None


def _checked(requirement: Requirement, where: str) -> Requirement:
    problem = _problem(requirement)
    if problem is not None:
        cures = {declared.PYPROJECT: "uv lock", declared.METADATA: "pip install -e ."}
        cure = cures.get(where, f"pip install -r {where}")
        raise UsageError(
            f"{where} declares {requirement}, and {problem}; without uv.lock a container gets the versions that are "
            f"installed here: run `{cure}`"
        )
    return requirement


def _problem(requirement: Requirement) -> str | None:
    """What keeps a requirement from being met here."""
    distribution = distributions.find(requirement.name)
    if distribution is None:
        return "it is not installed here"
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return f"version {distribution.version} is installed here"
    bare = distributions.needed([requirement.name])
    for name, found in distributions.needed([f"{requirement.name}[{','.join(requirement.extras)}]"]).items():
        if found is None and name not in bare:
            return f"{name}, which the extra needs, is not installed here"
    return None


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _origin(name: str, distribution: importlib.metadata.Distribution) -> Pin | Local:
    """A pin, or a part that ships as source."""
    url = distributions.direct_url(distribution) or {}
    place = distributions.origin_folder(distribution)  # conda's packages name the folder they were built in, elsewhere
    if place is not None and url.get("dir_info", {}).get("editable", False):
        return Local(name, folder=place.resolve())
    if place is not None or "vcs_info" in url:
        return Local(name)
    if "archive_info" in url and str(url["url"]).startswith("http"):
        return Pin(name, distribution.version, url=str(url["url"]))
    return Pin(name, _public(distribution.version))


def _public(version: str) -> str:
    """A version without the part that names a build for this machine, such as `+cpu`, which no index has."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version


def _names(project: Path) -> list[str]:
    said = declaration(project)
    name = said.get("project", {}).get("name") or said.get("tool", {}).get("poetry", {}).get("name")
    return [str(name)] if name else []


def _is_project(distribution: importlib.metadata.Distribution, project: Path) -> bool:
    place = distributions.origin_folder(distribution)
    return place is not None and place.resolve() == project.resolve()


def _all_but_tools(project: Path) -> list[str]:
    """Whatever is installed and nothing else asks for, without tools."""
    found = {
        canonicalize_name(name): one for one in importlib.metadata.distributions() if (name := one.metadata["Name"])
    }
    asked_for = {canonicalize_name(one.name) for each in found.values() for one in distributions.requires(each)}
    left = {*map(canonicalize_name, (*_PRUNED, *_names(project))), *_TOOLS}
    return [name for name in found if name not in asked_for | left and not name.startswith(_TOOLS_BEGIN)]
