"""A job's config as columns of the table."""

from __future__ import annotations

import enum
import functools
import pickle
from collections.abc import Callable, Collection, Mapping
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf, ValueNode
from omegaconf.errors import OmegaConfBaseException

from mini import fallbacks
from mini.launcher import nodes
from mini.launcher.fast.yaml import SCALARS
from mini.runs import masking
from mini.runs.values import flatten

_NOT_CONFIG = ("hydra",)  # says nothing of what was computed


def config_columns(
    config: DictConfig, template: bytes | None = None, changed_keys: Collection[str] = ()
) -> dict[str, Any]:
    """Give a task's config as columns `config.…` to be written down: as `config_values`, and secrets are masked."""
    return masking.mask_columns(config_values(config, template, changed_keys))


def config_values(
    config: DictConfig, template: bytes | None = None, changed_keys: Collection[str] = ()
) -> dict[str, Any]:
    """Give a task's config as columns `config.…`, resolved.

    A part that cannot be resolved stays as it is written, and so does a value that comes from the environment: that is
    how one keeps a secret out of files.

    Args:
        config: The job's.
        template: What it was composed from, if it was; the parts that are the same in all such configs are looked at
            once.
        changed_keys: The keys at the top that are not as in the template.
    """
    fixed = _fixed(template) if template is not None else {}
    columns: dict[str, Any] = {}
    with nodes.environment_reads() as has_read:
        for key in config:
            if key in _NOT_CONFIG:
                continue
            unchanged = fixed.get(key) if key not in changed_keys else None
            columns.update(unchanged if unchanged is not None else _columns(config, str(key), has_read))
    return columns


@functools.lru_cache(maxsize=256)
def _fixed(template: bytes) -> Mapping[Any, dict[str, Any]]:
    config: DictConfig = pickle.loads(template)
    return {
        key: flatten({key: _plain(config, str(key), resolve=True)}, "config.")
        for key in config
        if key not in _NOT_CONFIG and nodes.is_fixed(nodes.child(config, key))
    }


def _columns(config: DictConfig, key: str, has_read: Callable[[], bool]) -> dict[str, Any]:
    try:
        columns = flatten({key: _plain(config, key, resolve=True)}, "config.")
        if has_read():
            return flatten({key: _without_environment(nodes.child(config, key), has_read)}, "config.")
        return columns
    except OmegaConfBaseException:
        has_read()
        return flatten({key: _plain(config, key, resolve=False)}, "config.")


def _without_environment(node: Any, has_read: Callable[[], bool]) -> Any:
    """The plain value of a node, in which what reads the environment stays as it is written."""
    if nodes.is_interpolation(node):
        target = nodes.dereference(node)
        if has_read():
            return nodes.value_of(node)
        return _without_environment(target, has_read)
    if isinstance(node, Container) and nodes.has_content(node):
        inside = nodes.content(node)
        if isinstance(inside, dict):
            return {key: _without_environment(part, has_read) for key, part in inside.items()}
        return [_without_environment(part, has_read) for part in inside]
    if isinstance(node, Container):
        return nodes.value_of(node)
    value = nodes.value_of(node)
    return value.name if isinstance(value, enum.Enum) else value


def _plain(config: DictConfig, key: str, *, resolve: bool) -> Any:
    node = nodes.child(config, key)
    if resolve and isinstance(node, ValueNode) and nodes.is_interpolation(node):
        node = nodes.dereference(node)
    if isinstance(node, Container):
        return OmegaConf.to_container(node, resolve=resolve, enum_to_str=True)
    if isinstance(node, ValueNode) and type(value := nodes.value_of(node)) in SCALARS:
        return value
    fallbacks.note("columns", "a value of an unusual type")
    return OmegaConf.to_container(OmegaConf.masked_copy(config, key), resolve=resolve, enum_to_str=True)[key]  # type: ignore[index,call-overload]
