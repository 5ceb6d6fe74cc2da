"""Whoever is told how a batch goes: displays, notices, checks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from mini.job import Outcome


class Watcher(AbstractContextManager["Watcher"], Protocol):
    """Whoever shows how a batch goes."""

    def finished(self, outcome: Outcome) -> None:
        """One job is over."""

    def warn(self, message: str) -> None:
        """Something is not as it should be, and the batch goes on."""


class Relay(Watcher):
    """Passes everything on to another watcher; those that add something are made of it.

    Args:
        watcher: Told of all.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def __enter__(self) -> Self:
        self._watcher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.__exit__(kind, error, trace)

    def finished(self, outcome: Outcome) -> None:
        """One job is over."""
        self._watcher.finished(outcome)

    def warn(self, message: str) -> None:
        """Something is not as it should be, and the batch goes on."""
        self._watcher.warn(message)
