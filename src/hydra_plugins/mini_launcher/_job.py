"""A job of a Hydra application, as it runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobRuntime, JobStatus, setup_globals
from hydra.types import TaskFunction
from omegaconf import Container, DictConfig, OmegaConf, ValueNode, open_dict
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from mini import context, store
from mini.spec import GROUPS

from . import _grammar, _run
from ._compose import Recipe, compose

_PLAIN = (type(None), bool, int, float, str)
_NOT_CONFIG = (*GROUPS, "results", "hydra")  # parts of the config that say nothing of what was computed


@dataclass(frozen=True)
class HydraTask:
    """What all jobs of a sweep share, and the function that runs one of them.

    Args:
        task_function: The application's.
        callbacks: Hydra's, with whatever state they have.
        resolvers: The OmegaConf resolvers registered on the client, by name, as OmegaConf keeps them.
        job_name: What Hydra calls the application.
        version_base: The version of Hydra whose behaviour the application asked for.
        cwd: Where the command was given; None on another machine.
        templates: What recipes are composed from.
    """

    task_function: TaskFunction
    callbacks: Callbacks
    resolvers: Mapping[str, Callable[..., Any]]
    job_name: str
    version_base: Any
    cwd: Path | None
    templates: Mapping[tuple[str, ...], bytes] = field(default_factory=dict)

    def __call__(self, given: DictConfig | Recipe, number: int, sweep_dir: str | None = None) -> Any:
        """Run the task with one job's config, as Hydra's basic launcher would.

        Args:
            given: The config, or how to compose it.
            number: The job's.
            sweep_dir: The run folder, where that is not the config's.

        Returns:
            What the task returned.

        Raises:
            Exception: Whatever the task raised.
        """
        self._prepare()
        template = None
        if isinstance(given, Recipe):
            data = self.templates[given.groups]
            config, template = compose(data, given), data
        else:
            config = given
        number_job(config, number, sweep_dir)
        returned = _run.run_job(self.task_function, config, self.callbacks, template)
        here = context.current()
        if here is not None and returned.cfg is not None:
            here.row.update(config_columns(returned.cfg))
        if returned.status is not JobStatus.COMPLETED:
            # The property would print before it raises.
            raise returned._return_value
        return returned.return_value

    def _prepare(self) -> None:
        """Make this process look like the one the command was given in."""
        if self.cwd is not None and Path.cwd() != self.cwd and self.cwd.is_dir():
            os.chdir(self.cwd)
        setup_globals()
        _grammar.remember()
        for name, resolver in self.resolvers.items():
            BaseContainer._resolvers.setdefault(name, resolver)
        JobRuntime.instance().set("name", self.job_name)
        if hasattr(version, "VersionBase") and hasattr(self.version_base, "major"):
            # Not version.setbase, which takes text, and warns of old versions where the client has done so already.
            version.VersionBase.instance().setbase(self.version_base)


def registered_resolvers() -> dict[str, Callable[..., Any]]:
    """The resolvers a worker would not have by itself."""
    return {
        name: resolver
        for name, resolver in BaseContainer._resolvers.items()
        if not name.startswith("oc.") and name not in ("now", "hydra", "python_version")
    }


def number_job(config: DictConfig, number: int, sweep_dir: str | None) -> None:
    """Tell a config which job it is of."""
    with open_dict(config):
        config.hydra.job.id = number
        config.hydra.job.num = number
        if sweep_dir is not None:
            config.hydra.sweep.dir = sweep_dir


def config_columns(config: DictConfig) -> dict[str, Any]:
    """A task's config as columns `config.…`, resolved; what cannot be resolved stays as it is written."""
    own = [str(key) for key in config if key not in _NOT_CONFIG]
    try:
        plain = {key: _plain(config, key, resolve=True) for key in own}
    except OmegaConfBaseException:
        plain = {key: _plain(config, key, resolve=False) for key in own}
    return store.flatten(plain, "config.")


def _plain(config: DictConfig, key: str, *, resolve: bool) -> Any:
    node = config._get_node(key)
    if isinstance(node, Container) and not node._is_none() and not node._is_missing() and not node._is_interpolation():
        return OmegaConf.to_container(node, resolve=resolve, enum_to_str=True)
    if isinstance(node, ValueNode) and not node._is_missing() and not node._is_interpolation():
        value = node._value()
        if type(value) in _PLAIN:
            return value
    return OmegaConf.to_container(OmegaConf.masked_copy(config, key), resolve=resolve, enum_to_str=True)[key]  # type: ignore[index,call-overload]
