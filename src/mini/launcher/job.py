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
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer

from mini.launcher.columns import config_columns
from mini.launcher.fast import grammar, run_job
from mini.launcher.fast.compose import Recipe, compose, set_job_number
from mini.worker import context


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
        template, touched = None, frozenset[str]()
        if isinstance(given, Recipe):
            template, touched = self.templates[given.groups], given.touched
            config = compose(template, given)
        else:
            config = given
        set_job_number(config, number, sweep_dir)
        returned = run_job.run_job(
            self.task_function,
            config,
            self.callbacks,
            template,
            lambda config: _note(config_columns(config, template, touched)),
        )
        if returned.status is not JobStatus.COMPLETED:
            # The property would print before it raises.
            raise returned._return_value
        return returned.return_value

    def _prepare(self) -> None:
        """Make this process look like the one the command was given in."""
        if self.cwd is not None and Path.cwd() != self.cwd and self.cwd.is_dir():
            os.chdir(self.cwd)
        setup_globals()
        grammar.remember()
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


def _note(columns: Mapping[str, Any]) -> None:
    """Put columns into the row of the job that runs here."""
    here = context.current()
    if here is not None:
        here.row.update(columns)
