"""A trial of `mini.study`, as it runs in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mini.worker import context


class TrialTask:
    """A function as a trial: what it reports is kept for whoever decides by it.

    Args:
        fn: The function.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn

    def __call__(self, **values: Any) -> Any:
        """Call it."""
        context.keep_reports()
        return self._fn(**values)
