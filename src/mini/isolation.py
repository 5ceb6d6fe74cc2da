"""An environment with just what a container would have, for the rehearsal: made by uv, kept by its content."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

from mini.errors import ImageError
from mini.image import Plan, pins_file
from mini.requirements import CUDA, uv_freeze
from mini.store import cache_folder


def packages(plan: Plan, project: Path) -> Path:
    """The folder with the packages of a plan, without the group `cuda`; made if it is not there.

    Args:
        plan: Of the image.
        project: The folder with `uv.lock`.

    Raises:
        ImageError: uv cannot install them; with what it says.
    """
    spec = plan.spec
    here = uv_freeze(project, (*spec.exclude_groups, CUDA), python=plan.python, check=False)
    text = repr((plan.python, sys.platform, here.pins, spec.pip))
    target = cache_folder("environments") / blake2b(text.encode(), digest_size=8).hexdigest()
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, "packages")
        made.mkdir()
        if here.pins:
            _install(project, made, "--no-deps", "--requirements", str(pins_file(here)))
        if spec.pip:
            _install(project, made, *spec.pip)
        if not target.is_dir():  # another run may have been quicker
            shutil.move(made, target)
    return target


def _install(project: Path, target: Path, *what: str) -> None:
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--color", "never", "--python", sys.executable, "--target", target, *what],
        cwd=project,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ImageError(
            f"the environment of the rehearsal could not be made; uv says:\n{done.stderr.strip()}\n"
            "apparatus.isolated=false uses the packages that are installed here"
        )
