"""Overrides and their text: parsed, as they were typed, and as columns of the table."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import ListConfig, OmegaConf

from mini.runs.values import flatten


@functools.lru_cache(maxsize=100_000)
def parse(line: str) -> Override:
    """Parse one override.

    Args:
        line: As typed, such as `model=large`.

    Returns:
        The override; it is cached, so it must not be changed.

    Raises:
        OverrideParseException: It is not an override.
    """
    (override,) = _parser().parse_overrides([line])
    return override


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def as_typed(overrides: ListConfig) -> list[str]:
    """The text of overrides that a config holds (`hydra.overrides.task`), each as the user typed it."""
    lines: Any = OmegaConf.to_container(overrides, resolve=False)  # `${…}` in them is the user's
    return [str(line) for line in lines]


def moved(lines: Iterable[str], engine: str, *, is_short: bool) -> list[str]:
    """A job's overrides with another engine, with its own options only.

    Args:
        lines: The overrides, as typed.
        engine: The engine.
        is_short: Whether `apparatus` is ours; else only the long forms are.
    """
    names = ("hydra.launcher.apparatus", "apparatus" if is_short else "mini/apparatus")
    keys = {line: parse(line).key_or_group for line in lines}
    kept = [line for line, key in keys.items() if not any(key == name or key.startswith(f"{name}.") for name in names)]
    return [*kept, f"{names[1]}={engine}"]


def columns(lines: Iterable[str]) -> dict[str, Any]:
    """A job's overrides as columns `overrides.…`.

    Args:
        lines: The overrides, as typed.

    Returns:
        The value of each as text, by its key with any `+` or `~`.

    Raises:
        OverrideParseException: One is not an override.
    """
    parsed = map(parse, lines)
    return flatten({o.get_key_element(): o.get_value_element_as_str() for o in parsed}, "overrides.")
