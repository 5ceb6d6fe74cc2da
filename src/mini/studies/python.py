"""A study of a function: `mini.study`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini import combine, project
from mini.apparatus.base import Apparatus
from mini.apparatus.handle import Run
from mini.display import terminal
from mini.errors import UsageError
from mini.job import Job
from mini.open_batch import OpenBatch
from mini.runs import layout, manifest
from mini.runs.folder import RunFolder
from mini.runs.run_id import new_run_id
from mini.runs.values import flatten
from mini.studies import options as study_options
from mini.studies.loop import Loop
from mini.studies.optimizer import Best, Optimizer, require_optuna
from mini.studies.space import Chosen, Dimensions, Space, require_some
from mini.studies.task import TrialTask

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Args:
        run: The run, with its table.
        optuna: The study itself, for whatever Optuna does with one.
        best: The best trial of one objective; None if there is none, or there are several objectives.
        front: The trials that no other is better than in every objective.
    """

    run: Run
    optuna: optuna.Study
    best: Best | None
    front: list[Best]


def study(
    fn: Callable[..., Any],
    space: Mapping[str, Any] | Callable[[Any], Any],
    *,
    apparatus: Apparatus | None = None,
    run: str | None = None,
    **options: Any,
) -> StudyResult:
    """Call `fn` with values that are chosen by what came of the earlier calls.

    A call starts the moment another ends. What `fn` gives to `mini.progress` decides if it ends early, with `pruner`.

    Args:
        fn: Called with one keyword argument for each dimension. It returns a number, or a mapping with the metric.
        space: By argument, a distribution of `optuna.distributions` or a list of choices; or a function that takes an
            Optuna trial, suggests values, and may return further arguments.
        apparatus: Where the calls run; None for worker processes on this machine.
        run: Name of the run, a folder under `outputs/`; None for the time and a few letters. The study of a run that
            is there goes on where it was.
        options: Those of `hydra/sweeper=study`: `trials`, `metric`, `direction`, `parallel`, `sampler`, `pruner`,
            `stop` and so on. `source` is what the command line calls `study.from`.

    Returns:
        What was found.

    Raises:
        UsageError: Something is wrong with an option or the space; nothing was started. Or the first call has not
            what the study needs.
        Stopped: The run was cancelled.
    """
    require_optuna()
    if "source" in options:
        options["from"] = options.pop("source")
    chosen = study_options.parse(options)
    where = _space(space)
    folder = RunFolder(project.outputs() / (run or new_run_id()))
    goes_on = (folder.path / layout.STUDY).exists()
    if not goes_on:
        folder.require_new()
    task = TrialTask(fn)
    own = None
    if apparatus is None:
        from mini.apparatus.local.apparatus import LocalApparatus

        own = apparatus = LocalApparatus(project.name())
    placed: Apparatus = apparatus

    def place(values: Mapping[str, Any], index: int) -> tuple[Apparatus, Job]:
        path = str(folder.path / str(index))
        row = flatten(values, "overrides.")
        job = Job(index, task, kwargs=dict(values), folder=path, run=str(folder.path), record=True, row=row)
        display.add(job)
        return placed, job

    def described(first: Apparatus) -> dict[str, Any]:
        about = manifest.describe(
            getattr(fn, "__qualname__", repr(fn)), chosen.trials, {first.kind: [first.manifest()]}
        )
        return {**about, "study": {"metric": chosen.metric, "direction": chosen.direction, "from": chosen.source}}

    try:
        optimizer = Optimizer(folder, chosen, where)
        display = terminal.Display([], total=optimizer.limit)
        begun = (folder.path / layout.RUN).exists()
        with OpenBatch(folder, display, None if begun else described) as opened:
            Loop(optimizer, chosen, opened, folder, place, lambda text: print(text, file=sys.stderr)).run()
        combine.write(folder)
    except UsageError:
        if not folder.has_run():
            (folder.path / layout.STUDY).unlink(missing_ok=True)
            folder.forget()
        raise
    finally:
        if own is not None:
            own.close()
    front = optimizer.front() if chosen.objectives > 1 else []
    return StudyResult(Run(folder), optimizer.study, optimizer.best(), front)


def _space(given: Mapping[str, Any] | Callable[[Any], Any]) -> Space:
    from optuna.distributions import BaseDistribution, CategoricalDistribution

    if callable(given):
        return Chosen(given, getattr(given, "__qualname__", repr(given)), None, Dimensions({}))
    by_name: dict[str, BaseDistribution] = {}
    for name, one in given.items():
        if isinstance(one, list | tuple | range) and one:
            one = CategoricalDistribution(list(one))
        if not isinstance(one, BaseDistribution):
            raise UsageError(
                f"{name}={one!r} is no dimension of a space; give a distribution of optuna.distributions, such as "
                "FloatDistribution(1e-5, 1e-1, log=True), or a list of choices"
            )
        by_name[name] = one
    space = Dimensions(by_name)
    require_some(space)
    return space
