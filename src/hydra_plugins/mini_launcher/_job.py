"""A job of a Hydra application, as it runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from mini import context, store
from mini.spec import GROUPS

_NOT_CONFIG = (*GROUPS, "results")  # parts of the config that say nothing of what was computed


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
    """

    task_function: TaskFunction
    callbacks: Callbacks
    resolvers: Mapping[str, Callable[..., Any]]
    job_name: str
    version_base: Any
    cwd: Path | None

    def __call__(self, config: DictConfig) -> Any:
        """Run the task with one job's config, as Hydra's basic launcher would.

        Returns:
            What the task returned.

        Raises:
            Exception: Whatever the task raised.
        """
        self._prepare()
        returned = run_job(
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            # run_job uses the callbacks only; composing is done.
            hydra_context=HydraContext(config_loader=None, callbacks=self.callbacks),  # type: ignore[arg-type]
        )
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


def config_columns(config: DictConfig) -> dict[str, Any]:
    """A task's config as columns `config.…`, resolved; what cannot be resolved stays as it is written."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key not in _NOT_CONFIG])
    try:
        plain = OmegaConf.to_container(own, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:
        plain = OmegaConf.to_container(own, resolve=False, enum_to_str=True)
    assert isinstance(plain, dict)
    return store.flatten(plain, "config.")
