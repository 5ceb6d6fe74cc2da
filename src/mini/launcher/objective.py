"""What a sweeper gets of what a task returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import ListConfig

from mini.errors import UsageError, did_you_mean
from mini.job import Outcome
from mini.watcher import Relay, Watcher

_NUMBERS_ONLY = ("optuna", "nevergrad")  # sweepers that make a float of what they get


class Objective:
    """Picks from a returned mapping.

    Args:
        names: The key, or several; None for the value as it is.
        sweeper: The class of the sweeper, by its full name.
        directions: The sweeper's `direction`, a list for several objectives; None if it has none.

    Raises:
        UsageError: The names are none, or not as many as the sweeper has directions.
    """

    def __init__(self, names: Any, sweeper: str, directions: Any = None) -> None:
        self._names = list(names) if isinstance(names, list | tuple | ListConfig) else names
        self._wants_numbers = any(part in sweeper.lower() for part in _NUMBERS_ONLY)
        self._sweeper = sweeper.rpartition(".")[2]
        if not (self._names is None or isinstance(self._names, str) or self._is_list_of_text()):
            raise UsageError(
                f"hydra.launcher.objective={names!r} is not possible: it must be a name, or a list of names"
            )
        wanted = len(directions) if isinstance(directions, list | tuple | ListConfig) else 1
        given = len(self._names) if isinstance(self._names, list) else 1
        if self._names is not None and directions is not None and given != wanted:
            raise UsageError(
                f"hydra.launcher.objective={names!r} has {given} and hydra.sweeper.direction={directions!s} has "
                f"{wanted}; a study needs a direction for each objective, such as "
                "hydra.sweeper.direction=[maximize,minimize]"
            )

    @property
    def needs_check(self) -> bool:
        """Whether a returned value may be one that the sweeper cannot use."""
        return self._names is not None or self._wants_numbers

    def pick(self, value: Any) -> Any:
        """What the sweeper gets.

        Raises:
            UsageError: It is not there, or the sweeper cannot use it.
        """
        if self._names is None:
            if self._wants_numbers and isinstance(value, Mapping):
                raise UsageError(
                    f"the task returned a mapping, and {self._sweeper} needs a number; say which one it is with "
                    f"hydra.launcher.objective=NAME (or [NAME,NAME]), of {', '.join(map(str, value))}"
                )
            return value
        if not isinstance(value, Mapping):
            raise UsageError(
                f"hydra.launcher.objective={self._names} picks from a mapping, and the task returned a "
                f"{type(value).__name__}; return a dict, or leave the objective out"
            )
        if isinstance(self._names, str):
            return _find(value, self._names)
        return tuple(_find(value, name) for name in self._names)

    def _is_list_of_text(self) -> bool:
        return isinstance(self._names, list) and bool(self._names) and all(isinstance(n, str) for n in self._names)


def _find(value: Mapping[Any, Any], name: str) -> Any:
    if name in value:
        return value[name]
    first, _, rest = name.partition(".")
    if rest and isinstance(value.get(first), Mapping):
        return _find(value[first], rest)
    raise UsageError(
        f"hydra.launcher.objective: the task returned no {name!r}; {did_you_mean(name, list(map(str, value)))}"
    )


class Checked(Relay):
    """Refuses the first returned value which the sweeper cannot use, before more jobs run.

    Args:
        watcher: Told of all.
        objective: What the sweeper gets.
    """

    def __init__(self, watcher: Watcher, objective: Objective) -> None:
        super().__init__(watcher)
        self._objective = objective

    def finished(self, outcome: Outcome) -> None:
        """One job is over.

        Raises:
            UsageError: The sweeper cannot use what it returned.
        """
        super().finished(outcome)
        if outcome.ok:
            self._objective.pick(outcome.result())
