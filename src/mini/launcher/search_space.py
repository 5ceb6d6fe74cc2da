"""A search space in the syntax of the command line, as dimensions of a study, and values as overrides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
    ValueType,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from mini.errors import UsageError
from mini.launcher import short_forms
from mini.studies.space import Dimensions


class SearchSpace:
    """What of a command's overrides is chosen from, and what is the same in every trial.

    Args:
        lines: The overrides: those of `params`, and then those of the command, which have the last word.
        master: The config of the command as a whole.
        loader: Hydra's config loader.

    Raises:
        UsageError: A dimension is not possible; nothing was started.
    """

    def __init__(self, lines: Sequence[str], master: DictConfig, loader: Any) -> None:
        self._fixed: dict[str, str] = {}
        dimensions: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        for override in _parse(lines, loader):
            if short_forms.is_of_study(override, master):
                continue
            key = override.get_key_element()
            name = key.lstrip("+")
            dimensions.pop(name, None)
            self._fixed.pop(name, None)
            if override.is_sweep_override():
                _require_number(override, master, loader)
                dimensions[name] = _dimension(override)
                self._keys[name] = key
            else:
                self._fixed[name] = str(override.input_line)
        self.dimensions = Dimensions(dimensions)

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial.

        Args:
            values: What was chosen, by name; a function may choose more than the dimensions that are known.
        """
        fixed = [line for name, line in self._fixed.items() if name not in values]
        return [*fixed, *(f"{self._keys.get(name, name)}={_text(value)}" for name, value in values.items())]

    def samples(self) -> Iterator[list[str]]:
        """Overrides of trials in which every choice is there at least once, to see whether jobs can be composed."""
        from optuna.distributions import CategoricalDistribution

        first: dict[str, Any] = {}
        choices: dict[str, Sequence[Any]] = {}
        for name, dimension in self.dimensions.by_name.items():
            if isinstance(dimension, CategoricalDistribution):
                choices[name] = dimension.choices
                first[name] = dimension.choices[0]
            else:
                first[name] = dimension.low  # type: ignore[attr-defined]
        yield self.overrides(first)
        for name, values in choices.items():
            for value in values[1:]:
                yield self.overrides({**first, name: value})


def _parse(lines: Sequence[str], loader: Any) -> list[Override]:
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides(list(lines))
    except HydraException as error:
        raise UsageError(str(error)) from error


def _require_number(override: Override, master: DictConfig, loader: Any) -> None:
    """Refuse an interval for what is no number."""
    if not override.is_interval_sweep():
        return
    key, line = override.key_or_group, override.input_line
    options = loader.get_group_options(key)
    if options:
        raise UsageError(f"{line}: {key} is a config group; choose from it with {key}=choice({','.join(options)})")
    now = OmegaConf.select(master, key, throw_on_missing=False)
    if isinstance(now, str | bool) or OmegaConf.is_config(now):
        what = "a text" if isinstance(now, str) else "true or false" if isinstance(now, bool) else "a group of values"
        raise UsageError(
            f"{line}: an interval is of numbers, and {key} is {what} ({now!r}); choose with {key}=choice(…)"
        )


def _dimension(override: Override) -> Any:
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _range(value)
        return _choice(override)
    except (ValueError, HydraException) as error:
        raise UsageError(f"{override.input_line} is not possible: {error}") from error


def _interval(value: IntervalSweep) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, log = value.start, value.end, "log" in value.tags
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(value: RangeSweep) -> Any:
    """A range without its end, as everywhere in Hydra."""
    from optuna.distributions import FloatDistribution, IntDistribution

    start, stop, step = value.start, value.stop, value.step
    assert start is not None
    assert stop is not None
    if step <= 0:
        raise ValueError("the step of a range must be above 0")
    count = math.ceil((stop - start) / step - 1e-9)
    if count < 1:
        raise ValueError("it is empty")
    log = "log" in value.tags
    if all(isinstance(one, int) for one in (start, stop, step)):
        return IntDistribution(int(start), int(start + (count - 1) * step), step=int(step), log=log)
    return FloatDistribution(
        float(start), float(start + (count - 1) * step), step=None if log else float(step), log=log
    )


def _choice(override: Override) -> Any:
    from optuna.distributions import CategoricalDistribution

    given = override.value()
    if isinstance(given, ChoiceSweep) or override.value_type in (ValueType.GLOB_CHOICE_SWEEP, ValueType.RANGE_SWEEP):
        choices: list[Any] = list(dict.fromkeys(override.sweep_iterator(transformer=_kept)))
        if not choices:
            raise ValueError("there is nothing to choose from")
        return CategoricalDistribution(choices)
    raise ValueError("only interval, range, choice and glob can be searched")


def _kept(value: Any) -> Any:
    """A choice as Optuna takes it: numbers and truth values as they are, anything else as it is written."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, QuotedString) and value.text.isidentifier():
        return value.text
    return Transformer.str(value)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, list | dict):
        return str(Transformer.str(value))
    return str(value)
