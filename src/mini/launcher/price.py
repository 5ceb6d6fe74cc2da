"""What a sweep is likely to cost, said before it starts, and asked above a threshold."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini.batch import Placement
from mini.cost import estimate, rates
from mini.cost.rates import Place
from mini.errors import OptionError, UsageError


class Price:
    """Says once, before the first job, what the run is likely to cost.

    Args:
        ask_above: Dollars above which it asks on a terminal; None to never ask.

    Raises:
        OptionError: `ask_above` is no amount.
    """

    def __init__(self, ask_above: Any) -> None:
        if ask_above is not None and (isinstance(ask_above, bool) or not isinstance(ask_above, int | float)):
            raise OptionError(f"hydra.launcher.ask_above={ask_above!r} must be an amount in dollars, such as 20")
        self._ask_above = ask_above
        self._said = False

    def confirm(self, groups: Sequence[Placement], task: str, home: Path) -> None:
        """Say what the jobs are likely to cost, if anything of it is paid; ask where that is more than the threshold.

        Args:
            groups: The jobs, by where they run.
            task: The task's name, as `run.json` has it.
            home: Where runs are, for how long earlier jobs took.

        Raises:
            UsageError: Somebody said no; nothing was started.
        """
        if self._said:
            return
        self._said = True
        timeouts = {place_of(group): getattr(group.apparatus.options, "timeout", None) for group in groups}
        expected = estimate.forecast(places(groups), task, home, rates.load(), timeouts)
        if expected is None:
            return
        print(expected.text, file=sys.stderr)
        is_more = self._ask_above is not None and (expected.dollars is None or expected.dollars > self._ask_above)
        if is_more and sys.stdin.isatty() and sys.stderr.isatty():
            print(f"This is above hydra.launcher.ask_above={self._ask_above:g}. Start? [y/N] ", end="", file=sys.stderr)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                raise UsageError("not started, as you said no to what it may cost")


def places(groups: Sequence[Placement]) -> dict[Place, int]:
    """Where jobs run, as far as it matters for what they cost, and how many at each place."""
    counts: Counter[Place] = Counter()
    for group in groups:
        counts[place_of(group)] += len(group.jobs)
    return dict(counts)


def place_of(group: Placement) -> Place:
    """Where the jobs of a group run."""
    options = group.apparatus.options
    gpu, memory = _first(getattr(options, "gpu", None)), _first(getattr(options, "memory", None))
    return Place(
        group.apparatus.kind,
        gpu,
        _first(getattr(options, "cpu", None)),
        memory / 1024 if memory is not None else None,
        bool(getattr(options, "nonpreemptible", False)),
        getattr(options, "region", None) is not None,
    )


def _first(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, tuple | list) else value
