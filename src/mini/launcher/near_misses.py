"""What may have been meant where an override names a key or a choice that the application does not have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

_KEY = re.compile(r"Could not (?:override|append|delete from config)[^']*'(?P<key>[^']+)'")
_FEW = 12  # names that are all listed

Compose = Callable[[Sequence[str]], Any]
"""Composes the application's config with some overrides."""


def explain(error: BaseException, overrides: Sequence[str], compose: Compose) -> str | None:
    """A mistake in an override in other words, with what is near it.

    Args:
        error: What Hydra raised.
        overrides: Those of the command.
        compose: For the keys that there are.

    Returns:
        None where nothing better is known than what the error says itself.
    """
    if isinstance(error, MissingConfigException):
        return _choice(error)
    found = _KEY.search(str(error))
    if found is None:
        return None
    key = found["key"].partition("@")[0]
    given = next((text for text in overrides if text.lstrip("+~").partition("=")[0] == key), None)
    keys = list(_keys(_config([text for text in overrides if text != given], compose)))
    if not keys or key in keys:
        return None
    add = "" if given is None or given[0] in "+~" else f"\nTo add a key that is not there, write +{given}"
    return f"there is no key {key!r} in the config; {_near(key, keys)}{add}"


def _near(key: str, keys: Sequence[str]) -> str:
    """Which keys are near, and what its parent has, if that is there."""
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.7)
    guess = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    parent = key.rpartition(".")[0]
    beside = [name for name in keys if name.rpartition(".")[0] == parent]
    if not beside:
        parent, beside = "", [name for name in keys if "." not in name]
    if len(beside) > _FEW:
        return guess or "`--cfg job` shows those there are"
    listed = ", ".join(sorted(name.rpartition(".")[2] for name in beside))
    return f"{guess}{' ' if guess else ''}{parent or 'the config'} has {listed}"


def _choice(error: MissingConfigException) -> str | None:
    if not error.options or not error.missing_cfg_file:
        return None
    group, _, name = error.missing_cfg_file.rpartition("/")
    near = difflib.get_close_matches(name, error.options, n=3)
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"there is no {group}={name}; {guess}Choices of {group}: {', '.join(error.options)}"


def _config(overrides: Sequence[str], compose: Compose) -> Any:
    """The config without what was wrong; if more is, as it is without overrides."""
    for some in (overrides, ()):
        try:
            return compose(list(some))
        except (HydraException, OmegaConfBaseException):
            continue
    return {}


def _keys(config: Any) -> Iterator[str]:
    """The dotted names of what a config has, but for Hydra's own."""
    plain = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config
    if isinstance(plain, Mapping):
        yield from _names({key: value for key, value in plain.items() if key != "hydra"}.items())


def _names(items: Iterable[tuple[Any, Any]], prefix: str = "") -> Iterator[str]:
    for key, value in items:
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _names(value.items(), f"{prefix}{key}.")
