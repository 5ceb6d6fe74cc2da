"""`OmegaConf.to_yaml`, byte for byte, and quicker: by libyaml where it writes the same, and only what differs."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml
from omegaconf import Container, DictConfig, OmegaConf, ValueNode

from mini import fallbacks
from mini.launcher import nodes, supported

# The entries of Hydra's config that are not the same in all jobs of a template, by the section they are in.
_OF_A_JOB = {
    "job": frozenset({"id", "num", "override_dirname"}),
    "overrides": frozenset({"task"}),
    "runtime": frozenset({"output_dir"}),
    "sweep": frozenset({"dir"}),
}
SCALARS = (type(None), bool, int, float, str)
_PLAIN = re.compile(r"[!-~]*|[ -~]{0,30}")  # text that no emitter folds or escapes in a way of its own
_ENTRY = re.compile(r"^ {4}(?![ -])", re.MULTILINE)
_texts: dict[tuple[Hashable, Any, Any], str] = {}


def to_yaml(config: Any, template: Hashable | None = None) -> str:
    """Write a config as `OmegaConf.to_yaml` does.

    Args:
        config: What to write.
        template: Where `config` is Hydra's part of one: what of it does not differ between jobs of the same template is
            written out once.
    """
    reason = supported.unchecked("yaml")
    if reason is not None:
        fallbacks.note("yaml", reason)
        return OmegaConf.to_yaml(config)
    node = nodes.child(config, "hydra") if template is not None else None
    if not isinstance(node, DictConfig):
        return _dump(OmegaConf.to_container(config, resolve=False, enum_to_str=True))
    entries = _entries_of_the_job(node)
    return "".join(itertools.chain(["hydra:\n"], *(_section(node, str(key), template, entries) for key in node)))


def _entries_of_the_job(node: DictConfig) -> dict[tuple[str, str], str]:
    """The text of what differs between jobs, written at once; empty if it is not as simple as that."""
    values = {}
    for section, names in _OF_A_JOB.items():
        inner = nodes.child(node, section)
        if isinstance(inner, DictConfig) and nodes.has_content(inner):
            for name in names:
                if nodes.child(inner, name) is not None:
                    values[section, name] = _unresolved(inner, name)
    if not _is_plain(list(values.values())):
        return {}
    text = _dump({"hydra": {"job": {f"{section}.{name}": value for (section, name), value in values.items()}}})
    entries = _ENTRY.split(text)[1:]
    return {key: f"    {entry.removeprefix(key[0] + '.')}" for key, entry in zip(values, entries, strict=True)}


def _section(
    node: DictConfig, key: str, template: Hashable | None, entries: dict[tuple[str, str], str]
) -> Iterator[str]:
    inner = nodes.child(node, key)
    of_a_job = _OF_A_JOB.get(key)
    if of_a_job is None:
        yield _written_once((template, key, None), node, key)
    elif not entries or not isinstance(inner, DictConfig) or not nodes.has_content(inner) or not inner:
        yield _dump({"hydra": {key: _unresolved(node, key)}}).removeprefix("hydra:\n")
    else:
        yield f"  {key}:\n"
        for name in inner:
            if name in of_a_job:
                yield entries[key, str(name)]
            else:
                yield _written_once((template, key, name), inner, str(name), key)


def _written_once(place: tuple[Hashable, Any, Any], node: DictConfig, key: str, *above: str) -> str:
    if place not in _texts:
        value: Any = {key: _unresolved(node, key)}
        for name in above:
            value = {name: value}
        text = _dump({"hydra": value}).removeprefix("hydra:\n")
        _texts[place] = text.split("\n", 1)[1] if above else text
    return _texts[place]


def _unresolved(config: DictConfig, key: str) -> Any:
    node = nodes.child(config, key)
    if isinstance(node, Container):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    if isinstance(node, ValueNode) and type(value := nodes.value_of(node)) in SCALARS:
        return value
    alone = OmegaConf.to_container(OmegaConf.masked_copy(config, key), resolve=False, enum_to_str=True)
    return alone[key]  # type: ignore[index,call-overload]


def _dump(container: Any) -> str:
    dumper = _libyaml_dumper()
    if dumper is None:
        fallbacks.note("yaml", "PyYAML without libyaml")
    elif not _is_plain(container):
        fallbacks.note("yaml", "text that libyaml writes in another way")
        dumper = None
    text: str = yaml.dump(
        container,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=dumper or supported.yaml_dumper(),
    )
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


@functools.cache
def _libyaml_dumper() -> Any:
    """OmegaConf's dumper, on libyaml; None where PyYAML was built without it."""
    stock = supported.yaml_dumper()
    if not hasattr(yaml, "CDumper"):
        return None

    class Dumper(yaml.CDumper):  # type: ignore[misc]
        yaml_representers = stock.yaml_representers
        yaml_multi_representers = stock.yaml_multi_representers

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper
