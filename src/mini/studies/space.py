"""What a study may choose from: dimensions, each with a distribution of Optuna's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mini.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Scalar = str | float | bool | None


class Space(Protocol):
    """What a study may choose from."""

    def suggest(self, trial: Trial) -> Mapping[str, Any]:
        """Choose the values of a trial; of one that has chosen before, the same."""

    def describe(self) -> Mapping[str, str]:
        """A text for each dimension, by which another space is told from this one."""

    def grid(self) -> Mapping[str, Sequence[Any]]:
        """The values of each dimension.

        Raises:
            UsageError: There is no end of them.
        """


@dataclass(frozen=True)
class Dimensions:
    """Dimensions that are known beforehand.

    Args:
        by_name: The distribution of each.
    """

    by_name: Mapping[str, BaseDistribution]

    def suggest(self, trial: Trial) -> Mapping[str, Any]:
        """As `Space`."""
        return {name: _suggest(trial, name, dimension) for name, dimension in self.by_name.items()}

    def require_possible(self, given: Mapping[str, Any]) -> None:
        """Refuse values that are not of this space.

        Args:
            given: Values by name, of some or all dimensions.

        Raises:
            UsageError: Names the first.
        """
        from optuna.distributions import CategoricalDistribution

        for name, value in given.items():
            if name not in self.by_name:
                raise UsageError(f"study.enqueue: {name} is not in the space; {did_you_mean(name, list(self.by_name))}")
            dimension: Any = self.by_name[name]
            if isinstance(dimension, CategoricalDistribution):
                if value not in dimension.choices:
                    raise UsageError(
                        f"study.enqueue: {name}={value!r} is none of {', '.join(map(str, dimension.choices))}"
                    )
            elif not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
                raise UsageError(f"study.enqueue: {name}={value!r} is not from {dimension.low} to {dimension.high}")

    def describe(self) -> Mapping[str, str]:
        """As `Space`."""
        return {name: repr(dimension) for name, dimension in self.by_name.items()}

    def grid(self) -> Mapping[str, Sequence[Any]]:
        """As `Space`."""
        return {name: _values(name, dimension) for name, dimension in self.by_name.items()}


@dataclass(frozen=True)
class Chosen:
    """A space that a function chooses from, and the dimensions that are known beforehand.

    Args:
        function: Takes the trial, or a config and the trial; what it returns, if anything, are further values.
        name: Of the function, in full.
        config: What it is given first, if it takes two arguments.
        known: The dimensions that are known.
    """

    function: Callable[..., Any]
    name: str
    config: Any
    known: Dimensions

    def suggest(self, trial: Trial) -> Mapping[str, Any]:
        """As `Space`."""
        self.known.suggest(trial)
        two = len(inspect.signature(self.function).parameters) > 1
        more = self.function(self.config, trial) if two else self.function(trial)
        if more is not None and not isinstance(more, Mapping):
            raise UsageError(
                f"{self.name} returned a {type(more).__name__}; it must return a mapping of values, or nothing"
            )
        return {**trial.params, **(more or {})}

    def describe(self) -> Mapping[str, str]:
        """As `Space`."""
        return {**self.known.describe(), "(function)": self.name}

    def grid(self) -> Mapping[str, Sequence[Any]]:
        """As `Space`."""
        raise UsageError(f"study.sampler=grid needs a space that is known beforehand, and {self.name} chooses it")


def require_some(space: Dimensions) -> None:
    """Refuse a space without a dimension.

    Raises:
        UsageError: There is none.
    """
    if not space.by_name:
        raise UsageError(
            "this study has nothing to choose: give it a space, such as 'optimizer.lr=interval(1e-5,1e-1)' or "
            "'model=choice(small,large)', or study.space=package.module.function"
        )


def _suggest(trial: Trial, name: str, dimension: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, FloatDistribution):
        return trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    if isinstance(dimension, IntDistribution):
        return trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    assert isinstance(dimension, CategoricalDistribution)
    return trial.suggest_categorical(name, dimension.choices)


def _values(name: str, dimension: BaseDistribution) -> Sequence[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, CategoricalDistribution):
        return dimension.choices
    if isinstance(dimension, IntDistribution):
        return range(dimension.low, dimension.high + 1, dimension.step)
    if isinstance(dimension, FloatDistribution) and dimension.step is not None:
        count = math.floor((dimension.high - dimension.low) / dimension.step + 1e-9) + 1
        return [dimension.low + i * dimension.step for i in range(count)]
    raise UsageError(
        f"study.sampler=grid needs choices and ranges, and {name} is an interval; write {name}=range(…) or choice(…)"
    )
