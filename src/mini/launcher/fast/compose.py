"""Composing the configs of a sweep: once for each choice of groups, and then values set on a copy.

Hydra composes every job from its files, twice: its sweeper to validate it, the launcher to run it. Nearly all of that
is the same for every job. What comes out here equals what Hydra makes, or Hydra's own way is taken: for a job that
overrides Hydra's config, for a version of Hydra this was not checked against, and whenever anything is wrong, so that
errors are Hydra's.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import Container, DictConfig, ValueNode, open_dict
from omegaconf._utils import _resolve_optional
from omegaconf.base import Node
from omegaconf.omegaconf import _node_wrap

from mini.launcher.fast import grammar

_CHECKED = ("1.3.",)


def install(context: Any) -> None:
    """Let a Hydra context compose sweeps this way, sweeper and launcher alike. A second call does nothing."""
    grammar.remember()
    loader = context.config_loader
    if type(loader) is ConfigLoaderImpl and hydra.__version__.startswith(_CHECKED):
        context.config_loader = TemplateLoader(loader)


@dataclass(frozen=True)
class Recipe:
    """How the config of a job comes from a template.

    Args:
        groups: The overrides that choose groups; they name the template.
        values: The others.
        lines: All of them, as they were given.
    """

    groups: tuple[str, ...]
    values: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def touched(self) -> frozenset[str]:
        """The keys at the top of the config that values are set under."""
        return frozenset(re.split(r"[.\[]", parse(line).key_or_group, maxsplit=1)[0] for line in self.values)


@functools.lru_cache(maxsize=100_000)
def parse(line: str) -> Override:
    """An override; not to be changed, as it is kept."""
    (override,) = _parser().parse_overrides([line])
    return override


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def compose(template: bytes, recipe: Recipe) -> DictConfig:
    """The config of a job.

    Args:
        template: A pickled config with the same choice of groups.
        recipe: What is set on a copy.

    Raises:
        ConfigCompositionException: As Hydra's, for a value that cannot be set.
    """
    config: DictConfig = pickle.loads(template)
    set_values(config, recipe)
    return config


def set_job_number(config: DictConfig, number: int, sweep_dir: str | None = None) -> None:
    """Tell a config which job it is of.

    Args:
        config: The job's.
        number: The job's.
        sweep_dir: The run folder, where that is not the config's.
    """
    job = _inner(config, "hydra", "job")
    for name in ("id", "num"):
        node = job._get_node(name)
        if isinstance(node, ValueNode):
            node._val = node.validate_and_convert(number)
        else:
            with open_dict(config):
                job[name] = number
    if sweep_dir is not None:
        with open_dict(config):
            config.hydra.sweep.dir = sweep_dir


def set_values(config: DictConfig, recipe: Recipe) -> None:
    """Set a recipe's values on a template's config, and note them in Hydra's part.

    The nodes of Hydra's part are set directly: through the config that costs more than all the rest.

    Raises:
        ConfigCompositionException: As Hydra's, for a value that cannot be set.
    """
    ConfigLoaderImpl._apply_overrides_to_config([parse(line) for line in recipe.values], config)
    job, task = _inner(config, "hydra", "job"), _inner(config, "hydra", "overrides", "task")
    naming = _inner(job, "config", "override_dirname")
    dirname = config_loader_impl.get_overrides_dirname(
        overrides=[parse(line) for line in recipe.lines],
        kv_sep=naming.kv_sep,
        item_sep=naming.item_sep,
        exclude_keys=naming.exclude_keys,
    )
    node = job._get_node("override_dirname")
    node._val = node.validate_and_convert(dirname)
    optional, kind = _resolve_optional(task._metadata.element_type)
    task.__dict__["_content"] = [
        _node_wrap(parent=task, is_optional=optional, value=line, key=i, ref_type=kind)
        for i, line in enumerate(recipe.lines)
    ]


def _inner(config: Any, *keys: str) -> Any:
    """A part of a config without the checks of an access, of which there are many for each job."""
    for key in keys:
        config = config.__dict__["_content"][key]
    return config


def is_fixed(node: Any) -> bool:
    """Whether a part of a config has nothing in it that is looked up elsewhere."""
    if not isinstance(node, Node) or node._is_missing() or node._is_interpolation():
        return False
    if isinstance(node, Container) and not node._is_none():
        content = node.__dict__["_content"]
        return all(map(is_fixed, content.values() if isinstance(content, dict) else content))
    return True


class Draft:
    """One config of a template on which values are set and taken back, where a copy for each job would be wasted.

    Args:
        template: A pickled config.
    """

    def __init__(self, template: bytes) -> None:
        self._template = template
        self._config: DictConfig = pickle.loads(template)
        self._content: dict[str, Any] = dict(self._config.__dict__["_content"])
        self._cache = copy.deepcopy(self._config._metadata.resolver_cache)
        self._parts: dict[str, bytes] = {}

    @contextlib.contextmanager
    def of(self, recipe: Recipe) -> Iterator[DictConfig]:
        """The config of a job, until the context ends.

        Raises:
            ConfigCompositionException: As Hydra's, for a value that cannot be set.
        """
        if not self._stays_inside(recipe):
            yield compose(self._template, recipe)
            return
        content = dict(self._content)
        for key in recipe.touched & content.keys():
            content[key] = self._copy(key)
        self._config.__dict__["_content"] = content
        # What `${now:…}` and its like gave before, which is the same in every job; not what they gave in one.
        self._config._metadata.resolver_cache = copy.deepcopy(self._cache)
        set_values(self._config, recipe)
        yield self._config

    def _stays_inside(self, recipe: Recipe) -> bool:
        """Whether no value is set through an interpolation, in a part that is not copied."""
        overrides = map(parse, recipe.values)
        if any(override.is_delete() or isinstance(override.value(), dict | list) for override in overrides):
            return all(is_fixed(self._content[key]) for key in recipe.touched & self._content.keys())
        return True

    def _copy(self, key: str) -> Node:
        if key not in self._parts:
            node = self._content[key]
            node._set_parent(None)
            self._parts[key] = pickle.dumps(node, protocol=pickle.HIGHEST_PROTOCOL)
            node._set_parent(self._config)
        part: Node = pickle.loads(self._parts[key])
        part._set_parent(self._config)
        return part


class TemplateLoader(ConfigLoader):
    """A config loader that composes the configs of a sweep from templates, and leaves all else to Hydra's.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._groups: dict[str, bool] = {}
        self.templates: dict[tuple[str, ...], bytes] = {}
        self._drafts: dict[tuple[str, ...], Draft] = {}
        self._cwd = Path.cwd()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's."""
        try:
            recipe = self.recipe(master_config, sweep_overrides)
            composed = None if recipe is None else compose(self.templates[recipe.groups], recipe)
        except Exception:  # noqa: BLE001 - whatever is wrong, Hydra will say so in its own words
            composed = None
        if composed is None:
            return self._loader.load_sweep_config(master_config, sweep_overrides)
        return composed

    def check(self, master: DictConfig, lines: Sequence[str]) -> None:
        """Raise what `load_sweep_config` would, without making a config that nobody wants.

        Raises:
            Exception: As Hydra's.
        """
        try:
            recipe = self.recipe(master, lines)
            if recipe is not None:
                with self.draft(recipe):
                    return
        except Exception:  # noqa: BLE001 - whatever is wrong, Hydra will say so in its own words
            pass
        self._loader.load_sweep_config(master, list(lines))

    def draft(self, recipe: Recipe) -> AbstractContextManager[DictConfig]:
        """As `compose`, for a config that is only looked at within the context."""
        if recipe.groups not in self._drafts:
            self._drafts[recipe.groups] = Draft(self.templates[recipe.groups])
        return self._drafts[recipe.groups].of(recipe)

    def recipe(self, master: DictConfig, lines: Sequence[str]) -> Recipe | None:
        """How to compose a config from a template, which is made if it is not there; None where that is Hydra's own.

        Raises:
            Exception: Something is wrong with the overrides.
        """
        if Path.cwd() != self._cwd:
            return None
        overrides = [parse(line) for line in lines]
        if any(override.is_hydra_override() or override.key_or_group == "hydra" for override in overrides):
            return None
        ConfigLoaderImpl.validate_sweep_overrides_legal(overrides, run_mode=RunMode.RUN, from_shell=True)
        is_group = tuple(self._is_group(override) for override in overrides)
        groups = tuple(itertools.compress(lines, is_group))
        if groups not in self.templates:
            self.templates[groups] = pickle.dumps(
                self._loader.load_sweep_config(master, list(groups)), protocol=pickle.HIGHEST_PROTOCOL
            )
        values = tuple(line for line, of_group in zip(lines, is_group, strict=True) if not of_group)
        return Recipe(groups, values, tuple(lines))

    def _is_group(self, override: Override) -> bool:
        """As Hydra's `Overrides` tells a choice of a group from a value."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = self._loader.repository.group_exists(key)
        return self._groups[key] and not isinstance(override.value(), dict)

    # What ConfigLoader asks for.

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        return self._loader.load_configuration(*args, **kwargs)

    def get_search_path(self) -> Any:
        return self._loader.get_search_path()

    def get_sources(self) -> Any:
        return self._loader.get_sources()

    def list_groups(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._loader.list_groups(*args, **kwargs)

    def get_group_options(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._loader.get_group_options(*args, **kwargs)

    def compute_defaults_list(self, *args: Any, **kwargs: Any) -> Any:
        return self._loader.compute_defaults_list(*args, **kwargs)
