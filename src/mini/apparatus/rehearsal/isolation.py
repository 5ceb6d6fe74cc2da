"""An environment with just what a container would have, for the rehearsal: made by uv, kept by its content."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

from mini.apparatus.modal.image.plan import Plan
from mini.apparatus.modal.image.requirements import CUDA, pylock
from mini.errors import ImageError
from mini.project import cache_folder


def packages(plan: Plan, project: Path) -> Path:
    """The folder with the packages of a plan, without the group `cuda`; made if it is not there.

    Args:
        plan: Of the image.
        project: The folder with `uv.lock`.

    Raises:
        ImageError: uv cannot install them; with what it says.
    """
    spec = plan.spec
    pins = pylock(project, (*spec.exclude_groups, CUDA), plan.requirements.local)
    text = repr((plan.python, sys.platform, platform.machine(), pins, spec.pip))
    target = cache_folder("environments") / blake2b(text.encode(), digest_size=8).hexdigest()
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        made = Path(temporary, "packages")
        made.mkdir()
        lock = Path(temporary, "pylock.toml")
        lock.write_text(pins)
        _install(project, made, "--requirements", str(lock))
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
