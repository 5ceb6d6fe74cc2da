"""A job's config as columns of the table."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf, ValueNode
from omegaconf.errors import OmegaConfBaseException

from mini import fallbacks
from mini.launcher import nodes
from mini.launcher.fast.yaml import SCALARS
from mini.runs.values import flatten

_NOT_CONFIG = ("hydra",)  # says nothing of what was computed


def config_columns(
    config: DictConfig, template: bytes | None = None, changed_keys: Collection[str] = ()
) -> dict[str, Any]:
    """Give a task's config as columns `config.…`, resolved; a part that cannot be resolved stays as it is written.

    Args:
        config: The job's.
        template: What it was composed from, if it was; the parts that are the same in all such configs are looked at
            once.
        changed_keys: The keys at the top that are not as in the template.
    """
    fixed = _fixed(template) if template is not None else {}
    columns: dict[str, Any] = {}
    for key in config:
        if key in _NOT_CONFIG:
            continue
        unchanged = fixed.get(key) if key not in changed_keys else None
        columns.update(unchanged if unchanged is not None else _columns(config, str(key)))
    return columns


@functools.lru_cache(maxsize=256)
def _fixed(template: bytes) -> Mapping[Any, dict[str, Any]]:
    config: DictConfig = pickle.loads(template)
    return {
        key: _columns(config, str(key))
        for key in config
        if key not in _NOT_CONFIG and nodes.is_fixed(nodes.child(config, key))
    }


def _columns(config: DictConfig, key: str) -> dict[str, Any]:
    try:
        return flatten({key: _plain(config, key, resolve=True)}, "config.")
    except OmegaConfBaseException:
        return flatten({key: _plain(config, key, resolve=False)}, "config.")


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
