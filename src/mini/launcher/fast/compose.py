"""Composing the configs of a sweep: once for each choice of groups, and then values set on a copy.

Hydra composes every job from its files, twice: its sweeper to validate it, the launcher to run it. Nearly all of that
is the same for every job. What comes out here equals what Hydra makes, or Hydra's own way is taken: for a job that
overrides Hydra's config, for a version of Hydra this was not checked against, and whenever anything is wrong, so that
errors are Hydra's. `mini.fallbacks` counts these under `compose`.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ValueNode, open_dict
from omegaconf.base import Node
from omegaconf.errors import OmegaConfBaseException

from mini import fallbacks
from mini.launcher import nodes, short_forms, supported
from mini.launcher.fast import copying, grammar
from mini.launcher.overrides import parse
from mini.launcher.supported import ConfigLoaderImpl

REFUSALS = (HydraException, OmegaConfBaseException)
"""What Hydra and OmegaConf raise for overrides that are wrong."""


def install(context: Any) -> None:
    """Let a Hydra context compose sweeps this way, sweeper and launcher alike. A second call does nothing."""
    grammar.cache_parse_trees()
    loader = context.config_loader
    if isinstance(loader, TemplateLoader):
        return
    reason = supported.unchecked("compose")
    if reason is None and not supported.is_hydras_loader(loader):
        reason = "a config loader that is not Hydra's"
    if reason is None:
        context.config_loader = TemplateLoader(loader)
    else:
        fallbacks.note("compose", reason)


@dataclass(frozen=True)
class Recipe:
    """How the config of a job comes from a template.

    Args:
        groups: The overrides that choose groups; they name the template.
        values: The others.
        lines: All of them, as typed.
    """

    groups: tuple[str, ...]
    values: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def changed_keys(self) -> frozenset[str]:
        """The keys at the top of the config that values are set under."""
        return frozenset(nodes.split_key(parse(line).key_or_group)[0] for line in self.values)


def compose(template: bytes, recipe: Recipe) -> DictConfig:
    """Compose the config of a job.

    Args:
        template: A pickled config with the same choice of groups.
        recipe: What is set on a copy.

    Raises:
        ConfigCompositionException: As Hydra's, for a value that cannot be set.
    """
    config: DictConfig = pickle.loads(template)
    set_values(config, recipe)
    return config


def set_values(config: DictConfig, recipe: Recipe) -> None:
    """Set a recipe's values on a template's config, and note them in Hydra's part.

    Raises:
        ConfigCompositionException: As Hydra's, for a value that cannot be set.
    """
    supported.apply_overrides(config, [parse(line) for line in recipe.values])
    supported.set_task_overrides(config, [parse(line) for line in recipe.lines])


def set_job_number(config: DictConfig, number: int, sweep_dir: str | None = None) -> None:
    """Tell a config which job it is of.

    Args:
        config: The job's.
        number: The job's.
        sweep_dir: The run folder, where that is not the config's.
    """
    job = nodes.descend(config, "hydra", "job")
    for name in ("id", "num"):
        node = nodes.child(job, name)
        if isinstance(node, ValueNode):
            nodes.assign(node, number)
        else:
            with open_dict(config):
                job[name] = number
    if sweep_dir is not None:
        with open_dict(config):
            config.hydra.sweep.dir = sweep_dir


class Draft:
    """One config of a template on which values are set and taken back, where a copy for each job would be wasted.

    Args:
        template: A pickled config.
    """

    def __init__(self, template: bytes) -> None:
        self._template = template
        self._config: DictConfig = pickle.loads(template)
        self._content: dict[str, Any] = dict(nodes.content(self._config))
        self._cache = copy.deepcopy(nodes.resolver_cache(self._config))
        self._pickled: dict[str, bytes] = {}

    @contextlib.contextmanager
    def config(self, recipe: Recipe) -> Iterator[DictConfig]:
        """The config of a job, until the context ends.

        Raises:
            ConfigCompositionException: As Hydra's, for a value that cannot be set.
        """
        if not self._changes_only_copies(recipe):
            fallbacks.note("draft", "a value may be set through an interpolation")
            yield compose(self._template, recipe)
            return
        content = dict(self._content)
        for key in recipe.changed_keys & content.keys():
            content[key] = self._copy(key)
        nodes.set_content(self._config, content)
        # What `${now:…}` and its like gave before, which is the same in every job; not what they gave in one.
        nodes.set_resolver_cache(self._config, copy.deepcopy(self._cache))
        set_values(self._config, recipe)
        yield self._config

    def _changes_only_copies(self, recipe: Recipe) -> bool:
        """Whether no value is set through an interpolation, in a part that is not copied."""
        overrides = [parse(line) for line in recipe.values]
        if any(nodes.leads_through_interpolation(self._content, override.key_or_group) for override in overrides):
            return False
        if any(override.is_delete() or isinstance(override.value(), dict | list) for override in overrides):
            return all(nodes.is_fixed(self._content[key]) for key in recipe.changed_keys & self._content.keys())
        return True

    def _copy(self, key: str) -> Node:
        if key not in self._pickled:
            node = self._content[key]
            nodes.set_parent(node, None)
            self._pickled[key] = copying.dumps(node)
            nodes.set_parent(node, self._config)
        copied: Node = pickle.loads(self._pickled[key])
        nodes.set_parent(copied, self._config)
        return copied


class TemplateLoader(ConfigLoader):
    """A config loader that composes the configs of a sweep from templates, and leaves all else to Hydra's.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._repository: Any = None
        self._chooses_group: dict[str, bool] = {}
        self.templates: dict[tuple[str, ...], bytes] = {}
        self._drafts: dict[tuple[str, ...], Draft] = {}
        self._cwd = Path.cwd()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose a job's config.

        Args:
            master_config: Of the sweep as a whole.
            sweep_overrides: The job's overrides.

        Raises:
            Exception: As Hydra's.
        """
        with _left_to_hydra():
            recipe = self.recipe(master_config, sweep_overrides)
            if recipe is not None:
                return compose(self.templates[recipe.groups], recipe)
        return self._loader.load_sweep_config(master_config, sweep_overrides)

    def check(self, master: DictConfig, lines: Sequence[str]) -> None:
        """Raise what `load_sweep_config` would, without making a config that nobody wants.

        Args:
            master: The config of the sweep as a whole.
            lines: The job's overrides.

        Raises:
            Exception: As Hydra's.
        """
        with _left_to_hydra():
            recipe = self.recipe(master, lines)
            if recipe is not None:
                with self.draft(recipe):
                    return
        self._loader.load_sweep_config(master, list(lines))

    def draft(self, recipe: Recipe) -> AbstractContextManager[DictConfig]:
        """Compose a config that is only looked at within the context.

        Raises:
            ConfigCompositionException: As Hydra's, for a value that cannot be set.
        """
        if recipe.groups not in self._drafts:
            self._drafts[recipe.groups] = Draft(self.templates[recipe.groups])
        return self._drafts[recipe.groups].config(recipe)

    def recipe(self, master: DictConfig, lines: Sequence[str]) -> Recipe | None:
        """Say how a job's config is composed from a template, which is made if it is not there.

        Args:
            master: The config of the sweep as a whole.
            lines: The job's overrides.

        Returns:
            None where Hydra has to compose it.

        Raises:
            Exception: Something is wrong with the overrides.
        """
        if Path.cwd() != self._cwd:
            fallbacks.note("compose", "the working directory changed")
            return None
        overrides = [parse(line) for line in lines]
        if any(override.is_hydra_override() or override.key_or_group == "hydra" for override in overrides):
            fallbacks.note("compose", "a job overrides Hydra's config")
            return None
        supported.validate_job_overrides(overrides)
        if self._repository is None:
            self._repository = supported.repository(self._loader, master)
        is_group = tuple(map(self._is_group, overrides))
        groups = tuple(itertools.compress(lines, is_group))
        if groups not in self.templates:
            self.templates[groups] = copying.dumps(self._loader.load_sweep_config(master, list(groups)))
        values = tuple(line for line, of_group in zip(lines, is_group, strict=True) if not of_group)
        return Recipe(groups, values, tuple(lines))

    def _is_group(self, override: Override) -> bool:
        line = override.input_line or ""
        if line not in self._chooses_group:
            of_ours = short_forms.short_name(override) is not None  # it may change what is under `hydra`
            self._chooses_group[line] = of_ours or supported.chooses_group(self._repository, override)
        return self._chooses_group[line]

    # The methods of Hydra's ConfigLoader that have to be there.

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        """As Hydra's."""
        return self._loader.load_configuration(*args, **kwargs)

    def get_search_path(self) -> Any:
        """As Hydra's."""
        return self._loader.get_search_path()

    def get_sources(self) -> Any:
        """As Hydra's."""
        return self._loader.get_sources()

    def list_groups(self, *args: Any, **kwargs: Any) -> list[str]:
        """As Hydra's."""
        return self._loader.list_groups(*args, **kwargs)

    def get_group_options(self, *args: Any, **kwargs: Any) -> list[str]:
        """As Hydra's."""
        return self._loader.get_group_options(*args, **kwargs)

    def compute_defaults_list(self, *args: Any, **kwargs: Any) -> Any:
        """As Hydra's."""
        return self._loader.compute_defaults_list(*args, **kwargs)


@contextlib.contextmanager
def _left_to_hydra() -> Iterator[None]:
    """Swallow what goes wrong, as Hydra's own way comes next and says it in its own words."""
    try:
        yield
    except REFUSALS:
        fallbacks.note("compose", "an override is wrong")
    except Exception as error:  # noqa: BLE001 - a bug of ours costs time and not the sweep; it is counted by its name
        fallbacks.note("compose", f"unexpected {type(error).__name__}")
