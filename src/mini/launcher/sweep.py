"""A Hydra multirun through apparatus: compose all jobs, run them, hand back what Hydra expects."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, filter_overrides, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mini import batch, combine, project
from mini.apparatus import handle, options, registry
from mini.apparatus.base import Apparatus
from mini.apparatus.groups import Results
from mini.display import terminal
from mini.errors import CloudError, StorageError, UsageError
from mini.job import Job, Outcome, State
from mini.launcher import fingerprint, folder_names, short_forms, singletons, spec, supported
from mini.launcher import overrides as override_text
from mini.launcher.asked import lasting, program
from mini.launcher.columns import config_columns, config_values
from mini.launcher.command import refuse
from mini.launcher.fast import compose, validation
from mini.launcher.fast.compose import Recipe, TemplateLoader
from mini.launcher.fingerprint import Fingerprints
from mini.launcher.job import HydraTask
from mini.launcher.job_return import LazyJobReturn
from mini.launcher.objective import Checked, Objective
from mini.launcher.overrides import as_typed
from mini.launcher.plain import SINGLE
from mini.launcher.resume import Earlier, Policy, make_key, place_columns
from mini.launcher.spec import Spec
from mini.limits import Limits, duration
from mini.report.run_page import at_end
from mini.runs import manifest, masking
from mini.runs.folder import RunFolder

log = logging.getLogger(__name__)


class Sweep:
    """The jobs of one command.

    A sweeper may launch many batches; the workers and the run folder are the same for all of them.

    Args:
        context: Hydra's.
        task_function: The application's.
        config: Of the sweep as a whole.
        set_aside: Whether a run folder that exists is renamed, rather than refused.
        resume: A run whose finished jobs are taken over, or `latest`; the run folder itself: in place.
        policy: What of that is taken over.
        explain: With `resume`: run nothing, and say why this job would run again, or not.
        max_failures: Stop when so many jobs have failed.
        budget: Stop after this time.
        detach: Begin the run and leave it.
        objective: What of a returned mapping the sweeper gets.
    """

    def __init__(
        self,
        context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        *,
        set_aside: bool,
        resume: str | None,
        policy: Policy,
        explain: int | None,
        max_failures: int | None,
        budget: Any,
        detach: bool,
        objective: Any,
    ) -> None:
        self._context, self._task_function, self._config = context, task_function, config
        compose.install(context)
        validation.install()
        self._apparatus: dict[object, Apparatus] = {}
        self._begun = False
        self._earlier: Earlier | None = None
        self._detach, self._explain = detach, explain
        self._code = Fingerprints(task_function)
        self._sweeper = str(OmegaConf.select(config, "hydra.sweeper._target_"))
        try:
            self._folder = RunFolder(folder_names.checked(str(config.hydra.sweep.dir), "hydra.sweep.dir"))
            self._objective = Objective(objective, self._sweeper)
            self._results = options.parse(Results, _plain(config.hydra.launcher.get("results")) or {}, "results")
            seconds = duration(budget)
            self._limits = Limits(max_failures, time.time() + seconds if seconds is not None else None)
            if resume is not None:
                self._earlier = Earlier(self._folder, resume, policy)
                self._begun = self._earlier.in_place
            if self._begun:
                return
            # Here, because the sweeper writes into the folder before it launches anything.
            if set_aside:
                self._folder.set_aside()
            self._folder.require_new()
            atexit.register(self._folder.forget)
        except UsageError as error:
            refuse(error)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run one batch.

        Args:
            job_overrides: Each job's overrides.
            initial_job_idx: The number of the first.

        Returns:
            What Hydra's sweepers expect, in order.
        """
        setup_globals()
        whitelist = supported.execution_whitelist(self._context)
        supported.configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose, whitelist)
        try:
            outcomes = self._run([list(overrides) for overrides in job_overrides], initial_job_idx)
        except (UsageError, CloudError, StorageError) as error:
            self._folder.forget()
            if self._folder.has_run():
                self._report()
            refuse(error, code=2 if isinstance(error, UsageError) else 1)
        except batch.Stopped as error:
            self.close()
            self._report()
            print(f"\n{error}", file=sys.stderr)
            raise SystemExit(130 if isinstance(error, batch.BatchInterrupted) else 1) from error
        self._report()
        cwd, name = str(Path.cwd()), JobRuntime.instance().get("name")
        return [
            LazyJobReturn(
                functools.partial(self._compose, initial_job_idx + i, list(overrides)),
                outcome,
                cwd,
                name,
                self._objective.pick,
            )
            for i, (overrides, outcome) in enumerate(zip(job_overrides, outcomes, strict=True))
        ]

    def close(self) -> None:
        """End the workers."""
        for apparatus in self._apparatus.values():
            apparatus.close()
        atexit.unregister(self.close)

    def _compose(self, number: int, overrides: list[str]) -> DictConfig:
        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        compose.set_job_number(config, number)
        return config

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

    def _run(self, job_overrides: Sequence[list[str]], first: int) -> list[Outcome]:
        given = [self._given(overrides) for overrides in job_overrides]
        loader = self._context.config_loader
        task = HydraTask(
            self._task_function,
            self._context.callbacks,
            supported.user_resolvers(),
            JobRuntime.instance().get("name"),
            supported.version_base(),
            Path.cwd(),
            dict(loader.templates) if isinstance(loader, TemplateLoader) else {},
            supported.execution_whitelist(self._context),
            singletons.capture(),
        )
        by_spec: dict[Spec, list[Job]] = {}
        elsewhere = dataclasses.replace(task, cwd=None)
        known: list[tuple[Job, Outcome]] = []
        for i, overrides in enumerate(job_overrides):
            with self._composed(first + i, given[i]) as config:
                where = self._spec(config, first + i)
                sweep_dir = self._on(where).place(self._folder.path)
                arguments = (given[i], first + i, sweep_dir)
                job = self._job(task if sweep_dir is None else elsewhere, config, arguments, overrides, where)
                if self._explain == job.index and self._earlier is not None:
                    print(self._earlier.explain(job, self._code, self._columns(config, given[i], masked=True)))
                    raise SystemExit(0)
            if self._earlier is not None and (outcome := self._earlier.outcome(job, self._code)) is not None:
                known.append((job, outcome))
            else:
                by_spec.setdefault(where, []).append(self._earlier.next_attempt(job) if self._earlier else job)
        if self._explain is not None:
            raise UsageError(f"the command of {self._folder.id} does not begin with a job {self._explain}")
        for name in sorted({name for where in by_spec for name in where.gpu.unknown}):
            print(f"warning: Modal is not known to have a GPU {name}; it is asked for as it is", file=sys.stderr)
        groups = [batch.Placement(self._on(where), jobs) for where, jobs in by_spec.items()]
        asked = None if self._begun else self._manifest(groups, len(job_overrides))
        if self._detach:
            self._leave(groups, asked or {})
        prints = any(w.kind == "debug" or getattr(w.apparatus, "logs", False) for w in by_spec)
        jobs = [job for group in groups for job in group.jobs]
        if self._earlier is not None and self._earlier.has_results:
            done = sum(outcome.ok for _, outcome in known)
            print(f"{done} of {len(job_overrides)} jobs are done already", file=sys.stderr)
            for line in self._earlier.report():
                print(line, file=sys.stderr)
        display: batch.Watcher = terminal.Display(jobs, live=not prints)
        outcomes = batch.run_jobs(
            groups,
            self._folder,
            Checked(display, self._objective) if self._objective.needs_check else display,
            asked,
            known=known,
            in_place=self._earlier is not None and self._earlier.in_place,
            limits=self._limits,
            prepare=functools.partial(self._prepare, jobs),
        )
        self._begun = True
        return outcomes

    def _prepare(self, jobs: list[Job]) -> None:
        if self._earlier is not None:
            self._earlier.prepare(self._folder, jobs, self._code)
        else:
            fingerprint.write(self._folder.path, self._code.by_digest)

    def _leave(self, groups: Sequence[batch.Placement], asked: dict[str, Any]) -> NoReturn:
        """Begin the run, say how to follow it, and end the command."""
        sweeper = self._sweeper
        if not sweeper.endswith(("BasicSweeper", "SingleSweeper")) or OmegaConf.select(
            self._config, "hydra.sweeper.max_batch_size"
        ):
            raise UsageError(
                "hydra.launcher.detach=true leaves before any job is done, and this sweeper waits for results "
                f"({sweeper}, in batches); run it without detach"
            )
        if self._earlier is not None and self._earlier.has_results:
            raise UsageError("hydra.launcher.detach=true begins a new run; resume without it")
        handle.begin(
            [(group.apparatus, group.jobs) for group in groups],
            self._folder,
            asked,
            self._limits,
        )
        fingerprint.write(self._folder.path, self._code.by_digest)
        self.close()
        run = self._folder.path.name
        print(f"{run} goes on by itself:")
        for verb in ("status", "watch", "results"):
            print(f"  mini {verb} {run}")
        raise SystemExit(0)

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
        groups = {name: _plain(launcher.get(name)) for name in short_forms.GROUPS}
        try:
            where = spec.parse(groups)
        except UsageError as error:
            raise type(error)(f"job {index}: {error}") from None
        if self._sweeper == SINGLE and hasattr(where.apparatus, "logs"):  # as it is without a launcher
            shown: dict[str, Any] = {"logs": True}
            where = dataclasses.replace(where, apparatus=dataclasses.replace(where.apparatus, **shown))
        return where

    def _on(self, where: Spec) -> Apparatus:
        """The apparatus for a spec; the workers of a kind are shared by all specs of that kind."""
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

    def _manifest(self, groups: Sequence[batch.Placement], total: int) -> dict[str, Any]:
        given = self._config.hydra.overrides
        engines: dict[str, list[dict[str, Any]]] = {}
        for group in groups:
            engines.setdefault(group.apparatus.kind, []).append(group.apparatus.manifest())
        task = f"{self._task_function.__module__}.{getattr(self._task_function, '__qualname__', '')}"
        return {
            **manifest.describe(task, total, engines),
            "program": program(),
            "overrides_all": [*as_typed(given.task), *lasting(as_typed(given.hydra)), *self._mode()],
            "overrides": as_typed(given.task),
        }

    def _mode(self) -> list[str]:
        """What a further try needs to sweep what the config says."""
        return ["hydra.mode=MULTIRUN"] if OmegaConf.select(self._config, "hydra.sweeper.params") else []

    def _report(self) -> None:
        """Leave the combined table, and show it."""
        table, problems = combine.write(self._folder)
        wanted = self._results
        out = terminal.console()
        if not table.is_empty():
            table, complaint = terminal.best_first(table, wanted.sort)
            rows = wanted.rows
            out.print(terminal.results(table, terminal.columns(table, wanted.columns), rows))
            if table.height > rows:
                out.print(f"… {table.height - rows} more rows in the table")
            for line in terminal.failures(table):
                out.print(line)
            if complaint and State.DONE in table["state"]:
                out.print(complaint, style="yellow")
        for problem in problems:
            out.print(str(problem), style="yellow")
        counts = dict(table["state"].value_counts().iter_rows())
        total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        out.print(f"{total} → {os.path.relpath(self._folder.path)}/results.parquet", soft_wrap=True)
        if complaint := at_end(self._folder, table.height, wanted.report):
            out.print(complaint, style="yellow")


def _data(config: DictConfig) -> tuple[str, ...]:
    """The paths that a job's config declares as its data."""
    given = _plain(config.hydra.launcher.get("data"))
    data = [given] if isinstance(given, str) else given or []
    if not isinstance(data, list) or not all(isinstance(path, str) for path in data):
        raise UsageError(f"hydra.launcher.data={data!r}: it must be a list of paths of files that jobs read")
    return tuple(data)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
