"""The values of a map, in the order of its input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from mini.apparatus.stream import Stream
from mini.display.bar import Bar
from mini.job import Outcome


class Starting:
    """A stream that is closed when its user leaves.

    Args:
        stream: Of jobs that were started.
        total: How many.
    """

    def __init__(self, stream: Stream, total: int) -> None:
        self.stream, self.total = stream, total

    def __enter__(self) -> Stream:
        return self.stream

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def in_order(starting: Starting, progress: bool | None, return_exceptions: bool) -> Iterator[Any]:
    """Yield each value when all before it have been.

    Args:
        starting: The jobs, by index from 0.
        progress: Whether to show a bar, as `Bar` takes it.
        return_exceptions: Yield the exception of a failed job, instead of raising it.
    """
    with starting as stream, Bar(starting.total, progress) as bar:
        waiting: dict[int, Outcome] = {}
        expected = 0
        for outcome in bar.watch(stream):
            waiting[outcome.index] = outcome
            while expected in waiting:
                yield _value(waiting.pop(expected), return_exceptions)
                expected += 1


async def in_order_async(starting: Starting, progress: bool | None, return_exceptions: bool) -> AsyncIterator[Any]:
    """As `in_order`, without blocking the event loop."""
    loop = asyncio.get_running_loop()
    with starting as stream, Bar(starting.total, progress) as bar:
        waiting: dict[int, Outcome] = {}
        expected = 0
        while (outcome := await loop.run_in_executor(None, next_outcome, stream)) is not None:
            bar.advance(ok=outcome.ok)
            waiting[outcome.index] = outcome
            while expected in waiting:
                yield _value(waiting.pop(expected), return_exceptions)
                expected += 1


def _value(outcome: Outcome, return_exceptions: bool) -> Any:
    if return_exceptions and not outcome.ok:
        return outcome.exception()
    return outcome.result()


def next_outcome(stream: Stream) -> Outcome | None:
    """The next outcome; None at the end."""
    # StopIteration cannot pass through a future.
    return next(stream, None)
