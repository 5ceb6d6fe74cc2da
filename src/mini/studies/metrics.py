"""What a study takes from what a trial's task returned and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mini.errors import UsageError, did_you_mean
from mini.job import Outcome, Report
from mini.runs.values import flatten
from mini.studies.options import StudyOptions

_MOST = 50  # attributes of a trial


class NotANumber(Exception):
    """The metric of a trial that is done is none: such as the loss of one that diverged."""


class Metrics:
    """Picks a trial's values.

    Args:
        options: Of the study.
    """

    def __init__(self, options: StudyOptions) -> None:
        self._options = options

    def values(self, outcome: Outcome) -> tuple[float, ...]:
        """The values of the objectives.

        Args:
            outcome: Of a trial that is done.

        Raises:
            UsageError: The metric is not there; names those that are.
            NotANumber: It is there, and no number.
        """
        value = outcome.result()
        if self._options.metric is None:
            return self._unnamed(value, outcome.index)
        flat = self._flat(value)
        reported = _last(outcome.reports)
        found = []
        for name in self._options.metric:
            if name in flat:
                found.append(flat[name])
            elif name in reported:
                found.append(reported[name])
            else:
                raise UsageError(self._missing("study.metric", name, {**flat, **reported}, outcome.index))
        return tuple(_number(one, name) for one, name in zip(found, self._options.metric, strict=True))

    def _unnamed(self, value: Any, index: int) -> tuple[float, ...]:
        count = self._options.objectives
        if isinstance(value, Mapping):
            needed = "a number" if count == 1 else f"{count} numbers"
            raise UsageError(
                f"job {index} returned a mapping, and the study needs {needed}; say which with study.metric=NAME, "
                f"of {', '.join(map(str, value))}"
            )
        parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if len(parts) != count:
            raise UsageError(f"job {index} returned {len(parts)} values, and study.direction is for {count}")
        return tuple(_number(one, "what it returned") for one in parts)

    def constraints(self, outcome: Outcome) -> dict[str, float]:
        """The values of the constraints, by name.

        Raises:
            UsageError: One is not there.
            NotANumber: One is no number.
        """
        if not self._options.constraints:
            return {}
        flat = {**_last(outcome.reports), **self._flat(outcome.result())}
        for name in self._options.constraints:
            if name not in flat:
                raise UsageError(self._missing("study.constraints", name, flat, outcome.index))
        return {name: _number(flat[name], name) for name in self._options.constraints}

    def attributes(self, outcome: Outcome) -> dict[str, Any]:
        """What else the task returned, as attributes of the trial."""
        if not outcome.ok:
            return {}
        flat = self._flat(outcome.result())
        return {name: value for name, value in list(flat.items())[:_MOST] if value is not None}

    def require_steps(self, outcome: Outcome) -> None:
        """Refuse a pruner where the first trial has said nothing by which to judge it.

        Raises:
            UsageError: Says what it has reported.
        """
        if self._options.pruner is None or self._options.metric is None:
            return
        name, reported = self._options.metric[0], _last(outcome.reports)
        if name not in reported:
            there = f"reported {', '.join(reported)}" if reported else "reported nothing"
            raise UsageError(
                f"study.pruner={self._options.pruner} judges trials by {name} at each step, and job {outcome.index} "
                f"{there}; call mini.progress(step, total, {name}=…) in the task, or leave the pruner out"
            )

    def _flat(self, value: Any) -> dict[str, Any]:
        return flatten(value) if isinstance(value, Mapping) else {}

    def _missing(self, option: str, name: str, there: Mapping[str, Any], index: int) -> str:
        if not there:
            return (
                f"{option}={name}: job {index} returned no mapping and reported no metric; return one, such as "
                f"{{{name!r}: …}}"
            )
        return f"{option}={name}: job {index} has no {name!r}; {did_you_mean(name, list(there))}"


def _last(reports: Sequence[Report]) -> dict[str, float]:
    """The last value of each metric that was reported."""
    last: dict[str, float] = {}
    for _, metrics in reports:
        last.update(metrics)
    return last


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise NotANumber(f"{name} is {value!r}, and no number") from None
    if number != number:
        raise NotANumber(f"{name} is NaN")
    return number
