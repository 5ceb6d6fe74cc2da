"""The plan of the image a container is built from: what goes into it. It needs neither Modal nor a network."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name

from mini import distributions
from mini import project as projects
from mini.apparatus.groups import Image
from mini.apparatus.modal.image import installed, source
from mini.apparatus.modal.image.requirements import Local, Requirements, environment, uv_freeze
from mini.apparatus.modal.image.source import Source
from mini.errors import UsageError
from mini.project import SOURCE
from mini.runs import masking

UV = "0.13.9"
"""The version of uv that installs the pins in the image. Another would be another layer."""

_MIB = 2**20
_ONE_FILE = 20  # a single file may have this part of image.max_upload


@dataclass(frozen=True)
class Layer:
    """One step of a build.

    Args:
        kind: `base`, `apt`, `pins`, `pip`, `run`, `env` or `builder`.
        lines: What it consists of.
    """

    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """What an image will be.

    Args:
        spec: What was asked for.
        python: The container's Python, such as `3.12`.
        layers: In the order they are built, which is the one that caches best.
        source: What is laid over them when a container starts, without a build.
        requirements: Where the layer `pins` comes from.
    """

    spec: Image
    python: str
    layers: tuple[Layer, ...]
    source: Source
    requirements: Requirements

    @cached_property
    def key(self) -> str:
        """Of the layers: what is equal is built once. Source has no part in it."""
        return blake2b(repr(self.layers).encode(), digest_size=8).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """As `run.json` keeps it: what variables are set to may be secret, and is left out."""
        shown = {
            layer.kind: [masking.mask_variable(line) for line in layer.lines]
            if layer.kind == "env"
            else list(layer.lines)
            for layer in self.layers
        }
        return {"key": self.key, "layers": [{"kind": kind, "lines": lines} for kind, lines in shown.items()]}


def plan(spec: Image, project: Path, *, launch: source.Launch | None = None, counts: bool = False) -> Plan:
    """Find out what goes into an image.

    Args:
        spec: The group `image`.
        project: The project's folder.
        launch: What the application is started from; None for what this process is.
        counts: Whether to count the pins of each dependency group, where there is a lock.

    Raises:
        UsageError: Something is missing or does not fit; says what to run.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if spec.python is not None and spec.python != here:
        raise UsageError(
            f"image.python={spec.python} is not the Python that runs here, {here}: functions travel as its bytecode; "
            f"run with it (`uv run --python {spec.python} …`), or leave image.python out"
        )
    requirements = find_requirements(spec, project, python=here, counts=counts)
    builder = find_builder(spec.builder) if spec.builder else None
    steps = (
        ("base", [f"{spec.base} with Python {here}" if spec.base else f"debian_slim, Python {here}"]),
        ("apt", spec.apt),
        ("pins", [f"uv {UV}", *install_options(requirements), *(pin.line for pin in requirements.pins)]),
        ("pip", spec.pip),
        ("run", spec.run),
        ("env", [f"{name}={value}" for name, value in spec.env]),
        ("builder", [f"{spec.builder}", *_text(builder)] if builder else []),
    )
    layers = tuple(Layer(kind, tuple(lines)) for kind, lines in steps if lines)
    found = _source(spec, project, source.launch(project) if launch is None else launch, requirements)
    return Plan(spec, here, layers, found, requirements)


def find_requirements(spec: Image, project: Path, *, python: str, counts: bool = False) -> Requirements:
    """The versions a container gets: those of `uv.lock`, else those that are installed here.

    Args:
        spec: The group `image`.
        project: The project's folder.
        python: The container's Python, such as `3.12`.
        counts: As for `plan`.

    Raises:
        UsageError: As `uv_freeze` and `installed.freeze`.
    """
    if projects.lock(project) is None:
        return installed.freeze(project, spec.exclude_groups, python=python)
    found = uv_freeze(project, spec.exclude_groups, python=python, counts=counts)
    there = {*(pin.name for pin in found.pins), *(local.name for local in found.local), projects.name(project)}
    if distributions.OWN in there:
        return found
    # This package is installed beside what the project declares, and so is what it needs.
    needs = distributions.needed(installed.own_needs(), markers=environment(python))
    own = [pin for name in needs if name not in there and (pin := installed.pin(name)) is not None]
    return replace(found, pins=tuple(sorted([*found.pins, *own], key=str)))


def install_options(requirements: Requirements) -> list[str]:
    """Options for the indexes that are not the default one."""
    others = sorted({*requirements.indexes, *(pin.index for pin in requirements.pins if pin.index)})
    return [
        *(f"--extra-index-url {url}" for url in others),
        *(["--index-strategy unsafe-best-match"] if others else []),
    ]


def too_large(plan: Plan) -> str | None:
    """What is so large that it is probably shipped by mistake; None where nothing is.

    More than `image.max_upload` MiB in all, or a twentieth of it in one file.
    """
    limit = plan.spec.max_upload
    if limit is None:
        return None
    sizes = {file: file.stat().st_size for part in plan.source.shipped for file in part.files}
    large = [file for file, size in sizes.items() if size > limit * _MIB / _ONE_FILE]
    if large:
        names = ", ".join(f"{file} ({sizes[file] / _MIB:.0f} MiB)" for file in large[:5])
        return f"{names} would be shipped to every container"
    total = sum(sizes.values())
    if total > limit * _MIB:
        return f"{total / _MIB:.0f} MiB in {len(sizes)} files would be shipped to every container"
    return None


def changes(before: Mapping[str, Any], now: Plan) -> list[str]:
    """What is different, layer by layer.

    Args:
        before: As `Plan.as_json` made it.
        now: The plan.

    Returns:
        Lines such as `pins  + polars==1.41.0`; hashes are not shown. Empty where nothing is.
    """
    old = {layer["kind"]: layer["lines"] for layer in before["layers"]}
    new = {layer["kind"]: layer["lines"] for layer in now.as_json()["layers"]}
    lines = []
    for kind in dict.fromkeys([*old, *new]):
        gone = [line for line in old.get(kind, []) if line not in new.get(kind, [])]
        come = [line for line in new.get(kind, []) if line not in old.get(kind, [])]
        lines += [f"{kind:8} - {line.split(' --hash')[0]}" for line in gone]
        lines += [f"{kind:8} + {line.split(' --hash')[0]}" for line in come]
    return lines


def _source(spec: Image, project: Path, launch: source.Launch, requirements: Requirements) -> Source:
    """All that is laid over the layers."""
    found = source.find(project, spec.source, launch)
    for local in requirements.local:
        if canonicalize_name(local.name) != distributions.OWN:  # whose folder has more than the distribution
            found = found.and_then(_dependency(local))
    is_pinned = distributions.OWN in {pin.name for pin in requirements.pins}
    if not is_pinned and (project / "src").resolve() != SOURCE.resolve():
        found = found.and_then(source.own())
    for name, target in spec.files:
        path = (project / name).resolve()
        if not path.exists():
            raise UsageError(f"image.files: {name} is not there (looked for {path}); correct the path")
        if not PurePosixPath(target).is_absolute():
            raise UsageError(f"image.files: {target!r}, where {name} shall be, is no absolute path; begin it with /")
        found = found.and_then(source.extra(path, name, target))
    return found


def _dependency(local: Local) -> Source:
    """A path, workspace or git dependency, as source."""
    if local.folder is not None:
        found = source.packages(local.folder)
        if not found.shipped:
            raise UsageError(
                f"the dependency {local.name} in {local.folder} has no package under src/ nor beside its "
                "pyproject.toml, and cannot be shipped as source; publish it, or let image.exclude_groups leave it out"
            )
        return found
    distribution = distributions.find(local.name)
    if distribution is None or (local.commit is not None and distributions.commit(distribution) != local.commit):
        what = f"git dependency {local.name}" if local.commit else f"dependency {local.name}, a file here,"
        which = f"commit {local.commit} is not" if local.commit else "it is not"
        raise UsageError(f"the {what} is shipped as it is installed here, and {which}; run `uv sync`")
    return Source(tuple(source.as_installed(name, path) for name, path in distributions.roots(distribution)))


def find_builder(dotted: str) -> Callable[[Any], Any]:
    """The function that `image.builder` names.

    Args:
        dotted: `package.module.function`.

    Raises:
        UsageError: It cannot be imported, or is no function.
    """
    module, _, name = dotted.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"image.builder={dotted} cannot be imported ({error}); it names a function from image to image"
        ) from error
    if not callable(found):
        raise UsageError(f"image.builder={dotted} is a {type(found).__name__} and not a function from image to image")
    return found  # type: ignore[no-any-return]


def _text(function: Callable[..., Any] | None) -> list[str]:
    try:
        return inspect.getsource(function).splitlines() if function else []
    except (OSError, TypeError):
        return []
