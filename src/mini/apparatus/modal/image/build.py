"""The `modal.Image` of a plan. Nothing is built before a job is about to start."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

from mini import distributions
from mini.apparatus.modal.image import installed, source
from mini.apparatus.modal.image.plan import UV, Plan, find_builder, install_options
from mini.apparatus.modal.image.requirements import Requirements, environment
from mini.apparatus.modal.image.source import Shipped
from mini.errors import UsageError
from mini.project import cache_folder


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
        image = _install(image, plan.requirements)
    if spec.pip:
        image = image.uv_pip_install(*spec.pip, uv_version=UV)
    if spec.run:
        image = image.run_commands(*spec.run)
    if spec.env:
        image = image.env(dict(spec.env))
    if spec.builder:
        image = find_builder(spec.builder)(image)
        if not isinstance(image, modal.Image):
            raise UsageError(
                f"image.builder={spec.builder} returned {type(image).__name__} and not a modal.Image; "
                "let it end with `return image`"
            )
    return _lay_over(image, plan.source.shipped)


def complete(image: Any, plan: Plan) -> Any:
    """A `modal.Image` of the user's own, with what jobs need beside what is in it: this package, and the source.

    What the project declares is not installed, since an image of one's own may have it in other versions. The needs of
    this package are, in the versions of the plan.

    Args:
        image: The image.
        plan: Of the image that would be made without it.
    """
    return _lay_over(_install(image, own_requirements(plan)), source.own().and_then(plan.source).shipped)


def own_requirements(plan: Plan) -> Requirements:
    """What an image of the user's own is given: the needs of this package.

    Args:
        plan: Of the image that would be made without it; its versions.
    """
    known = {pin.name: pin for pin in plan.requirements.pins}
    needs = distributions.needed(installed.own_needs(), markers=environment(plan.python))
    pins = [pin for name in needs if (pin := known.get(name) or installed.pin(name)) is not None]
    return Requirements(tuple(sorted(pins, key=str)), (), {}, whole=False)


def pins_file(requirements: Requirements) -> Path:
    """The pins as a requirements file, named after its content."""
    text = "".join(f"{pin.line}\n" for pin in requirements.pins)
    file = cache_folder("pins") / f"{blake2b(text.encode(), digest_size=8).hexdigest()}.txt"
    if not file.exists():
        file.write_text(text)
    return file


def _install(image: Any, requirements: Requirements) -> Any:
    """The image with some pins; hashes are checked where the lock has them."""
    alone = ["--no-deps"] if requirements.whole else []
    return image.uv_pip_install(
        requirements=[str(pins_file(requirements))],
        uv_version=UV,
        extra_options=" ".join([*alone, *install_options(requirements)]),
    )


def _lay_over(image: Any, parts: tuple[Shipped, ...]) -> Any:
    for part in parts:
        if part.path.is_dir():
            chosen = {file.relative_to(part.path) for file in part.files}
            image = image.add_local_dir(str(part.path), part.remote, ignore=_all_but(chosen))
        else:
            image = image.add_local_file(str(part.path), part.remote)
    return image


def _all_but(chosen: set[Path]) -> Any:
    return lambda path: Path(path) not in chosen
