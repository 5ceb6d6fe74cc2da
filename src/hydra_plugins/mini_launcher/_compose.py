"""Composing the configs of a sweep: once for each choice of groups, and then values set on a copy.

Hydra composes every job from its files, twice: its sweeper to validate it, the launcher to run it. Nearly all of that
is the same for every job. What comes out here equals what Hydra makes, or Hydra's own way is taken: for a job that
overrides Hydra's config, for a version of Hydra this was not checked against, and whenever anything is wrong, so that
errors are Hydra's.
"""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Sequence
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
from omegaconf import DictConfig, flag_override

from . import _grammar

_CHECKED = ("1.3.",)


def install(context: Any) -> None:
    """Let a Hydra context compose sweeps this way, sweeper and launcher alike. A second call does nothing."""
    _grammar.remember()
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
    ConfigLoaderImpl._apply_overrides_to_config([parse(line) for line in recipe.values], config)
    with flag_override(config.hydra, ["readonly"], False):
        config.hydra.overrides.task = list(recipe.lines)
        naming = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = config_loader_impl.get_overrides_dirname(
            overrides=[parse(line) for line in recipe.lines],
            kv_sep=naming.kv_sep,
            item_sep=naming.item_sep,
            exclude_keys=naming.exclude_keys,
        )
    return config


class TemplateLoader(ConfigLoader):
    """A config loader that composes the configs of a sweep from templates, and leaves all else to Hydra's.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._groups: dict[str, bool] = {}
        self.templates: dict[tuple[str, ...], bytes] = {}
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
