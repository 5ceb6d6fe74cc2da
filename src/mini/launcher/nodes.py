"""Reading and moving the nodes of a config, which OmegaConf has no public way for.

Checked on the versions that `mini.launcher.supported` names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, ValueNode
from omegaconf._utils import _resolve_optional, split_key
from omegaconf.base import Node
from omegaconf.basecontainer import BaseContainer
from omegaconf.omegaconf import _node_wrap

__all__ = ["split_key"]


def child(config: Any, key: Any) -> Any:
    """The node under a key, an interpolation as it is; None if there is none."""
    return config._get_node(key)


def descend(config: Any, *keys: str) -> Any:
    """The node some keys down, without the checks of an access, of which there are many for each job."""
    for key in keys:
        config = config.__dict__["_content"][key]
    return config


def content(container: Container) -> Any:
    """The nodes of a container: the dict or list that it holds, not a copy."""
    return container.__dict__["_content"]


def set_content(container: Container, nodes: Any) -> None:
    """Let a container hold another dict or list of nodes."""
    container.__dict__["_content"] = nodes


def set_parent(node: Node, parent: Any) -> None:
    """Say which container a node is in; None for none."""
    node._set_parent(parent)


def is_interpolation(node: Node) -> bool:
    """Whether a node is looked up elsewhere."""
    return node._is_interpolation()


def has_content(node: Node) -> bool:
    """Whether a container holds nodes, and is not null, missing or an interpolation."""
    return not (node._is_none() or node._is_missing() or node._is_interpolation())


def is_fixed(node: Any) -> bool:
    """Whether nothing in a part of a config is missing or looked up elsewhere."""
    if not isinstance(node, Node) or node._is_missing() or node._is_interpolation():
        return False
    if isinstance(node, Container) and not node._is_none():
        nodes = node.__dict__["_content"]
        return all(map(is_fixed, nodes.values() if isinstance(nodes, dict) else nodes))
    return True


def leads_through_interpolation(nodes: Mapping[Any, Any], key: str) -> bool:
    """Whether a value under a dotted key may be one that an interpolation on the way stands for.

    Args:
        nodes: The nodes of a config.
        key: As in an override.
    """
    first, *further = split_key(key)
    node = nodes.get(first)
    for name in further:
        if not isinstance(node, Node):  # there is nothing yet
            return False
        if node._is_interpolation():
            return True
        inner = node.__dict__.get("_content")
        while isinstance(inner, Node):  # a union's
            inner = inner.__dict__.get("_content")
        if isinstance(inner, list):
            inner = {str(i): element for start in (0, -len(inner)) for i, element in enumerate(inner, start)}
        node = inner.get(name) if isinstance(inner, dict) else None
    return False


def value_of(node: Node) -> Any:
    """The value of a leaf; of any node an interpolation as its text, a missing value, and null."""
    return node._value()


def dereference(node: Node) -> Any:
    """The node that an interpolation stands for."""
    return node._dereference_node()


def assign(node: ValueNode, value: Any) -> None:
    """Set a leaf's value, converted to its type, whether or not the config is read-only."""
    node._val = node.validate_and_convert(value)


def assign_list(target: ListConfig, values: Iterable[Any]) -> None:
    """Set the elements of a list, whether or not the config is read-only."""
    optional, kind = _resolve_optional(target._metadata.element_type)
    target.__dict__["_content"] = [
        _node_wrap(parent=target, is_optional=optional, value=value, key=i, ref_type=kind)
        for i, value in enumerate(values)
    ]


def resolver_cache(config: DictConfig) -> Any:
    """What resolvers with `use_cache` gave in this config."""
    return config._metadata.resolver_cache


def set_resolver_cache(config: DictConfig, cache: Any) -> None:
    """Let resolvers with `use_cache` give what they gave in another config."""
    config._metadata.resolver_cache = cache


@contextlib.contextmanager
def environment_reads() -> Iterator[Callable[[], bool]]:
    """Notice that a config reads the environment; yields what says whether it did since it was last asked."""
    original, reads = BaseContainer._resolvers["oc.env"], [False]

    def noticed(*args: Any, **kwargs: Any) -> Any:
        reads[0] = True
        return original(*args, **kwargs)

    def has_read() -> bool:
        found, reads[0] = reads[0], False
        return found

    BaseContainer._resolvers["oc.env"] = noticed
    try:
        yield has_read
    finally:
        BaseContainer._resolvers["oc.env"] = original
