"""The far side of every apparatus: decode, call, capture, record, and say what happened.

This is the one place that catches whatever a user's function raises.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from mini.errors import ResultTooLarge
from mini.job import Failure, Outcome, State
from mini.runs import layout, records
from mini.runs.values import metrics
from mini.worker import capture, context, pickling
from mini.worker.pickling import Call

_OWN = ("mini", "hydra", "hydra_plugins")  # packages whose frames say nothing about the user's mistake

Capture = Callable[[Path], AbstractContextManager[None]]
OnError = Callable[[BaseException], None]


class Interrupted(BaseException):
    """The user interrupted a job that runs in this process.

    Args:
        outcome: The job's outcome, already recorded.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def execute(
    shared: bytes,
    call: Call,
    *,
    capture: Capture = capture.to_file,
    on_error: OnError | None = None,
    interrupts: tuple[type[BaseException], ...] = (),
    passes: tuple[type[BaseException], ...] = (),
    limit: int | None = None,
    where: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run one job and say what became of it.

    Args:
        shared: The batch's pickled function and hooks.
        call: The job.
        capture: What is done with its output, if the job is recorded.
        on_error: Called with the exception while its frames are alive, before anything is recorded.
        interrupts: Exceptions that are somebody's who stops the job, and not the job's own.
        passes: Exceptions after which the job will run again elsewhere: raised as they are, recorded nowhere.
        limit: Bytes the pickled value may have; None for no limit.
        where: What the apparatus knows of the place.

    Returns:
        The outcome, in state `DONE` or `FAILED`; any exception, SystemExit included, is a value of it.

    Raises:
        Interrupted: At one of `interrupts`, with an outcome in state `CANCELLED`.
    """
    folder = Path(call.folder) if call.folder else None
    here = context.Context(call.index, call.attempt, folder, call.record, dict(call.row))
    before = context.enter(here)
    recorded = folder is not None and call.record
    started = time.time()
    here.begin(started)

    def outcome(state: State, *, pickled: bytes | None = None, failure: Failure | None = None) -> Outcome:
        result = Outcome(
            index=call.index,
            state=state,
            pickled=pickled,
            failure=failure,
            started=started,
            ended=time.time(),
            attempt=call.attempt,
            where={"host": _hostname(), "pid": os.getpid(), **(where or {})},
            folder=call.folder if recorded else None,
            key=call.key,
        )
        here.end()
        if recorded:
            records.write_record(result, here.row)
        return result

    try:
        with capture(folder / layout.LOG) if recorded and folder else contextlib.nullcontext():
            if call.attempt > 1 and recorded:
                print(f"--- attempt {call.attempt} ---", flush=True)
            try:
                here.is_calling = True
                value = _call(shared, call)
                here.is_calling = False
                pickled = pickling.dumps(value, f"the value returned by job {call.index}")
                if limit is not None and len(pickled) > limit:
                    raise ResultTooLarge(
                        f"job {call.index} returned {len(pickled) / 2**20:.1f} MiB, and the limit is "
                        f"{limit / 2**20:g} MiB; write it to job_dir() and return a summary, or raise result_limit"
                    )
                here.row.update(metrics(value))
            except BaseException as error:
                here.is_calling = False
                if isinstance(error, passes):
                    here.end()
                    raise
                failure = describe(error)
                if recorded:
                    print(failure.traceback, end="", flush=True)
                if isinstance(error, interrupts):
                    raise Interrupted(outcome(State.CANCELLED, failure=failure)) from error
                if on_error is not None:
                    on_error(error)
                return outcome(State.FAILED, failure=failure)
        return outcome(State.DONE, pickled=pickled)
    finally:
        context.enter(before)


def _call(shared: bytes, call: Call) -> Any:
    fn, hooks = _decode(shared)
    args, kwargs = pickling.loads(call.arguments)
    for hook in hooks:
        hook()
    return fn(*args, **kwargs)


@lru_cache(maxsize=8)
def _decode(shared: bytes) -> tuple[Callable[..., Any], tuple[Callable[[], Any], ...]]:
    fn, hooks = pickling.loads(shared)
    return fn, hooks


def describe(error: BaseException) -> Failure:
    """An exception as text, and as an object where that survives the journey."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    lines = traceback.format_exception(kind, error, _trim(error.__traceback__))
    return Failure(name, _text(error), "".join(lines), _pickle(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as nested:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
        return f"<its text raised {type(nested).__name__}>"


def _pickle(error: BaseException) -> bytes | None:
    """The exception, if it can be rebuilt; many an `__init__` with two arguments cannot."""
    try:
        data: bytes = cloudpickle.dumps(error)
        return data if type(pickling.loads(data)).__name__ == type(error).__name__ else None
    except BaseException:  # noqa: BLE001 - it runs foreign code; the text remains
        return None


def _trim(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames between the worker and the user's function."""
    for step in _steps(trace):
        if str(step.tb_frame.f_globals.get("__name__")).split(".")[0] not in _OWN:
            return step
    return trace


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


@cache
def _hostname() -> str:
    return socket.gethostname()
