"""A job of a Hydra application, as it runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobRuntime, JobStatus, setup_globals
from hydra.types import TaskFunction
from omegaconf import DictConfig

from mini.launcher import supported
from mini.launcher.columns import config_columns
from mini.launcher.fast import grammar, run_job
from mini.launcher.fast.compose import Recipe, compose, set_job_number
from mini.launcher.singletons import Singletons
from mini.launcher.supported import Callbacks
from mini.worker import context


@dataclass(frozen=True)
class HydraTask:
    """What all jobs of a sweep share, and the function that runs one of them.

    Args:
        task_function: The application's.
        callbacks: Hydra's, with whatever state they have.
        resolvers: The OmegaConf resolvers registered on the client, from `supported.user_resolvers`.
        job_name: What Hydra calls the application.
        version_base: The version of Hydra whose behaviour the application asked for.
        cwd: Where the command was given; None on another machine.
        templates: What recipes are composed from.
        execution_whitelist: What configs may call, from Hydra 1.4 on.
        singletons: Hydra's.
        is_trial: Whether the jobs are trials of a study, which decides by what they say.
    """

    task_function: TaskFunction
    callbacks: Callbacks
    resolvers: Mapping[str, Callable[..., Any]]
    job_name: str
    version_base: Any
    cwd: Path | None
    templates: Mapping[tuple[str, ...], bytes] = field(default_factory=dict)
    execution_whitelist: Any = None
    singletons: Singletons | None = None
    is_trial: bool = False

    def __call__(self, config_or_recipe: DictConfig | Recipe, number: int, sweep_dir: str | None = None) -> Any:
        """Run the task with one job's config, as Hydra's basic launcher would.

        Args:
            config_or_recipe: The config, or how to compose it.
            number: The job's.
            sweep_dir: The run folder, where that is not the config's.

        Returns:
            What the task returned.

        Raises:
            Exception: Whatever the task raised.
        """
        self._prepare()
        if self.is_trial:
            context.keep_reports()
        template, changed_keys = None, frozenset[str]()
        if isinstance(config_or_recipe, Recipe):
            template, changed_keys = self.templates[config_or_recipe.groups], config_or_recipe.changed_keys
            config = compose(template, config_or_recipe)
        else:
            config = config_or_recipe
        set_job_number(config, number, sweep_dir)
        returned = run_job.run_job(
            self.task_function,
            config,
            self.callbacks,
            template,
            lambda config: _add_to_row(config_columns(config, template, changed_keys)),
            self.execution_whitelist,
        )
        value = supported.returned_or_raised(returned)
        if returned.status is not JobStatus.COMPLETED:
            raise value
        return value

    def _prepare(self) -> None:
        """Make this process look like the one the command was given in."""
        if self.cwd is not None and Path.cwd() != self.cwd and self.cwd.is_dir():
            os.chdir(self.cwd)
        setup_globals()
        grammar.cache_parse_trees()
        supported.add_resolvers(self.resolvers)
        JobRuntime.instance().set("name", self.job_name)
        supported.set_version_base(self.version_base)
        if self.singletons is not None:
            self.singletons.restore()


def _add_to_row(columns: Mapping[str, Any]) -> None:
    """Put columns into the row of the job that runs here."""
    here = context.current()
    if here is not None:
        here.row.update(columns)
