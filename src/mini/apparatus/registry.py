"""Engines by name, found through the entry point `mini.apparatus` and loaded when they are asked for.

A distribution adds an engine with

    [project.entry-points."mini.apparatus"]
    NAME = "package.module:PLUGIN"

where `PLUGIN` is a `mini.apparatus.plugin.Plugin` whose `kind` is `NAME`.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from mini.apparatus.options import fields
from mini.apparatus.plugin import Plugin
from mini.errors import OptionError, UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mini.apparatus"
"""The entry point."""

OWN = ("debug", "local", "modal", "ray", "rehearsal", "slurm")
"""The engines of this package. They are entry points too, but to look through what is installed takes 20 ms, which each
start of a Hydra application would pay; and in a container this package has no metadata."""


def kinds() -> list[str]:
    """The names of all engines, sorted."""
    return sorted({*OWN, *_others()})


@functools.cache
def find(kind: str) -> Plugin:
    """An engine by its name.

    Raises:
        OptionError: There is none of that name; the message has the names there are.
        UsageError: It cannot be loaded, or is not an engine of that name.
    """
    if kind in OWN:
        loaded = importlib.import_module(f"mini.apparatus.{kind}.plugin").PLUGIN
    elif kind in _others():
        loaded = _load(_others()[kind])
    else:
        raise OptionError(f"apparatus.kind={kind!r} is unknown; {did_you_mean(kind, kinds())}")
    if not isinstance(loaded, Plugin) or loaded.kind != kind:
        raise UsageError(
            f"the entry point {GROUP}:{kind} is {loaded!r}, and must be a mini.apparatus.plugin.Plugin "
            f"with kind={kind!r}"
        )
    return loaded


def identity(kind: str, name: str, options: Any) -> tuple[object, ...]:
    """What one apparatus can serve: jobs for which this is equal share its workers, connection and volume.

    Args:
        kind: The engine.
        name: Of the apparatus.
        options: An instance of the engine's options.
    """
    shared = [getattr(options, one.name) for one in fields(type(options)).values() if one.shared]
    return (kind, name, *shared)


def _load(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise UsageError(
            f"the engine {entry.name!r} of {entry.dist.name if entry.dist else entry.value} cannot be loaded "
            f"({type(error).__name__}: {error}); update or uninstall that distribution"
        ) from error


@functools.cache
def _others() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in OWN}
