"""`mini image`: the plan of an image for a person."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.groups import Image
from mini.apparatus.modal.image import source
from mini.apparatus.modal.image.installed import NOTE
from mini.apparatus.modal.image.plan import Plan, changes, plan, too_large
from mini.apparatus.modal.image.requirements import PROJECT
from mini.apparatus.options import parse
from mini.errors import RunFolderError, UsageError
from mini.project import SOURCE
from mini.runs import layout

_WIDTH = 100  # characters of a line


def show(
    root: Path, config: Path, overrides: Sequence[str], *, diff: str | None, as_json: bool, script: Path | None = None
) -> int:
    """Print the plan of the image that a command with these overrides would use.

    Args:
        root: The project.
        config: The application's primary config; the packaged groups alone where there is none.
        overrides: As on the application's command line.
        diff: A run folder, or its name under `outputs/`; print only what changed since.
        as_json: Print JSON.
        script: What the application is started with; its neighbours ship too.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: The config does not compose, something about the image is wrong, or there is no such run.
    """
    wanted = parse(Image, _compose(config, overrides) or {}, "image")
    if script is not None and not script.is_file():
        raise UsageError(f"--script: {script} is not there")
    made = plan(wanted, root, launch=source.launch(root, script), counts=diff is None)
    if diff is not None:
        before = _image_of(root, diff)
        lines = changes(before, made)
        print("\n".join(lines) if lines else f"the image is the one of {diff}: {made.key}")
    elif as_json:
        print(
            json.dumps(
                {
                    **made.as_json(),
                    "locked": made.requirements.locked,
                    "groups": dict(made.requirements.groups),
                    "shipped": _shipped(made),
                    "left_out": [{"path": str(one.path), "why": one.why} for one in made.source.left_out],
                }
            )
        )
    else:
        _print(made, root)
    return 0


def _compose(config: Path, overrides: Sequence[str]) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder, name = (config.parent, config.stem) if config.exists() else (SOURCE / "mini", "mini")
    try:
        with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
            composed = compose(name, [*overrides, "hydra.mode=MULTIRUN"], return_hydra_config=True)
            node = OmegaConf.select(composed, "hydra.launcher.image")
            return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(str(error)) from error


def _image_of(root: Path, run: str) -> Any:
    folder = next((path for path in (Path(run), root / "outputs" / run) if (path / layout.RUN).exists()), None)
    if folder is None:
        raise RunFolderError(f"there is no run {run}: neither here nor under {root / 'outputs'}")
    images = json.loads((folder / layout.RUN).read_text()).get("images") or []
    if not images:
        raise RunFolderError(f"the run {run} used no image; it ran on this machine")
    return images[0]


def _shipped(made: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "remote": part.remote,
            "bytes": part.size,
            "files": {
                file.relative_to(part.path if part.path.is_dir() else part.path.parent).as_posix(): file.stat().st_size
                for file in part.files
            },
        }
        for part in made.source.shipped
    ]


def _print(made: Plan, root: Path) -> None:
    print(f"image {made.key}, Python {made.python}\n")
    for layer in made.layers:
        lines = [line.split(" --hash")[0] for line in layer.lines]
        if layer.kind == "pins":  # dozens of them
            lines = [lines[0], *_wrapped(lines[1:])]
        for kind, line in zip([layer.kind, *[""] * len(lines)], lines, strict=False):
            print(f"{kind:8} {line}")
    _print_groups(made)
    files = sum(len(part.files) for part in made.source.shipped)
    size = sum(part.size for part in made.source.shipped)
    print(f"\nlaid over it, without a build: {files} files, {size / 1024:.1f} KiB")
    for part in _shipped(made):
        print(f"  {part['remote']:40} {len(part['files']):5} files {part['bytes'] / 1024:10.1f} KiB")
        for name, bytes_ in part["files"].items() if list(part["files"]) != [part["name"]] else ():
            print(f"    {name:50} {bytes_ / 1024:10.1f} KiB")
    if made.source.left_out:
        print("\nleft out:")
    for why in dict.fromkeys(one.why for one in made.source.left_out):
        print(f"  {why}:")
        names = [os.path.relpath(one.path, root) for one in made.source.left_out if one.why == why]
        for line in _wrapped(names):
            print(f"    {line}")
    large = too_large(made)
    if large:
        print(f"\nwarning: {large}; a run asks about that")


def _print_groups(made: Plan) -> None:
    requirements = made.requirements
    if not requirements.locked:
        print(f"\n{len(requirements.pins)} pins; {NOTE}")
        return
    print(f"\n{len(requirements.pins)} pins of uv.lock:")
    for name in sorted(requirements.groups, key=lambda group: (group != PROJECT, group)):
        print(f"  {requirements.groups[name]:4} {name if name == PROJECT else f'group {name}'}")
    print(f"  without the groups {', '.join(made.spec.exclude_groups) or '(none)'}; a pin may be in several")


def _wrapped(names: Sequence[str]) -> list[str]:
    return textwrap.wrap(", ".join(names), _WIDTH, break_on_hyphens=False, break_long_words=False)
