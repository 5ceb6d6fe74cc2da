"""The options of a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mini.apparatus import options
from mini.apparatus.options import Pairs, items, number, option, text, whole
from mini.errors import OptionError, UsageError, did_you_mean
from mini.limits import duration

DIRECTIONS = ("minimize", "maximize")

SAMPLERS: Mapping[str, str] = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "grid": "GridSampler",
    "qmc": "QMCSampler",
    "brute": "BruteForceSampler",
}
"""Optuna's samplers by what `study.sampler` calls them."""

PRUNERS: Mapping[str, str] = {
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "patience": "PatientPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
}
"""Optuna's pruners by what `study.pruner` calls them."""


def names(value: Any) -> tuple[str, ...]:
    """A text, or a list of texts."""
    return options.texts(value) if isinstance(value, list | tuple) else (text(value),)


def _directions(value: Any) -> tuple[str, ...]:
    given = tuple(
        str(getattr(one, "name", one)).lower() for one in (value if isinstance(value, list | tuple) else [value])
    )
    if not given or any(one not in DIRECTIONS for one in given):
        raise ValueError("it must be minimize or maximize, or a list of these")
    return given


def _rate(value: Any) -> float:
    return number(0, "", 1)(value)  # type: ignore[no-any-return]


def _one_of(known: Mapping[str, str]) -> options.Check:
    def check(value: Any) -> str:
        if str(value) not in known:
            raise ValueError(f"it must be one of {', '.join(known)}")
        return str(value)

    return check


def _trials(value: Any) -> tuple[Mapping[str, Any], ...]:
    given = [value] if isinstance(value, Mapping) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) and one for one in given):
        raise ValueError("it must be a list of mappings, such as [{optimizer.lr: 0.01}]")
    return tuple({str(name): part for name, part in one.items()} for one in given)


def _seconds(value: Any) -> float:
    try:
        seconds = duration(value)
    except OptionError:
        seconds = None
    if seconds is None:
        raise ValueError("it must be a time such as 90s, 15m, 2h or 1d")
    return seconds


@dataclass(frozen=True)
class StopOptions:
    """`study.stop`: when no further trial begins. Those that run are finished."""

    time: float | None = option(None, "after this time, such as `2h`", _seconds)
    trials: int | None = option(None, "after so many trials that were neither pruned nor failed", whole(1))
    stale: int | None = option(None, "after so many trials in a row that were not better than the best", whole(1))
    target: float | None = option(None, "when the metric is this good", number(float("-inf")))
    budget: float | None = option(None, "when the trials have run for so long in all, such as `40h`", _seconds)


@dataclass(frozen=True)
class StudyOptions:
    """`hydra/sweeper=study`: what is tried, how it is judged, and when it ends."""

    trials: int = option(20, "how many there are in all, pruned and failed ones among them", whole(1))
    metric: tuple[str, ...] | None = option(
        None,
        "the name of the metric, in what the task returns and in what it gives to `mini.progress`; a list for several "
        "objectives; null: the number that the task returns",
        names,
    )
    direction: tuple[str, ...] = option(
        ("minimize",), "`minimize` or `maximize`; a list, one for each of several metrics", _directions
    )
    parallel: int | None = option(None, "trials that run at a time; null: as many as the engine has room for", whole(1))
    sampler: str = option("tpe", f"how the next trial is chosen: `{'`, `'.join(SAMPLERS)}`", _one_of(SAMPLERS))
    sampler_args: Pairs = option((), "what Optuna's sampler takes, such as `{n_startup_trials: 20}`", items)
    pruner: str | None = option(None, f"which trials end early: `{'`, `'.join(PRUNERS)}`", _one_of(PRUNERS))
    pruner_args: Pairs = option((), "what Optuna's pruner takes, such as `{min_resource: 2}`", items)
    grace: float = option(
        30.0, "seconds a trial has to end when it is pruned; then the engine stops it", number(0, "seconds")
    )
    seed: int | None = option(None, "of the sampler; null: another one each time", whole(0))
    space: str | None = option(None, "a function that chooses, `package.module.function` of an Optuna trial", text)
    params: Pairs = option((), "the search space, by key, in the syntax of the command line", items)
    enqueue: tuple[Mapping[str, Any], ...] = option((), "trials to begin with: values by key", _trials)
    source: tuple[str, ...] = option((), "runs of earlier studies whose trials the sampler knows", names)
    constraints: tuple[str, ...] = option((), "metrics that must be 0 or less", names)
    max_failure_rate: float | None = option(
        None, "the share of failed trials after which the study stops; null for any", _rate
    )
    storage: str | None = option(
        None, "the URL of an Optuna storage; null: a journal in the run folder, which survives whatever happens", text
    )
    name: str | None = option(None, "the study's name in the storage; null: the run's", text)
    stop: StopOptions = field(default_factory=StopOptions)

    @property
    def objectives(self) -> int:
        """How many there are."""
        return len(self.direction)


_RENAMED = {"from": "source", "n_trials": "trials", "n_jobs": "parallel", "study_name": "name"}
"""How an option is called that cannot be called so in Python, or is hydra-optuna-sweeper's."""


def defaults() -> dict[str, Any]:
    """The config of a study: plain values by key, as `parse` takes them."""
    plain = options.defaults(StudyOptions)
    plain.pop("source")
    # A mapping of the default direction could not be told from one of the user's.
    return {**plain, "direction": "minimize", "from": None, "stop": options.defaults(StopOptions)}


def table() -> Iterator[str]:
    """The options as the rows of a Markdown table."""
    yield "| option | default | |"
    yield "|---|---|---|"
    for schema, group in ((StudyOptions, "study"), (StopOptions, "study.stop")):
        for name, one in options.fields(schema).items():
            if name == "stop":
                continue
            shown = defaults().get(name) if schema is StudyOptions else one.default
            default = (
                "null" if shown is None else str(shown) if not isinstance(shown, list) else str(shown).replace("'", "")
            )
            yield f"| `{group}.{'from' if name == 'source' else name}` | `{default}` | {one.help} |"


def parse(given: Mapping[str, Any], prefix: str = "study") -> StudyOptions:
    """Check the options of a study.

    Args:
        given: Plain values by key, as `defaults` names them, or as hydra-optuna-sweeper does.
        prefix: What the user's names begin with, for errors.

    Raises:
        OptionError: A key is unknown, with the valid ones, or a value is impossible.
        UsageError: Two options do not go together.
    """
    values = _of_hydra_optuna(given)
    stop = values.pop("stop", None) or {}
    source = values.pop("source", None) or ()
    known = [name for name in options.fields(StudyOptions) if name not in ("stop", "source")]
    for name in values:
        if name not in known:
            raise OptionError(
                f"{prefix}.{name} is not an option of a study; {did_you_mean(name, [*known, 'from', 'stop'])}"
            )
    chosen = options.parse(StudyOptions, {k: v for k, v in values.items() if v is not None}, prefix)
    chosen = dataclasses.replace(
        chosen,
        stop=options.parse(StopOptions, stop, f"{prefix}.stop"),
        source=options.fields(StudyOptions)["source"].checked(source, f"{prefix}.from") if source else (),
    )
    _check(chosen, prefix)
    return chosen


def _of_hydra_optuna(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the names of ours, and a sampler that is written as an object of Optuna's as its name and arguments."""
    values = {str(name): value for name, value in given.items() if not str(name).startswith("_")}
    for theirs, ours in _RENAMED.items():
        if (value := values.pop(theirs, None)) is not None:
            values[ours] = value
    if (code := values.pop("custom_search_space", None)) is not None:
        values["space"] = code
    if (space := values.pop("search_space", None)) is not None:
        raise OptionError(
            f"hydra.sweeper.search_space is the old way to write a space ({', '.join(map(str, space))}); write it as "
            "hydra.sweeper.params, such as {x: interval(0, 1)}"
        )
    for kind, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if isinstance(values.get(kind), Mapping):
            _take_apart(values, kind, known)
    return values


def _take_apart(values: dict[str, Any], kind: str, known: Mapping[str, str]) -> None:
    written = {name: value for name, value in values[kind].items() if value is not None and name != "_partial_"}
    target = str(written.pop("_target_", "")).rpartition(".")[2]
    by_class = {cls: name for name, cls in known.items()}
    if target == "MOTPESampler":  # since Optuna 3 it is the same as TPE
        target = "TPESampler"
        written.pop("n_ehvi_candidates", None)
    if target not in by_class:
        raise OptionError(f"study.{kind} is {target or 'a mapping'}; give one of {', '.join(known)}, or null")
    values[kind] = by_class[target]
    if kind == "sampler" and (seed := written.pop("seed", None)) is not None:
        values["seed"] = seed
    old = ("consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints", "warn_independent_sampling")
    values[f"{kind}_args"] = {name: value for name, value in written.items() if name not in old}


def _check(chosen: StudyOptions, prefix: str) -> None:
    metrics, directions = chosen.metric, chosen.direction
    if metrics is not None and len(metrics) != len(directions):
        raise UsageError(
            f"{prefix}.metric has {len(metrics)} names ({', '.join(metrics)}) and {prefix}.direction {len(directions)} "
            f"({', '.join(directions)}); give one direction for each metric, such as [maximize,minimize]"
        )
    if metrics is not None and len(set(metrics)) < len(metrics):
        raise UsageError(f"{prefix}.metric names one metric twice: {', '.join(metrics)}")
    if chosen.pruner is not None and len(directions) > 1:
        raise UsageError(
            f"{prefix}.pruner={chosen.pruner} compares one metric, and there are {len(directions)}; leave it out"
        )
    if chosen.pruner is not None and metrics is None:
        raise UsageError(
            f"{prefix}.pruner={chosen.pruner} needs {prefix}.metric=NAME, the metric that jobs give to mini.progress"
        )
    if len(directions) > 1 and (chosen.stop.target is not None or chosen.stop.stale is not None):
        raise UsageError(
            f"{prefix}.stop.target and {prefix}.stop.stale are for one metric, and there are {len(directions)}"
        )
