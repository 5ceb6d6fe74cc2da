"""What a container does not have of where its jobs are sent from, for the message of a job that misses it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from mini import distributions
from mini import project as projects
from mini.apparatus.modal.image.plan import Plan
from mini.apparatus.modal.image.source import NO_CODE

_MOST = 60  # files and folders that are named


def describe(plan: Plan, project: Path) -> str:
    """As JSON, for a variable of the container's environment.

    Args:
        plan: Of the image.
        project: The project's folder.
    """
    return json.dumps(
        {
            "name": projects.name(project),
            "project": str(project),
            "home": str(Path.home()),
            "modules": dict(_modules(plan, project)),
            "files": dict(list(_files(plan, project))[:_MOST]),
        }
    )


def _modules(plan: Plan, project: Path) -> Iterator[tuple[str, str]]:
    """The modules of groups that are left out, with the group."""
    pinned = {pin.name for pin in plan.requirements.pins} | {local.name for local in plan.requirements.local}
    groups: Mapping[str, Any] = projects.declaration(project).get("dependency-groups", {})
    for group in plan.spec.exclude_groups:
        names = [one for one in groups.get(group, ()) if isinstance(one, str)]
        for name, distribution in distributions.needed(names, prune=("modal", distributions.OWN)).items():
            if distribution is not None and name not in pinned:
                for module in _top(distribution):
                    yield module, group


def _top(distribution: Distribution) -> set[str]:
    """The names under which a distribution is imported."""
    found = set()
    for file in distribution.files or ():
        name = file.parts[0]
        module = name.split(".")[0]
        if module.isidentifier() and (len(file.parts) > 1 or name.endswith((".py", *distributions.COMPILED))):
            found.add(module)
    return found


def _files(plan: Plan, project: Path) -> Iterator[tuple[str, str]]:
    for one in plan.source.left_out:
        if not one.path.is_relative_to(project):
            continue
        below = one.path.relative_to(project).as_posix()
        there = below.removeprefix("src/")
        if one.why == NO_CODE and one.path.is_dir():
            yield (
                there,
                f"`{below}/` has no Python file and is not shipped; image.files={{{below}: /root/{there}}} ships it",
            )
        else:
            yield there, f"`{below}` is not shipped: {one.why.replace('image.source', 'image.files or image.source')}"
