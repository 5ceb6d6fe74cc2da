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
from mini.errors import CloudError, RecordError, StorageError, UsageError
from mini.job import Failure, Job, Outcome, State
from mini.launcher import folder_names, short_forms, singletons, spec, supported
from mini.launcher import overrides as override_text
from mini.launcher.asked import lasting, program
from mini.launcher.columns import config_columns
from mini.launcher.command import refuse
from mini.launcher.fast import compose, validation
from mini.launcher.fast.compose import Recipe, TemplateLoader
from mini.launcher.job import HydraTask
from mini.launcher.job_return import LazyJobReturn
from mini.launcher.objective import Checked, Objective
from mini.launcher.overrides import as_typed
from mini.launcher.plain import SINGLE
from mini.launcher.spec import Spec
from mini.limits import Limits, duration
from mini.runs import files, layout, lookup, manifest, records
from mini.runs.folder import RunFolder
from mini.runs.live import read_live
from mini.runs.records import Record

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
        only: Of what is not done, run this job alone.
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
        only: int | None,
        max_failures: int | None,
        budget: Any,
        detach: bool,
        objective: Any,
    ) -> None:
        self._context, self._task_function, self._config = context, task_function, config
        compose.install(context)
        validation.install()
        self._apparatus: dict[object, Apparatus] = {}
        self._sweeper = str(OmegaConf.select(config, "hydra.sweeper._target_"))
        self._begun = self._again = False
        self._only, self._detach = only, detach
        self._done: dict[str, tuple[Path, Record]] = {}
        self._attempts: dict[int, int] = {}
        try:
            self._folder = RunFolder(folder_names.checked(str(config.hydra.sweep.dir), "hydra.sweep.dir"))
            self._objective = Objective(objective, self._sweeper)
            self._results = options.parse(Results, _plain(config.hydra.launcher.get("results")) or {}, "results")
            seconds = duration(budget)
            self._limits = Limits(max_failures, time.time() + seconds if seconds is not None else None)
            if resume is not None:
                self._resume(resume)
            if self._again:
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

    def _resume(self, run: str) -> None:
        """Find what need not run again."""
        home = self._folder.path.parent
        before = lookup.latest(home, exclude=self._folder.path) if run == "latest" else lookup.find(home, run)
        self._again = self._begun = before.path == self._folder.path
        handle.Run(before).status()  # brings the records of jobs that ran elsewhere
        for line, record in before.records():
            if isinstance(record, Record):
                self._attempts[line.index] = record.outcome.attempt
                if record.outcome.ok and line.key:
                    self._done[line.key] = (Path(line.folder), record)

    def _take_over(self, job: Job) -> Outcome | None:
        """The outcome of a job that is done already, its files in its new folder; None for one that is not."""
        if job.key not in self._done or job.folder is None:
            return None
        source, record = self._done[job.key]
        try:
            outcome = records.read_value(source, record.outcome)
        except RecordError:  # the value is elsewhere, and too large to be in the record
            return None
        if Path(job.folder) != source:
            files.link_tree(source, Path(job.folder), without=frozenset((layout.RECORD, layout.LIVE)))
            outcome = dataclasses.replace(
                outcome, index=job.index, folder=job.folder, where={**outcome.where, "taken_from": str(source)}
            )
            records.write_record(outcome, {**record.row, **job.row})
        return dataclasses.replace(outcome, folder=job.folder)

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
                is_remote = not self._on(where).files_are_here
                # The folder is on a volume there, at the same relative place.
                sweep_dir = project.relative(self._folder.path) if is_remote else None
                arguments = (given[i], first + i, sweep_dir)
                job = self._job(elsewhere if is_remote else task, config, arguments, overrides)
            if (outcome := self._take_over(job)) is not None or (outcome := self._left_out(job)) is not None:
                known.append((job, outcome))
            else:
                by_spec.setdefault(where, []).append(self._next_attempt(job))
        for name in sorted({name for where in by_spec for name in where.gpu.unknown}):
            print(f"warning: Modal is not known to have a GPU {name}; it is asked for as it is", file=sys.stderr)
        groups = [batch.Placement(self._on(where), jobs) for where, jobs in by_spec.items()]
        asked = None if self._begun else self._manifest(groups, len(job_overrides))
        if self._detach:
            self._leave(groups, asked or {})
        prints = any(w.kind == "debug" or getattr(w.apparatus, "logs", False) for w in by_spec)
        jobs = [job for group in groups for job in group.jobs]
        if self._done:
            print(
                f"{sum(outcome.ok for _, outcome in known)} of {len(job_overrides)} jobs are done already",
                file=sys.stderr,
            )
        display: batch.Watcher = terminal.Display(jobs, live=not prints)
        outcomes = batch.run_jobs(
            groups,
            self._folder,
            Checked(display, self._objective) if self._objective.needs_check else display,
            asked,
            known=known,
            in_place=self._again,
            limits=self._limits,
        )
        self._begun = True
        return outcomes

    def _left_out(self, job: Job) -> Outcome | None:
        """What is known of a job that shall not run now; None for one that shall."""
        if self._only is None or job.index == self._only:
            return None
        try:
            return records.read_record(Path(str(job.folder))).outcome
        except (FileNotFoundError, RecordError):
            return Outcome(job.index, State.CANCELLED, failure=Failure("Cancelled", "it was left out"), key=job.key)

    def _next_attempt(self, job: Job) -> Job:
        """The job, one attempt later if it was tried in this folder before."""
        if not self._again or job.folder is None:
            return job
        live = read_live(Path(job.folder)) or {}
        attempt = max(int(live.get("attempt") or 0), self._attempts.get(job.index, 0))
        return dataclasses.replace(job, attempt=attempt + 1)

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
        if self._done:
            raise UsageError("hydra.launcher.detach=true begins a new run; resume without it")
        handle.begin(
            [(group.apparatus, group.jobs) for group in groups],
            self._folder,
            asked,
            self._limits,
        )
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
            record=True,
            row=override_text.columns(filter_overrides(overrides)),
        )

    def _key(self, config: DictConfig, given: DictConfig | Recipe) -> str:
        """The task and its resolved config, without what says where to run."""
        what = f"{getattr(self._task_function, '__module__', '')}.{getattr(self._task_function, '__qualname__', '')}"
        loader = self._context.config_loader
        if isinstance(given, Recipe) and isinstance(loader, TemplateLoader):
            columns = config_columns(config, loader.templates[given.groups], given.changed_keys)
        else:
            columns = config_columns(config)
        return blake2b(repr((what, sorted(columns.items()))).encode(), digest_size=16).hexdigest()

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


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
