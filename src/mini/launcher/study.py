"""A study of a Hydra application: `hydra/sweeper=study`."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mini import batch
from mini.apparatus import handle, options
from mini.apparatus.base import Apparatus
from mini.apparatus.drivers import start_driver
from mini.apparatus.groups import Results
from mini.display import terminal
from mini.errors import CloudError, StorageError, UsageError
from mini.job import Job, Outcome
from mini.launcher import asked, fingerprint, folder_names, manifest, reporting, short_forms, stages, supported
from mini.launcher.command import refuse
from mini.launcher.fast import compose
from mini.launcher.fast.compose import REFUSALS, TemplateLoader
from mini.launcher.fingerprint import Fingerprints
from mini.launcher.jobs import Jobs, plain_value
from mini.launcher.search_space import SearchSpace
from mini.limits import Limits, duration
from mini.open_batch import OpenBatch
from mini.runs import layout, lookup
from mini.runs.folder import RunFolder
from mini.studies import options as study_options
from mini.studies.loop import Loop
from mini.studies.optimizer import Optimizer, require_optuna
from mini.studies.space import Chosen, Space, require_some


class StudyCommand:
    """A command that is a study.

    Args:
        context: Hydra's.
        task_function: The application's.
        config: Of the command as a whole; where the study goes on in the folder of a run, it is changed to say so.
    """

    def __init__(self, context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task_function, self._config = context, task_function, config
        compose.install(context)
        self._code = Fingerprints(task_function)
        try:
            if not short_forms.is_ours(config):
                raise UsageError(
                    "hydra/sweeper=study starts a trial when another ends, which Hydra's launchers cannot; put `mini` "
                    "into the defaults list of the application, or give hydra/launcher=apparatus"
                )
            require_optuna()
            launcher = config.hydra.launcher
            given = _plain(config.hydra.sweeper)
            if given.get("metric") is None:  # what it is called for sweepers that are not ours
                given["metric"] = plain_value(launcher.get("objective"))
            self._options = study_options.parse(given)
            self._results = options.parse(Results, plain_value(launcher.get("results")) or {}, "results")
            seconds = duration(launcher.get("budget"))
            self._limits = Limits(launcher.get("max_failures"), time.time() + seconds if seconds is not None else None)
            stages.begin(config, RunFolder(str(config.hydra.sweep.dir)).path.parent)
            self._goes_on = self._find_folder()
        except UsageError as error:
            refuse(error)

    def run(self, arguments: Sequence[str]) -> None:
        """Run the study to its end.

        Args:
            arguments: The overrides of the task's config.
        """
        setup_globals()
        whitelist = supported.execution_whitelist(self._context)
        supported.configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose, whitelist)
        jobs = Jobs(self._context, self._task_function, self._config, self._folder, self._code, is_trial=True)
        try:
            outcomes = self._run(jobs, arguments)
        except (UsageError, CloudError, StorageError) as error:
            if not self._folder.has_run():
                (self._folder.path / layout.STUDY).unlink(missing_ok=True)
            self._folder.forget()
            if self._folder.has_run() and self._folder.jobs() and not self._folder.is_driven():
                reporting.show(self._folder, self._results)
            refuse(error, code=2 if isinstance(error, UsageError) else 1)
        except batch.Stopped as error:
            reporting.show(self._folder, self._results)
            print(f"\n{error}", file=sys.stderr)
            raise SystemExit(130 if isinstance(error, batch.BatchInterrupted) else 1) from error
        finally:
            jobs.close()
        if (
            outcomes
            and any(outcome.state.is_failure for outcome in outcomes)
            and self._options.max_failure_rate is None
        ):
            raise SystemExit(1)

    def _find_folder(self) -> bool:
        """Find the run's folder; whether the study goes on that is there."""
        launcher = self._config.hydra.launcher
        if launcher.get("explain") is not None or launcher.get("only") is not None:
            raise UsageError("a trial of a study is chosen by the study: it cannot be explained or run again by itself")
        folder = RunFolder(folder_names.checked(str(self._config.hydra.sweep.dir), "hydra.sweep.dir"))
        resume = launcher.get("resume")
        if resume is None:
            if str(getattr(launcher.get("if_exists"), "name", launcher.get("if_exists"))) == "set_aside":
                folder.set_aside()
            folder.require_new()
            self._folder = folder
            return False
        home = folder.path.parent
        before = lookup.latest(home, exclude=folder.path) if resume == "latest" else lookup.find(home, str(resume))
        if not (before.path / layout.STUDY).exists() and not before.manifest().get("study"):
            raise UsageError(f"hydra.launcher.resume={resume}: {before.id} is no study; it has no {layout.STUDY}")
        self._folder = before
        handle.Run(before).status()  # brings the records of jobs that ran elsewhere
        with read_write(self._config), open_dict(self._config):
            self._config.hydra.sweep.dir = str(before.path)
            self._config.hydra.overrides.hydra.append(f"hydra.sweep.dir={before.path}")  # jobs are composed anew
        return True

    def _run(self, jobs: Jobs, arguments: Sequence[str]) -> list[Outcome]:
        loader = self._context.config_loader
        lines = [*(f"{name}={value}" for name, value in self._options.params), *arguments]
        space = SearchSpace(lines, self._config, loader)
        chosen = self._chosen_from(space)
        self._check(space, loader, chosen)
        if self._config.hydra.launcher.get("detach"):
            self._leave(jobs, space, chosen)
        if self._goes_on and self._folder.is_driven():
            with self._folder.driving():  # says who runs it
                pass
        optimizer = Optimizer(self._folder, self._options, chosen)
        has_begun = (self._folder.path / layout.RUN).exists()
        if not has_begun:
            OmegaConf.save(self._config, self._folder.path / layout.MULTIRUN)
        display = terminal.Display([], total=optimizer.limit, live=not self._prints())

        def place(values: Mapping[str, Any], index: int) -> tuple[Apparatus, Job]:
            apparatus, job = self._place(jobs, space, values, index)
            display.add(job)
            return apparatus, job

        with OpenBatch(
            self._folder,
            display,
            None if has_begun else self._manifest,
            limits=self._limits,
            prepare=lambda: fingerprint.write(
                self._folder.path, {**fingerprint.read(self._folder.path), **self._code.by_digest}
            ),
        ) as opened:
            outcomes = Loop(optimizer, self._options, opened, self._folder, place, _say).run()
        self._report(optimizer)
        return outcomes

    def _manifest(self, apparatus: Apparatus) -> dict[str, Any]:
        study = {"metric": self._options.metric, "direction": self._options.direction, "from": self._options.source}
        made = manifest.describe(self._task_function, self._config, [apparatus], self._options.trials)
        return {**made, "study": study}

    def _place(self, jobs: Jobs, space: SearchSpace, values: Mapping[str, Any], index: int) -> tuple[Apparatus, Job]:
        try:
            (planned,) = jobs.plan([space.overrides(values)], index)
        except REFUSALS as error:
            raise UsageError(f"trial {index} makes no job: {_text(error)}") from error
        return jobs.on(planned.where), planned.job

    def _chosen_from(self, space: SearchSpace) -> Space:
        name = self._options.space
        if name is None:
            require_some(space.dimensions)
            return space.dimensions
        return Chosen(_find(name), name, self._config, space.dimensions)

    def _check(self, space: SearchSpace, loader: Any, chosen: Space) -> None:
        """Compose what trials may be before the first begins, as far as that is known."""
        if isinstance(chosen, Chosen):
            return
        for lines in space.samples():
            try:
                if isinstance(loader, TemplateLoader):
                    loader.check(self._config, lines)
                else:
                    loader.load_sweep_config(self._config, lines)
            except REFUSALS as error:
                raise UsageError(_text(error)) from error

    def _prints(self) -> bool:
        """Whether the jobs print to this terminal themselves."""
        apparatus = plain_value(self._config.hydra.launcher.get("apparatus"))
        kind = apparatus.get("kind") if isinstance(apparatus, Mapping) else apparatus
        return kind == "debug" or bool(isinstance(apparatus, Mapping) and apparatus.get("logs"))

    def _report(self, optimizer: Optimizer) -> None:
        reporting.show(self._folder, self._results)
        names = self._options.metric or ("value",)
        best, found = optimizer.best(), []
        if best is not None:
            given = " ".join(f"{name}={terminal.format_cell(value)}" for name, value in best.params.items())
            print(f"best {names[0]}: {terminal.format_cell(best.value)}, job {best.job}  {given}")
            found = [{"name": "study", "best_params": dict(best.params), "best_value": best.value}]
        elif self._options.objectives > 1 and (front := optimizer.front()):
            print(
                f"no trial is better in everything than {len(front)}: jobs {', '.join(str(one.job) for one in front)}"
            )
            found = [
                {"name": "study", "solutions": [{"params": dict(o.params), "values": list(o.values)} for o in front]}
            ]
        for one in found:
            OmegaConf.save(OmegaConf.create(one), self._folder.path / "optimization_results.yaml")

    def _leave(self, jobs: Jobs, space: SearchSpace, chosen: Space) -> NoReturn:
        """Begin the run, let a process of its own drive it, say how to follow it, and end the command."""
        if not self._goes_on:
            sample = next(space.samples()) if not isinstance(chosen, Chosen) else space.overrides({})
            (planned,) = jobs.plan([sample], 0)
            apparatus = jobs.on(planned.where)
            apparatus.require_detachable()
            Optimizer(self._folder, self._options, chosen)
            self._folder.begin(self._manifest(apparatus))
            self._folder.add_jobs([])
        words = asked.again(self._folder.manifest(), self._folder.path)
        start_driver(self._folder, [sys.executable, *words], Path.cwd())
        run = self._folder.path.name
        print(f"{run} goes on by itself:")
        for verb in ("status", "watch", "results"):
            print(f"  mini {verb} {run}")
        raise SystemExit(0)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _plain(config: Any) -> dict[str, Any]:
    plain = plain_value(config)
    assert isinstance(plain, dict)
    return plain


def _text(error: BaseException) -> str:
    """What Hydra says of a job that cannot be composed, on one line."""
    return " ".join(f"{error} {error.__cause__ or ''}".split())


def _find(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"study.space={name}: there is no such function ({error})") from error
    if not callable(found):
        raise UsageError(f"study.space={name} is no function; it must take an Optuna trial, or a config and a trial")
    return found  # type: ignore[no-any-return]
