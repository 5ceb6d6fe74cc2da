"""The image a container is built from: what goes into it, as a plan that can be shown, and the `modal.Image` of a plan.

The plan needs neither Modal nor a network. Nothing is built before a job is about to start.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from mini import distributions
from mini.apparatus.groups import Image
from mini.apparatus.modal.container import ROOT
from mini.apparatus.modal.image.requirements import Local, Requirements, uv_freeze
from mini.errors import UsageError
from mini.project import SOURCE, cache_folder

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


@dataclass(frozen=True)
class Shipped:
    """Files that are laid into the container when it starts, without a build.

    Args:
        name: What they are: a package, or a path of `image.files`.
        path: The file or folder here.
        remote: Where it is there.
    """

    name: str
    path: Path
    remote: str

    def files(self) -> list[Path]:
        """What is shipped, file by file."""
        return [self.path] if self.path.is_file() else list(distributions.files(self.path))

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(file.stat().st_size for file in self.files())


@dataclass(frozen=True, eq=False)
class Plan:
    """What an image will be.

    Args:
        spec: What was asked for.
        python: The container's Python, such as `3.12`.
        layers: In the order they are built, which is the one that caches best.
        shipped: What is laid over them.
        requirements: Where the layer `pins` comes from.
    """

    spec: Image
    python: str
    layers: tuple[Layer, ...]
    shipped: tuple[Shipped, ...]
    requirements: Requirements

    @cached_property
    def key(self) -> str:
        """Of the layers: what is equal is built once. Source has no part in it."""
        return blake2b(repr(self.layers).encode(), digest_size=8).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """As `run.json` keeps it."""
        return {"key": self.key, "layers": [{"kind": layer.kind, "lines": list(layer.lines)} for layer in self.layers]}


def plan(spec: Image, project: Path, *, counts: bool = False) -> Plan:
    """Find out what goes into an image.

    Args:
        spec: The group `image`.
        project: The folder with `pyproject.toml`, `uv.lock` and `src/`.
        counts: Whether to count the pins of each dependency group.

    Raises:
        UsageError: Something is missing or does not fit; says what to run.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if spec.python is not None and spec.python != here:
        raise UsageError(
            f"image.python={spec.python} is not the Python that runs here, {here}: functions travel as its bytecode; "
            f"run with it (`uv run --python {spec.python} …`), or leave image.python out"
        )
    requirements = uv_freeze(project, spec.exclude_groups, python=here, counts=counts)
    builder = _builder(spec.builder) if spec.builder else None
    steps = (
        ("base", [f"{spec.base} with Python {here}" if spec.base else f"debian_slim, Python {here}"]),
        ("apt", spec.apt),
        ("pins", [f"uv {UV}", *_indexes(requirements), *(pin.line for pin in requirements.pins)]),
        ("pip", spec.pip),
        ("run", spec.run),
        ("env", [f"{name}={value}" for name, value in spec.env]),
        ("builder", [f"{spec.builder}", *_source(builder)] if builder else []),
    )
    layers = tuple(Layer(kind, tuple(lines)) for kind, lines in steps if lines)
    return Plan(spec, here, layers, tuple(_shipped(spec, project, requirements)), requirements)


def make_image(plan: Plan) -> Any:
    """The `modal.Image` of a plan, not built.

    Raises:
        UsageError: The builder did not return an image.
    """
    import modal

    spec = plan.spec
    if spec.base:
        image = modal.Image.from_registry(spec.base, add_python=plan.python)
    else:
        image = modal.Image.debian_slim(python_version=plan.python)
    if spec.apt:
        image = image.apt_install(*spec.apt)
    if plan.requirements.pins:
        # Hashes are checked where the lock has them.
        image = image.uv_pip_install(
            requirements=[str(pins_file(plan.requirements))],
            uv_version=UV,
            extra_options=" ".join(["--no-deps", *_indexes(plan.requirements)]),
        )
    if spec.pip:
        image = image.uv_pip_install(*spec.pip, uv_version=UV)
    if spec.run:
        image = image.run_commands(*spec.run)
    if spec.env:
        image = image.env(dict(spec.env))
    if spec.builder:
        image = _builder(spec.builder)(image)
        if not isinstance(image, modal.Image):
            raise UsageError(
                f"image.builder={spec.builder} returned {type(image).__name__} and not a modal.Image; "
                "let it end with `return image`"
            )
    for part in plan.shipped:
        if part.path.is_dir():
            image = image.add_local_dir(str(part.path), part.remote, ignore=_is_left_out)
        else:
            image = image.add_local_file(str(part.path), part.remote)
    return image


def too_large(plan: Plan) -> str | None:
    """What is so large that it is probably shipped by mistake; None where nothing is.

    More than `image.max_upload` MiB in all, or a twentieth of it in one file.
    """
    limit = plan.spec.max_upload
    if limit is None:
        return None
    sizes = {file: file.stat().st_size for part in plan.shipped for file in part.files()}
    large = [file for file, size in sizes.items() if size > limit * _MIB / _ONE_FILE]
    if large:
        names = ", ".join(f"{file} ({sizes[file] / _MIB:.0f} MiB)" for file in large[:5])
        return f"{names} would be shipped to every container"
    total = sum(sizes.values())
    if total > limit * _MIB:
        return f"{total / _MIB:.0f} MiB in {len(sizes)} files would be shipped to every container"
    return None


def project_packages(project: Path) -> list[Path]:
    """The packages and modules under `src/`, found anew each time; namespace packages too.

    Raises:
        UsageError: One has a compiled part.
    """
    source = project / "src"
    found = []
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        is_package = path.is_dir() and path.name.isidentifier() and next(path.rglob("*.py"), None) is not None
        if is_package or path.suffix == ".py":
            _require_pure(path.name, distributions.files(path) if is_package else [path])
            found.append(path)
    return found


def pins_file(requirements: Requirements) -> Path:
    """The pins as a requirements file, named after its content."""
    text = "".join(f"{pin.line}\n" for pin in requirements.pins)
    file = cache_folder("pins") / f"{blake2b(text.encode(), digest_size=8).hexdigest()}.txt"
    if not file.exists():
        file.write_text(text)
    return file


def changes(before: Mapping[str, Any], now: Plan) -> list[str]:
    """What is different, layer by layer.

    Args:
        before: As `Plan.as_json` made it.
        now: The plan.

    Returns:
        Lines such as `pins  + polars==1.41.0`; hashes are not shown. Empty where nothing is.
    """
    old = {layer["kind"]: layer["lines"] for layer in before["layers"]}
    new = {layer.kind: list(layer.lines) for layer in now.layers}
    lines = []
    for kind in dict.fromkeys([*old, *new]):
        gone = [line for line in old.get(kind, []) if line not in new.get(kind, [])]
        come = [line for line in new.get(kind, []) if line not in old.get(kind, [])]
        lines += [f"{kind:8} - {line.split(' --hash')[0]}" for line in gone]
        lines += [f"{kind:8} + {line.split(' --hash')[0]}" for line in come]
    return lines


def _shipped(spec: Image, project: Path, requirements: Requirements) -> Iterator[Shipped]:
    for path in project_packages(project):
        yield Shipped(path.name, path, f"{ROOT}/{path.name}")
    for local in requirements.local:
        yield from _dependency(local)
    yield from _own(project, requirements)
    for source, target in spec.files:
        path = (project / source).resolve()
        if not path.exists():
            raise UsageError(f"image.files: {source} is not there (looked for {path}); correct the path")
        if not PurePosixPath(target).is_absolute():
            raise UsageError(f"image.files: {target!r}, where {source} shall be, is no absolute path; begin it with /")
        yield Shipped(source, path, target)


def _dependency(local: Local) -> Iterator[Shipped]:
    """A path, workspace or git dependency, as source."""
    if local.folder is not None:
        packages = project_packages(local.folder) or _flat_packages(local)
        if not packages:
            raise UsageError(
                f"the dependency {local.name} in {local.folder} has no package under src/ nor one of its own name, and "
                "cannot be shipped as source; publish it, or let image.exclude_groups leave it out"
            )
        for path in packages:
            yield Shipped(path.name, path, f"{ROOT}/{path.name}")
        return
    distribution = distributions.find(local.name)
    if distribution is None or distributions.commit(distribution) != local.commit:
        raise UsageError(
            f"the git dependency {local.name} is shipped as it is installed here, and commit {local.commit} is not; "
            "run `uv sync`"
        )
    for name, path in distributions.roots(distribution):
        _require_pure(local.name, [path] if path.is_file() else distributions.files(path))
        yield Shipped(name, path, f"{ROOT}/{name}")


def _flat_packages(local: Local) -> list[Path]:
    assert local.folder is not None
    name = local.name.replace("-", "_")
    candidates = [local.folder / name, local.folder / f"{name}.py"]
    found = [path for path in candidates if path.is_file() or (path / "__init__.py").exists()]
    for path in found:
        _require_pure(local.name, [path] if path.is_file() else distributions.files(path))
    return found


def _own(project: Path, requirements: Requirements) -> Iterator[Shipped]:
    """This package itself, where the project neither is it nor depends on it."""
    source = SOURCE
    needed = {pin.name for pin in requirements.pins} | {local.name for local in requirements.local}
    if source != (project / "src").resolve() and "mini" not in needed:
        for name in ("mini", "hydra_plugins/mini_launcher"):
            yield Shipped(name, source / name, f"{ROOT}/{name}")


def _require_pure(name: str, files: Iterator[Path] | Sequence[Path]) -> None:
    for file in files:
        if file.suffix in distributions.COMPILED:
            raise UsageError(
                f"{name} has a compiled part, {file}, which was built for this machine and not for the container; "
                "build it there with image.run or image.builder, or publish it as a wheel and depend on that"
            )


def _indexes(requirements: Requirements) -> list[str]:
    """Options for the indexes that are not the default one."""
    others = sorted({pin.index for pin in requirements.pins if pin.index})
    return [
        *(f"--extra-index-url {url}" for url in others),
        *(["--index-strategy unsafe-best-match"] if others else []),
    ]


def _builder(dotted: str) -> Callable[[Any], Any]:
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


def _source(function: Callable[..., Any] | None) -> list[str]:
    try:
        return inspect.getsource(function).splitlines() if function else []
    except (OSError, TypeError):
        return []


def _is_left_out(path: Path) -> bool:
    return distributions.is_cache(path)
