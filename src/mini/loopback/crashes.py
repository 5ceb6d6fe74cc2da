"""How often, and after which pause, a container is started again whose predecessors died before their first input."""

from __future__ import annotations

import signal

LIMIT = 8
"""How many containers of an ephemeral app's function may die in a row before its inputs fail."""

FIRST, SHORT, LONGEST = 0.05, 0.5, 60.0
"""Seconds before the second container is started, at most before the last one of an ephemeral app, and at most before
any one of a deployed app, which goes on for ever. The pause doubles from one to the next."""

TAIL = 2000
"""Characters of a container's last output that are told with its death."""


class CrashLoop:
    """The containers of one function that died, one after another, before their first input."""

    def __init__(self) -> None:
        self.deaths = 0
        self.last = ""

    def died(self, why: str) -> None:
        """One more died.

        Args:
            why: How it ended, with the end of its output.
        """
        self.deaths += 1
        self.last = why

    def started(self) -> None:
        """One asked for its first input: what kept the others from it is over."""
        self.deaths = 0

    def gave_up(self) -> None:
        """Its inputs have failed; those that come later get one container more."""
        self.deaths = LIMIT - 1

    @property
    def pause(self) -> float:
        """Seconds before the next container may start."""
        if self.deaths < LIMIT:
            return min(FIRST * 2.0 ** (self.deaths - 1), SHORT) if self.deaths else 0.0
        return min(SHORT * 2.0 ** (self.deaths - LIMIT + 1), LONGEST)

    @property
    def limit_reached(self) -> bool:
        """Whether an ephemeral app gives up."""
        return self.deaths >= LIMIT

    @property
    def reason(self) -> str:
        """What the inputs that fail are told."""
        return f"Function failed to start: {self.deaths} containers exited before they were ready. The last {self.last}"


def describe(returncode: int | None, output: str, place: str = "") -> str:
    """How a process ended, and what it said last.

    Args:
        returncode: As `subprocess` has it: negative for a signal; None where it was never started.
        output: The end of what it printed.
        place: The library in which it crashed, where that is known.
    """
    if returncode is None:
        ended = "could not be started"
    elif returncode < 0:
        ended = f"was ended by signal {-returncode} ({signal.Signals(-returncode).name})" + (
            f" in {place}" if place else ""
        )
    else:
        ended = f"exited with code {returncode}"
    text = output.strip()[-TAIL:]
    return f"{ended}, and printed last:\n{text}" if text else f"{ended}, and printed nothing"
