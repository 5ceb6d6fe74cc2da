"""`OmegaConf.to_yaml`, byte for byte, and quicker: by libyaml where it writes the same, and only what differs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml
from omegaconf import Container, DictConfig, OmegaConf, ValueNode
from omegaconf._utils import get_omega_conf_dumper

# What is not the same in all jobs of a template, by the part of Hydra's config it is in.
_DIFFERS = {
    "job": frozenset({"id", "num", "override_dirname"}),
    "overrides": frozenset({"task"}),
    "runtime": frozenset({"output_dir"}),
    "sweep": frozenset({"dir"}),
}
SCALARS = (type(None), bool, int, float, str)
_PLAIN = re.compile(r"[!-~]*|[ -~]{0,30}")  # text that no emitter folds or escapes in a way of its own
_ENTRY = re.compile(r"^ {4}(?![ -])", re.MULTILINE)
_written: dict[tuple[Hashable, Any, Any], str] = {}


def to_yaml(config: DictConfig, template: Hashable | None = None) -> str:
    """As `OmegaConf.to_yaml`.

    Args:
        config: What to write.
        template: Where `config` is Hydra's part of one: what of it does not differ between jobs of the same template is
            written out once.
    """
    node = config._get_node("hydra") if template is not None else None
    if not isinstance(node, DictConfig):
        return _dump(OmegaConf.to_container(config, resolve=False, enum_to_str=True))
    own = _own_entries(node)
    return "".join(itertools.chain(["hydra:\n"], *(_part(node, str(key), template, own) for key in node)))


def _own_entries(node: DictConfig) -> dict[tuple[str, str], str]:
    """What differs between jobs, an entry each, written at once; empty if it is not as simple as that."""
    values = {}
    for part, names in _DIFFERS.items():
        inner = node._get_node(part)
        if isinstance(inner, DictConfig) and _is_there(inner):
            for name in names:
                if inner._get_node(name) is not None:
                    values[part, name] = _unresolved(inner, name)
    if not _is_plain(list(values.values())):
        return {}
    text = _dump({"hydra": {"own": {f"{part}.{name}": value for (part, name), value in values.items()}}})
    entries = _ENTRY.split(text)[1:]
    return {key: f"    {entry.removeprefix(key[0] + '.')}" for key, entry in zip(values, entries, strict=True)}


def _part(node: DictConfig, key: str, template: Hashable, own: dict[tuple[str, str], str]) -> Iterator[str]:
    inner = node._get_node(key)
    differs = _DIFFERS.get(key)
    if differs is None:
        yield _once((template, key, None), node, key)
    elif not own or not isinstance(inner, DictConfig) or not _is_there(inner) or not inner:
        yield _dump({"hydra": {key: _unresolved(node, key)}}).removeprefix("hydra:\n")
    else:
        yield f"  {key}:\n"
        for name in inner:
            yield own[key, str(name)] if name in differs else _once((template, key, name), inner, str(name), key)


def _once(known: tuple[Hashable, Any, Any], node: DictConfig, key: str, *above: str) -> str:
    if known not in _written:
        value: Any = {key: _unresolved(node, key)}
        for name in above:
            value = {name: value}
        text = _dump({"hydra": value}).removeprefix("hydra:\n")
        _written[known] = text.split("\n", 1)[1] if above else text
    return _written[known]


def _is_there(node: Container) -> bool:
    return not (node._is_none() or node._is_missing() or node._is_interpolation())


def _unresolved(config: DictConfig, key: str) -> Any:
    node = config._get_node(key)
    if isinstance(node, Container):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    if isinstance(node, ValueNode) and type(node._value()) in SCALARS:
        return node._value()
    alone = OmegaConf.to_container(OmegaConf.masked_copy(config, key), resolve=False, enum_to_str=True)
    return alone[key]  # type: ignore[index,call-overload]


def _dump(container: Any) -> str:
    dumper = _Fast if _Fast is not None and _is_plain(container) else get_omega_conf_dumper()
    text: str = yaml.dump(container, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
    return text


def _is_plain(value: Any) -> bool:
    """Whether libyaml writes a value as PyYAML does."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and 0 < len(key) < 60 for key in value) and all(
            _is_plain(part) for pair in value.items() for part in pair
        )
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, str) or _PLAIN.fullmatch(value) is not None


def _fast_dumper() -> Any:
    stock = get_omega_conf_dumper()
    if not hasattr(yaml, "CDumper"):
        return None

    class Dumper(yaml.CDumper):  # type: ignore[misc]
        yaml_representers = stock.yaml_representers
        yaml_multi_representers = stock.yaml_multi_representers

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper


_Fast: Any = _fast_dumper()
