"""The image a container is built from: the versions installed here, and the project's own packages.

Nothing is built before a job is about to start.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mini.errors import UsageError
from mini.remote import ROOT
from mini.spec import Image

_LEFT_OUT = ("**/__pycache__/**", "**/*.pyc", "**/.DS_Store")


def make_image(spec: Image, project: Path) -> Any:
    """A `modal.Image` for a spec.

    Args:
        spec: The group `image`.
        project: The folder with `src/`.

    Returns:
        The image, not built. Layers in the order that caches best: base, apt, pins, environment, then source.

    Raises:
        UsageError: The image's Python is not the one that runs here, so that functions could not travel.
    """
    import modal

    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if spec.python is not None and spec.python != here:
        raise UsageError(
            f"image.python={spec.python} is not the Python that runs here, {here}: functions travel as its bytecode; "
            f"run with Python {spec.python}, or leave image.python out"
        )
    image = modal.Image.debian_slim(python_version=here)
    if spec.apt:
        image = image.apt_install(*spec.apt)
    image = image.uv_pip_install(*installed_pins(), *spec.pip)
    if spec.env:
        image = image.env(dict(spec.env))
    for package in [*project_packages(project), *_own_packages(project)]:
        remote = f"{ROOT}/{package.name}"
        if package.is_dir():
            image = image.add_local_dir(str(package), remote, ignore=list(_LEFT_OUT))
        else:
            image = image.add_local_file(str(package), remote)
    return image


def project_packages(project: Path) -> list[Path]:
    """The packages and modules under `src/`, found anew each time."""
    source = project / "src"
    found = []
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        is_package = path.is_dir() and path.name.isidentifier() and next(path.rglob("*.py"), None) is not None
        if is_package or path.suffix == ".py":
            found.append(path)
    return found


def _own_packages(project: Path) -> list[Path]:
    """This package, where it is neither the project's own nor an installed distribution's."""
    source = Path(__file__).parents[1]
    if source == project / "src" or source.name == "site-packages":
        return []
    return [source / "mini", source / "hydra_plugins"]


def installed_pins() -> list[str]:
    """The distributions installed here with their versions, but for this project itself and what Modal brings."""
    return sorted(set(_pins()))


def _pins() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        editable = "direct_url.json" in {str(file.name) for file in distribution.files or ()}
        if name and name.lower() != "modal" and not editable:
            yield f"{name}=={distribution.version}"
