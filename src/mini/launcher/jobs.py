"""The jobs of a command: what each is composed from, where it runs, and its folder and key."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime, filter_overrides
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mini import project
from mini.apparatus import registry
from mini.apparatus.base import Apparatus
from mini.errors import UsageError
from mini.job import Job
from mini.launcher import folder_names, short_forms, singletons, spec, supported
from mini.launcher import overrides as override_text
from mini.launcher.columns import config_columns, config_values
from mini.launcher.fast import compose
from mini.launcher.fast.compose import Recipe, TemplateLoader
from mini.launcher.fingerprint import Fingerprints
from mini.launcher.job import HydraTask
from mini.launcher.plain import SINGLE
from mini.launcher.resume import make_key, place_columns
from mini.launcher.spec import Spec
from mini.runs import masking
from mini.runs.folder import RunFolder

AFTER = "hydra.launcher.after"
"""The run that a command waits for, and that its jobs come from."""


MOVE = "hydra.launcher.move"
"""The engine that jobs run on whatever else says where."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job, and what it comes from.

    Args:
        job: The job.
        where: Where it runs.
        columns: Its config's columns, secrets masked, made when asked for.
    """

    job: Job
    where: Spec
    columns: dict[str, Any] | None = None


class Jobs:
    """Makes the jobs of a command, and the apparatus they run on; the workers of a kind are shared by all of them.

    Args:
        context: Hydra's.
        task_function: The application's.
        config: Of the command as a whole.
        folder: The run.
        code: Of the task.
        is_trial: Whether the jobs are trials of a study.
    """

    def __init__(
        self,
        context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        folder: RunFolder,
        code: Fingerprints,
        *,
        is_trial: bool = False,
    ) -> None:
        self._context, self._task_function, self._config = context, task_function, config
        self._folder, self._code, self._is_trial = folder, code, is_trial
        self._sweeper = str(OmegaConf.select(config, "hydra.sweeper._target_"))
        self._apparatus: dict[object, Apparatus] = {}
        self._task: tuple[HydraTask, HydraTask] | None = None

    def compose(self, number: int, overrides: list[str]) -> DictConfig:
        """The config of a job."""
        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        compose.set_job_number(config, number)
        return config

    def plan(self, job_overrides: Sequence[list[str]], first: int, explain: int | None = None) -> list[Planned]:
        """Make jobs.

        Args:
            job_overrides: The overrides of each.
            first: The index of the first.
            explain: The index of a job whose columns are wanted.

        Raises:
            UsageError: One cannot be.
        """
        if (engine := OmegaConf.select(self._config, MOVE)) is not None:
            is_short = "apparatus" not in self._config
            job_overrides = [override_text.moved(lines, str(engine), is_short=is_short) for lines in job_overrides]
        given = [self._given(overrides) for overrides in job_overrides]
        task, elsewhere = self._tasks()
        planned = []
        for i, overrides in enumerate(job_overrides):
            with self._composed(first + i, given[i]) as config:
                where = self._spec(config, first + i)
                sweep_dir = self.on(where).place(self._folder.path)
                arguments = (given[i], first + i, sweep_dir)
                job = self._job(task if sweep_dir is None else elsewhere, config, arguments, overrides, where)
                columns = self._columns(config, given[i], masked=True) if explain == job.index else None
            planned.append(Planned(job, where, columns))
        return planned

    def on(self, where: Spec) -> Apparatus:
        """The apparatus for a spec."""
        name = project.name()
        shared = registry.identity(where.kind, name, where.apparatus)
        if shared not in self._apparatus:
            self._apparatus[shared] = registry.find(where.kind).make(name, where.apparatus)
            atexit.register(self.close)
        gpu = where.gpu.option
        options = dataclasses.replace(
            where.apparatus, gpu=tuple(gpu) if isinstance(gpu, list) else gpu, image=where.image
        )
        return self._apparatus[shared].view(options)

    def close(self) -> None:
        """End the workers."""
        for apparatus in self._apparatus.values():
            apparatus.close()
        atexit.unregister(self.close)

    def _tasks(self) -> tuple[HydraTask, HydraTask]:
        """What runs a job here, and elsewhere; the same as before unless there are more templates."""
        loader = self._context.config_loader
        templates = dict(loader.templates) if isinstance(loader, TemplateLoader) else {}
        if self._task is None or self._task[0].templates != templates:
            task = HydraTask(
                self._task_function,
                self._context.callbacks,
                supported.user_resolvers(),
                JobRuntime.instance().get("name"),
                supported.version_base(),
                Path.cwd(),
                templates,
                supported.execution_whitelist(self._context),
                singletons.capture(),
                self._is_trial,
            )
            self._task = task, dataclasses.replace(task, cwd=None)
        return self._task

    def _given(self, overrides: list[str]) -> DictConfig | Recipe:
        """What a worker composes its config from; the config itself where that is Hydra's own way."""
        loader = self._context.config_loader
        recipe = loader.recipe(self._config, overrides) if isinstance(loader, TemplateLoader) else None
        return recipe if recipe is not None else loader.load_sweep_config(self._config, overrides)

    @contextlib.contextmanager
    def _composed(self, number: int, given: DictConfig | Recipe) -> Iterator[DictConfig]:
        """A job's config, to be looked at within the context."""
        loader = self._context.config_loader
        if isinstance(given, Recipe) and isinstance(loader, TemplateLoader):
            with loader.draft(given) as config:
                compose.set_job_number(config, number)
                yield config
        else:
            assert isinstance(given, DictConfig)
            compose.set_job_number(given, number)
            yield given

    def _job(
        self,
        task: HydraTask,
        config: DictConfig,
        arguments: tuple[DictConfig | Recipe, int, str | None],
        overrides: Sequence[str],
        where: Spec,
    ) -> Job:
        # The folder's name may be made of ${hydra:…}.
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        parent, child = (
            folder_names.checked(str(OmegaConf.select(config, key)), key)
            for key in ("hydra.sweep.dir", "hydra.sweep.subdir")
        )
        # Where what a job wrote goes with this process, its record is written here, of what is known here.
        own = {} if self.on(where).keeps_files else self._columns(config, arguments[0], masked=True)
        return Job(
            index=arguments[1],
            fn=task,
            args=arguments,
            key=self._key(config, arguments[0]),
            folder=str(Path(parent, child).absolute()),
            run=str(self._folder.path),
            record=True,
            row={
                **masking.mask_columns(override_text.columns(filter_overrides(overrides))),
                **place_columns(where.kind, where.gpu),
                **own,
                **({f"config.{AFTER}": after} if (after := OmegaConf.select(self._config, AFTER)) is not None else {}),
            },
        )

    def _key(self, config: DictConfig, given: DictConfig | Recipe) -> str:
        """The task and its resolved config, without what says where to run; and the code."""
        what = f"{getattr(self._task_function, '__module__', '')}.{getattr(self._task_function, '__qualname__', '')}"
        columns = self._columns(config, given)
        digest = blake2b(repr((what, sorted(columns.items()))).encode(), digest_size=16).hexdigest()
        return make_key(digest, self._code.of(columns, _data(config)).digest)

    def _columns(self, config: DictConfig, given: DictConfig | Recipe, *, masked: bool = False) -> dict[str, Any]:
        make, loader = config_columns if masked else config_values, self._context.config_loader
        if isinstance(given, Recipe) and isinstance(loader, TemplateLoader):
            return make(config, loader.templates[given.groups], given.changed_keys)
        return make(config)

    def _spec(self, config: DictConfig, index: int) -> Spec:
        launcher = config.hydra.launcher
        groups = {name: plain_value(launcher.get(name)) for name in short_forms.GROUPS}
        try:
            where = spec.parse(groups)
        except UsageError as error:
            raise type(error)(f"job {index}: {error}") from None
        if self._sweeper == SINGLE and hasattr(where.apparatus, "logs"):  # as it is without a launcher
            shown: dict[str, Any] = {"logs": True}
            where = dataclasses.replace(where, apparatus=dataclasses.replace(where.apparatus, **shown))
        return where


def plain_value(node: Any) -> Any:
    """A config as Python's own containers, resolved; any other value as it is."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _data(config: DictConfig) -> tuple[str, ...]:
    """The paths that a job's config declares as its data."""
    given = plain_value(config.hydra.launcher.get("data"))
    data = [given] if isinstance(given, str) else given or []
    if not isinstance(data, list) or not all(isinstance(path, str) for path in data):
        raise UsageError(f"hydra.launcher.data={data!r}: it must be a list of paths of files that jobs read")
    return tuple(data)
