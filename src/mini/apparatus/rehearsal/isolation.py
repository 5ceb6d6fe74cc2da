"""An environment with just what a container would have, for the rehearsal: made by uv, kept by its content."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from hashlib import blake2b
from importlib.metadata import Distribution
from pathlib import Path

from mini import distributions
from mini.apparatus.modal import extra
from mini.apparatus.modal.image import installed
from mini.apparatus.modal.image.plan import Plan
from mini.apparatus.modal.image.requirements import CUDA, Pin, pylock
from mini.errors import ImageError
from mini.project import cache_folder


def packages(plan: Plan, project: Path) -> Path:
    """The folder with the packages of a plan, without the group `cuda`; made if it is not there.

    Those of `uv.lock` are installed by uv. Where there is no lock the versions are those that are installed here, and
    so are the files.

    Args:
        plan: Of the image.
        project: The project's folder.

    Raises:
        ImageError: uv cannot install them; with what it says.
    """
    spec = plan.spec
    excluded = (*spec.exclude_groups, CUDA)
    pins = pylock(project, excluded, plan.requirements.local) if plan.requirements.locked else None
    copied = _beside(plan, pins) if pins is not None else installed.needed(project, excluded)
    versions = sorted(f"{one.metadata['Name']} {one.version} {one.locate_file('')}" for one in copied)
    text = repr((plan.python, sys.platform, platform.machine(), pins, versions, spec.pip))
    target = cache_folder("environments") / blake2b(text.encode(), digest_size=8).hexdigest()
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, "packages")
        made.mkdir()
        if pins is not None:
            lock = Path(temporary, "pylock.toml")
            lock.write_text(pins)
            _install(project, made, "--requirements", str(lock))
        for distribution in copied:
            distributions.copy(distribution, made)
        if spec.pip:
            _install(project, made, *spec.pip)
        if not target.is_dir():  # another run may have been quicker
            shutil.move(made, target)
    return target


def _beside(plan: Plan, pins: str) -> list[Distribution]:
    """What the plan pins and the lock does not have: the needs of this package, where it is installed beside it."""
    locked = {package["name"] for package in tomllib.loads(pins).get("packages", ())}
    others: list[Pin] = [pin for pin in plan.requirements.pins if not pin.hashes and pin.name not in locked]
    return [found for pin in others if (found := distributions.find(pin.name)) is not None]


def _install(project: Path, target: Path, *what: str) -> None:
    program = extra.uv()
    if program is None:
        raise ImageError("uv, which makes the environment of a rehearsal, is not installed; run `pip install uv`")
    done = subprocess.run(
        [
            *(program, "pip", "install", "--quiet", "--color", "never"),
            *("--python", sys.executable, "--target", str(target), *what),
        ],
        cwd=project,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ImageError(
            f"the environment of the rehearsal could not be made; uv says:\n{done.stderr.strip()}\n"
            "apparatus.isolated=false uses the packages that are installed here"
        )
