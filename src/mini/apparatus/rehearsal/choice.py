"""How much of this machine the containers of a rehearsal see: what was asked for, and what can be had."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

from mini import distributions
from mini.apparatus.modal import extra
from mini.apparatus.modal.image.build import pins_file
from mini.apparatus.modal.image.plan import Plan
from mini.apparatus.modal.image.requirements import Requirements
from mini.apparatus.rehearsal import debian, trees
from mini.apparatus.rehearsal.isolation import packages
from mini.errors import ImageError
from mini.loopback.sandbox import Sandbox, problem
from mini.project import cache_folder


def isolation(asked: str | None) -> str:
    """The isolation that containers get.

    Args:
        asked: `sandbox`, `packages` or `none`; None for the first of them that can be had, which is said if it is not
            the first.

    Raises:
        ImageError: A sandbox was asked for, and cannot be had.
    """
    if asked not in (None, "sandbox"):
        return str(asked)
    why = problem()
    if asked == "sandbox":
        if why is not None:
            raise ImageError(f"apparatus.isolated=sandbox cannot be had: {why}; apparatus.isolated=packages can")
        debian.ensure()
        return "sandbox"
    why = why or debian.problem()
    if why is None:
        return "sandbox"
    say(
        "containers see the files, programs and network of this machine, and the image's layers apt and run are not "
        f"tried: {why}"
    )
    return "packages"


def sandbox(*, network: bool) -> Sandbox:
    """What containers in a sandbox are made of.

    Args:
        network: Whether they reach what this machine reaches.
    """
    uv = extra.uv()
    system = (debian.ensure(), trees.interpreter())
    return Sandbox(
        base=(*system, trees.linked(system), trees.client()),
        layers=cache_folder("layers"),
        network=network,
        uv=Path(uv) if uv is not None else None,
    )


def data(project: Path) -> Path:
    """The folder with what named secrets and volumes begin with; that git sees a secret there is said.

    Args:
        project: The project's folder.
    """
    folder = project / ".mini"
    secrets = sorted((folder / "secrets").glob("*.env"))
    if secrets and _git_sees(secrets[0]):
        say(f"{secrets[0].relative_to(project)} is not ignored by git: add `.mini/` to .gitignore")
    return folder


def digest(requirements: Requirements) -> str:
    """Of the file with the pins that is part of the image."""
    return hashlib.sha256(pins_file(requirements).read_bytes()).hexdigest()


def environment(plan: Plan, project: Path) -> Path:
    """The layer with the packages of a plan."""
    return trees.packages(packages(plan, project))


def own_environment(requirements: Requirements) -> Path:
    """The layer with what this package needs, as it is installed here, for an image of the user's own."""
    found = [distributions.find(pin.name) for pin in requirements.pins]
    return trees.copies(one for one in found if one is not None)


def _git_sees(file: Path) -> bool:
    """Whether a file is in a git repository that does not ignore it."""
    try:
        done = subprocess.run(
            ["git", "check-ignore", "-q", file.name], cwd=file.parent, capture_output=True, check=False
        )
    except OSError:  # no git
        return False
    return done.returncode == 1


@functools.cache
def say(text: str) -> None:
    """To the person at the terminal, once."""
    print(f"rehearsal: {text}", file=sys.stderr)
