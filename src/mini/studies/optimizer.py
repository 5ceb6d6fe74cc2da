"""The study in Optuna: its storage, sampler and pruner. The only door to Optuna but for `space`."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini.errors import OptionError, UsageError, did_you_mean
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.studies.options import PRUNERS, SAMPLERS, StudyOptions
from mini.studies.space import Dimensions, Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

_JOB, _RUN, _SPACE, _METRIC = "job", "run", "mini:space", "mini:metric"
_EXTRA = "Optuna runs studies, and is not installed; `uv add 'hydra-apparatus[study]'` brings it"
_NEEDED: Mapping[str, Sequence[str]] = {"cmaes": ["cmaes"], "gp": ["torch", "scipy"], "qmc": ["scipy"]}


def require_optuna() -> None:
    """Import Optuna.

    Raises:
        UsageError: It is not there, or too old; says how to get it.
    """
    try:
        import optuna
    except ImportError as error:
        raise UsageError(_EXTRA) from error
    if int(optuna.__version__.split(".")[0]) < 5:
        raise UsageError(
            f"studies need Optuna 5 or later, and {optuna.__version__} is installed; hydra-optuna-sweeper asks for an "
            "old one, so remove it, or override what it asks for"
        )
    optuna.logging.set_verbosity(logging.WARNING)
    # Those who chose what is experimental in Optuna cannot do anything about that.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module=r"mini\.studies\.")


@dataclass(frozen=True)
class Best:
    """A trial that no other is better than.

    Args:
        job: The job's index; None of a trial that comes from another run.
        values: Of the metrics.
        params: What was chosen.
    """

    job: int | None
    values: tuple[float, ...]
    params: Mapping[str, Any]

    @property
    def value(self) -> float:
        """That of the first metric."""
        return self.values[0]


class Optimizer:
    """A study of one run, which is made or, where the run goes on, opened again.

    Args:
        folder: The run; its folder is there.
        options: Of the study.
        space: What it chooses from.

    Raises:
        UsageError: An option is not Optuna's, a package is missing, or the study that is there is another one.
    """

    def __init__(self, folder: RunFolder, options: StudyOptions, space: Space) -> None:
        require_optuna()
        import optuna

        self._folder, self._options, self._space = folder, options, space
        _sampler(options, space, 0)  # so that nothing is written if it is not possible
        pruner = _pruner(options)
        if isinstance(space, Dimensions):
            for given in options.enqueue:
                space.require_possible(_flat(given))
        self._storage = _storage(folder.path / layout.STUDY, options.storage)
        name = options.name or folder.id
        known = name in (one.study_name for one in self._storage.get_all_studies())
        told = len(self._storage.get_all_trials(self._storage.get_study_id_from_name(name))) if known else 0
        self.study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            sampler=_sampler(options, space, told),
            pruner=pruner,
            directions=[optuna.study.StudyDirection[one.upper()] for one in options.direction],
            load_if_exists=True,
        )
        self._id = self._storage.get_study_id_from_name(name)
        self._require_same(known)
        self._next = max((job for _, job in self.trials()), default=-1) + 1
        if not known:
            self.study.set_user_attr(_SPACE, dict(space.describe()))
            self.study.set_user_attr(_METRIC, list(options.metric or ()))
            if options.metric is not None:
                self.study.set_metric_names(list(options.metric))
            self._take_over(options.source)
            for given in options.enqueue:
                self.study.enqueue_trial(_flat(given), user_attrs={"enqueued": True})

    # Trials.

    def ask(self) -> tuple[Trial, int]:
        """Begin the next trial: the trial, and the index of its job. `choose` says what it tries."""
        trial = self.study.ask()
        return trial, self._adopt(trial)

    def choose(self, trial: Trial) -> Mapping[str, Any]:
        """The values of a trial; of one that goes on, those it had.

        Raises:
            UsageError: The function of the space returned what it must not.
        """
        return self._space.suggest(trial)

    def unfinished(self) -> list[tuple[Trial, int]]:
        """The trials of this run that were begun and not told, with the indices of their jobs."""
        import optuna

        found = []
        for frozen in self._all(optuna.trial.TrialState.RUNNING):
            if self._options.storage is not None and frozen.user_attrs.get(_RUN) != self._folder.id:
                continue  # another run's, which may be running it
            trial = optuna.trial.Trial(
                self.study, self._storage.get_trial_id_from_study_id_trial_number(self._id, frozen.number)
            )
            index = frozen.user_attrs.get(_JOB)
            found.append((trial, index if isinstance(index, int) else self._adopt(trial)))
        return found

    def trials(self) -> Iterator[tuple[FrozenTrial, int]]:
        """All trials of this run, with the indices of their jobs."""
        for frozen in self._all():
            index = frozen.user_attrs.get(_JOB)
            if isinstance(index, int) and frozen.user_attrs.get(_RUN) == self._folder.id:
                yield frozen, index

    def report(self, trial: Trial, value: float, step: int) -> bool:
        """Note a metric at a step, and say whether the trial shall end early."""
        trial.report(value, step)
        return not math.isnan(value) and trial.should_prune()

    def tell(
        self,
        trial: Trial,
        values: Sequence[float] | None,
        *,
        is_pruned: bool = False,
        attributes: Mapping[str, Any] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """Say what became of a trial. Each is told once.

        Args:
            trial: The trial.
            values: Of the metrics; None for one that has none.
            is_pruned: Whether it has none as it ended early.
            attributes: What else is to be known of it.
            constraints: By name, what must be 0 or less.
        """
        import optuna

        states = optuna.trial.TrialState
        state = states.COMPLETE if values is not None else states.PRUNED if is_pruned else states.FAIL
        for name, value in (attributes or {}).items():
            trial.set_user_attr(name, value)
        for name, value in (constraints or {}).items():
            trial.set_constraint(name, value)
        try:
            self.study.tell(trial, None if values is None else list(values), state)
        except RuntimeError as error:
            # A sampler that has no more to try stops the loop that Optuna has and we have not; the trial is told.
            if "Study.stop" not in str(error):
                raise

    def best(self) -> Best | None:
        """The best trial, of one objective; None while there is none."""
        if self._options.objectives > 1:
            return None
        sign = -1.0 if self._options.direction[0] == "maximize" else 1.0
        found = [
            one
            for one in self._complete()
            if one.values is not None and all(value <= 0 for value in one.constraints.values())
        ]
        if not found:
            return None
        first = min(found, key=lambda one: sign * one.values[0])
        return Best(first.user_attrs.get(_JOB) if self._is_own(first) else None, tuple(first.values), first.params)

    def front(self) -> list[Best]:
        """The trials that no other is better than in every objective."""
        trials = self.study.best_trials
        return [
            Best(one.user_attrs.get(_JOB) if self._is_own(one) else None, tuple(one.values), one.params)
            for one in trials
        ]

    @property
    def limit(self) -> int:
        """How many trials there are at most: those asked for, or all of a grid."""
        if self._options.sampler != "grid":
            return self._options.trials
        return min(self._options.trials, math.prod(len(values) for values in self._space.grid().values()))

    def _is_own(self, trial: FrozenTrial) -> bool:
        return trial.user_attrs.get(_RUN) == self._folder.id

    def _complete(self) -> Sequence[FrozenTrial]:
        import optuna

        return self._all(optuna.trial.TrialState.COMPLETE)

    def _all(self, *states: optuna.trial.TrialState) -> Sequence[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _adopt(self, trial: Trial) -> int:
        """Give a trial the next job."""
        index = self._next
        self._next += 1
        trial.set_user_attr(_RUN, self._folder.id)
        trial.set_user_attr(_JOB, index)
        return index

    # What was there before.

    def _require_same(self, is_known: bool) -> None:
        """Refuse to go on with a study of another space, or of other objectives."""
        if not is_known:
            return
        before, now = self.study.user_attrs.get(_SPACE), dict(self._space.describe())
        if before is not None and before != now:
            name = next(name for name in sorted({*before, *now}) if before.get(name) != now.get(name))
            raise UsageError(
                f"{self._folder.id} is a study of another space: {name} was {before.get(name, 'not in it')} and is "
                f"{now.get(name, 'not in it')}; nothing was changed. study.from={self._folder.id} begins a new study "
                "that knows its trials"
            )
        directions = [one.name.lower() for one in self.study.directions]
        metric = self.study.user_attrs.get(_METRIC)
        asked = list(self._options.metric or ())
        has_told = any(frozen.state.is_finished() for frozen in self._all())
        if directions != list(self._options.direction) or (metric is not None and metric != asked and has_told):
            before_that = f"{', '.join(directions)} {', '.join(metric or ['what is returned'])}"
            raise UsageError(
                f"{self._folder.id} is a study that was to {before_that}, and not to "
                f"{', '.join(self._options.direction)} {', '.join(asked or ['what is returned'])}; nothing was changed"
            )

    def _take_over(self, runs: Sequence[str]) -> None:
        """Let the sampler know the trials of earlier studies that are of this space."""
        import optuna

        from mini.runs import lookup

        mine = set(self._space.describe())
        for run in runs:
            folder = lookup.find(self._folder.path.parent, run)
            path = folder.path / layout.STUDY
            if not path.exists():
                raise UsageError(f"study.from={run}: {folder.id} is no study; it has no {layout.STUDY}")
            storage = _journal(path)
            for summary in storage.get_all_studies():
                if len(summary.directions) != self._options.objectives:
                    raise UsageError(
                        f"study.from={run}: {folder.id} has {len(summary.directions)} objectives, and this study "
                        f"{self._options.objectives}"
                    )
                source = optuna.load_study(study_name=summary.study_name, storage=storage)
                for frozen in source.get_trials(deepcopy=True):
                    if frozen.state.is_finished() and (set(frozen.params) <= mine or "(function)" in mine):
                        attrs = {k: v for k, v in frozen.user_attrs.items() if k not in (_JOB, _RUN)}
                        frozen.user_attrs = {**attrs, "from": folder.id}
                        self.study.add_trial(frozen)


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as dotted keys, as a space has them."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": part for key, part in _flat(value).items()})
        else:
            flat[str(name)] = value
    return flat


def _storage(path: Path, url: str | None) -> Any:
    import optuna

    if url is not None:
        try:
            return optuna.storages.get_storage(url)
        except Exception as error:
            raise UsageError(f"study.storage={url!r} cannot be opened: {error}") from error
    _mend(path)
    return _journal(path)


def _journal(path: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    return JournalStorage(JournalFileBackend(str(path)))


def _mend(path: Path) -> None:
    """Take from a journal what a process left there that was killed while it wrote: half a line, and its lock.

    Whoever calls this is the only one who drives the run.
    """
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        last = data[data.rfind(b"\n", 0, end - 1) + 1 : end] if end else b""
        try:
            json.loads(last or b"{}")
        except ValueError:
            end -= len(last)
        if end < len(data):
            file.truncate(end)


def _sampler(options: StudyOptions, space: Space, told: int) -> Any:
    import optuna

    given = dict(options.sampler_args)
    missing = [name for name in _NEEDED.get(options.sampler, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"study.sampler={options.sampler} needs {' and '.join(missing)}, which is not installed")
    made = getattr(optuna.samplers, SAMPLERS[options.sampler])
    if options.sampler == "grid":
        given["search_space"] = space.grid()
    # A study that goes on must not draw the numbers again that it drew at its beginning. A sequence of its own kind,
    # or an order of a grid, is the same one.
    seed = options.seed
    if seed is not None and told and options.sampler not in ("grid", "qmc"):
        seed = (seed * 1_000_003 + told) % 2**32
    return _made(made, {**given, "seed": seed}, f"study.sampler={options.sampler}")


def _pruner(options: StudyOptions) -> Any:
    import optuna

    if options.pruner is None:
        return optuna.pruners.NopPruner()
    given = dict(options.pruner_args)
    if options.pruner == "asha":
        given = {"min_resource": 1, "reduction_factor": 3, **given}
    if options.pruner == "patience":
        given = {"wrapped_pruner": None, "patience": 5, **given}
    if options.pruner == "percentile":
        given = {"percentile": 25.0, **given}
    if options.pruner == "hyperband" and "max_resource" not in given:
        raise UsageError(
            "study.pruner=hyperband needs to know how many steps there are: study.pruner_args.max_resource=N"
        )
    if options.pruner == "threshold" and not {"lower", "upper"} & given.keys():
        raise UsageError("study.pruner=threshold needs study.pruner_args.lower or upper")
    return _made(getattr(optuna.pruners, PRUNERS[options.pruner]), given, f"study.pruner={options.pruner}")


def _made(cls: Any, given: Mapping[str, Any], what: str) -> Any:
    valid = list(inspect.signature(cls).parameters)
    for name in given:
        if name not in valid:
            raise OptionError(f"{what} takes no {name!r}; {did_you_mean(name, valid)}")
    try:
        return cls(**given)
    except (ValueError, TypeError) as error:
        raise OptionError(f"{what} is not possible: {error}") from error
