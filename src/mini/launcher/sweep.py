"""A Hydra multirun through apparatus: compose all jobs, run them, hand back what Hydra expects."""

from __future__ import annotations

import atexit
import functools
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, JobRuntime, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mini import batch
from mini.apparatus import handle, options
from mini.apparatus.groups import Results
from mini.cost import estimate
from mini.display import terminal
from mini.errors import CloudError, StorageError, UsageError
from mini.job import Job, Outcome
from mini.launcher import fingerprint, folder_names, manifest, misplaced, reporting, stages, supported
from mini.launcher.command import refuse
from mini.launcher.fast import compose, validation
from mini.launcher.fingerprint import Fingerprints
from mini.launcher.job_return import LazyJobReturn
from mini.launcher.jobs import Jobs, plain_value
from mini.launcher.objective import Checked, Objective
from mini.launcher.price import Price, places
from mini.launcher.resume import Earlier, Policy
from mini.launcher.spec import Spec
from mini.limits import Limits, duration
from mini.notify import Notifier
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
        notify: Who is told of the end and of the first failure.
        ask_above: Dollars above which a paid sweep asks before it starts.
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
        notify: Any,
        ask_above: Any,
    ) -> None:
        self._context, self._task_function, self._config = context, task_function, config
        compose.install(context)
        validation.install()
        self._begun = False
        self._taken_over: set[int] = set()
        self._earlier: Earlier | None = None
        self._detach, self._explain = detach, explain
        self._code = Fingerprints(task_function)
        self._sweeper = str(OmegaConf.select(config, "hydra.sweeper._target_"))
        try:
            self._folder = RunFolder(folder_names.checked(str(config.hydra.sweep.dir), "hydra.sweep.dir"))
            self._jobs = Jobs(context, task_function, config, self._folder, self._code)
            directions = OmegaConf.select(config, "hydra.sweeper.direction")
            self._objective = Objective(objective, self._sweeper, directions)
            stages.begin(config, self._folder.path.parent)
            self._results = options.parse(Results, plain_value(config.hydra.launcher.get("results")) or {}, "results")
            seconds = duration(budget)
            self._price = Price(ask_above)
            self._notifier = Notifier(notify, self._folder)
            atexit.register(self._notifier.end)
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
                reporting.show(self._folder, self._results)
            refuse(error, code=2 if isinstance(error, UsageError) else 1)
        except batch.Stopped as error:
            self.close()
            reporting.show(self._folder, self._results)
            print(f"\n{error}", file=sys.stderr)
            raise SystemExit(130 if isinstance(error, batch.BatchInterrupted) else 1) from error
        reporting.show(self._folder, self._results)
        cwd, name = str(Path.cwd()), JobRuntime.instance().get("name")
        return [
            LazyJobReturn(
                functools.partial(self._jobs.compose, initial_job_idx + i, list(overrides)),
                outcome,
                cwd,
                name,
                self._objective.pick,
                is_recorded=outcome.index in self._taken_over,
            )
            for i, (overrides, outcome) in enumerate(zip(job_overrides, outcomes, strict=True))
        ]

    def close(self) -> None:
        """End the workers."""
        self._jobs.close()
        self._notifier.end()

    def _run(self, job_overrides: Sequence[list[str]], first: int) -> list[Outcome]:
        by_spec: dict[Spec, list[Job]] = {}
        known: list[tuple[Job, Outcome]] = []
        for planned in self._jobs.plan(job_overrides, first, self._explain):
            job = planned.job
            if planned.columns is not None and self._earlier is not None:
                print(self._earlier.explain(job, self._code, planned.columns))
                raise SystemExit(0)
            if self._earlier is not None and (outcome := self._earlier.outcome(job, self._code)) is not None:
                known.append((job, outcome))
                self._taken_over.add(outcome.index)
            else:
                by_spec.setdefault(planned.where, []).append(self._earlier.next_attempt(job) if self._earlier else job)
        if self._explain is not None:
            raise UsageError(f"the command of {self._folder.id} does not begin with a job {self._explain}")
        for name in sorted({name for where in by_spec for name in where.gpu.unknown}):
            print(f"warning: Modal is not known to have a GPU {name}; it is asked for as it is", file=sys.stderr)
        own = {name: plain_value(self._config[name]) for name in ("image", "gpu") if name in self._config}
        for note in misplaced.notes(own) if any(where.kind != "local" for where in by_spec) else ():
            print(note, file=sys.stderr)
        groups = [batch.Placement(self._jobs.on(where), jobs) for where, jobs in by_spec.items()]
        asked = None
        if not self._begun:
            placed = [group.apparatus for group in groups]
            asked = manifest.describe(self._task_function, self._config, placed, len(job_overrides))
            asked["places"] = estimate.describe(places(groups))
        self._price.confirm(groups, manifest.task_name(self._task_function), self._folder.path.parent)
        if self._detach:
            self._leave(groups, asked or {})
        prints = any(w.kind == "debug" or getattr(w.apparatus, "logs", False) for w in by_spec)
        jobs = [job for group in groups for job in group.jobs]
        if self._earlier is not None and self._earlier.has_results:
            done = sum(outcome.ok for _, outcome in known)
            print(f"{done} of {len(job_overrides)} jobs are done already", file=sys.stderr)
            for line in self._earlier.report():
                print(line, file=sys.stderr)
        display = self._notifier.watching(terminal.Display(jobs, live=not prints))
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
        parts = [(group.apparatus, group.jobs) for group in groups]
        note_code = functools.partial(fingerprint.write, self._folder.path, self._code.by_digest)
        handle.begin(parts, self._folder, asked, self._limits, self._notifier.notify, note_code)
        self.close()
        run = self._folder.path.name
        print(f"{run} goes on by itself:")
        for verb in ("status", "watch", "results"):
            print(f"  mini {verb} {run}")
        raise SystemExit(0)
