"""The far side of every apparatus: decode, call, capture, record, and say what happened.

This is the one place that catches whatever a user's function raises.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from mini.errors import RecordError, ResultTooLarge
from mini.job import Failure, Outcome, Pruned, State
from mini.runs import files, layout, records
from mini.runs.live import read_live
from mini.runs.values import metrics
from mini.worker import capture, context, pickling
from mini.worker.pickling import Call

_OWN = ("mini", "hydra", "hydra_plugins")  # packages whose frames say nothing about the user's mistake

_PATIENCE = 15.0  # seconds for another process to leave the job's folder: its warden ends it within a few

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
    explain: Callable[[BaseException], str | None] | None = None,
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
        explain: Says what a job was without that failed, where that is known; it becomes part of the message.
        interrupts: Exceptions that are somebody's who stops the job, and not the job's own.
        passes: Exceptions after which the job will run again elsewhere: raised as they are, recorded nowhere.
        limit: Bytes the pickled value may have; None for no limit.
        where: What the apparatus knows of the place.

    Returns:
        The outcome, in state `DONE`, `FAILED` or `PRUNED`; any exception, SystemExit included, is a value of it.

    Raises:
        Interrupted: At one of `interrupts`, with an outcome in state `CANCELLED`.
    """
    folder = Path(call.folder) if call.folder else None
    pid = os.getpid()
    here = context.Context(call.index, call.attempt, folder, call.record, dict(call.row))
    before = context.enter(here)
    recorded = folder is not None and call.record
    started = time.time()

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
            reports=tuple(here.reports or ()),
        )
        here.end()
        if recorded:
            records.write_record(result, here.row)
        return result

    try:
        with _claimed(folder) if recorded and folder else nullcontext(False) as was_begun:
            if was_begun and folder and (before_us := _result(call, folder)) is not None:
                here.end()
                return before_us
            here.begin(started)
            with capture(folder / layout.LOG) if recorded and folder else nullcontext():
                if call.attempt > 1 and recorded:
                    print(f"--- attempt {call.attempt} ---", flush=True)
                try:
                    try:
                        here.is_calling = True
                        value = _call(shared, call)
                    finally:
                        here.is_calling = False
                        _end_copies(pid)
                    if here.interruption is not None:
                        raise here.interruption
                    pickled = pickling.dumps(value, f"the value returned by job {call.index}")
                    if limit is not None and len(pickled) > limit:
                        raise ResultTooLarge(
                            f"job {call.index} returned {len(pickled) / 2**20:.1f} MiB, and the limit is "
                            f"{limit / 2**20:g} MiB; write it to job_dir() and return a summary, or raise result_limit"
                        )
                    if here.was_told:
                        here.row.update(metrics(here.said().get("metrics")))
                    here.row.update(metrics(value))
                except BaseException as error:
                    if here.interruption is not None or isinstance(error, passes):
                        here.leave()
                        raise (here.interruption or error) from None
                    if _is_pruned(error) or (here.pruned and isinstance(error, interrupts)):
                        here.row.update(metrics(here.said().get("metrics")))
                        ended = outcome(State.PRUNED, failure=Failure("Pruned", here.described_step()))
                        if isinstance(error, interrupts):
                            raise Interrupted(ended) from error
                        return ended
                    failure = describe(error, explain(error) if explain is not None else None)
                    if recorded and folder:
                        _show(failure.traceback, folder)
                    if isinstance(error, interrupts):
                        raise Interrupted(outcome(State.CANCELLED, failure=failure)) from error
                    if on_error is not None:
                        on_error(error)
                    return outcome(State.FAILED, failure=failure)
            if here.was_told:  # and caught it, to save what it has
                return outcome(State.PRUNED, failure=Failure("Pruned", here.described_step()))
            return outcome(State.DONE, pickled=pickled)
    except _InUse as error:
        recorded = False  # the record is another's to write
        return outcome(State.FAILED, failure=Failure("FolderInUse", str(error)))
    finally:
        context.enter(before)


def recorded(call: Call) -> Outcome | None:
    """What is on record of the same attempt of a job already, by a process that died before it could say so.

    Args:
        call: The job.

    Returns:
        What became of it, with its value; None if this attempt has yet to run.
    """
    if not call.record or call.folder is None:
        return None
    try:
        outcome = records.read_record(Path(call.folder)).outcome
        return records.read_value(Path(call.folder), outcome) if outcome.attempt == call.attempt else None
    except (FileNotFoundError, RecordError):
        return None


def _is_pruned(error: BaseException | None) -> bool:
    """Whether a job ended because it was told to; what runs it may have put an exception of its own around that."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, Pruned):
            return True
        seen.add(id(error))
        error = error.__cause__
    return False


class _InUse(Exception):
    """Another process works in the job's folder."""


def _result(call: Call, folder: Path) -> Outcome | None:
    """The job's result, if another process came to one just before this one was let into the folder."""
    try:
        outcome = records.read_record(folder).outcome
        return records.read_value(folder, outcome) if outcome.ok and outcome.key == call.key else None
    except (FileNotFoundError, RecordError):
        return None


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Be the one process that works in a job's folder; another may still be on its way to its end.

    Yields:
        Whether the job was begun there before.

    Raises:
        _InUse: It is there to stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flags, was_begun = os.O_WRONLY | os.O_CREAT | os.O_APPEND, False
    try:
        handle = os.open(folder / layout.LOG, flags | os.O_EXCL, 0o644)
    except FileExistsError:
        handle, was_begun = os.open(folder / layout.LOG, flags), True
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    pid = (read_live(folder) or {}).get("pid", "unknown")
                    raise _InUse(
                        f"another process (its number was {pid} last) still works in {folder}; wait until it ends, or "
                        "end it, and run this job again"
                    ) from None
                time.sleep(0.1)
                continue
            except OSError:  # a file system without locks
                pass
            break
        if was_begun:
            files.remove_abandoned(folder)
        yield was_begun
    finally:
        with contextlib.suppress(OSError):  # the job has closed it
            fcntl.flock(handle, fcntl.LOCK_UN)  # a process that it has left may have a copy
            os.close(handle)


def _end_copies(pid: int) -> None:
    """End this process if the job made it by a fork: only the one that began the job may go on here."""
    if os.getpid() != pid:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)


def _show(text: str, folder: Path) -> None:
    """Print into the log, though the job may have closed what prints go to."""
    try:
        print(text, end="", flush=True)
    except Exception:  # noqa: BLE001 - whatever the job has put into the place of stdout
        with (folder / layout.LOG).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)


def _call(shared: bytes, call: Call) -> Any:
    fn, hooks = _decode(shared)
    args, kwargs = pickling.loads(call.arguments)
    for hook in hooks:
        hook()
    return fn(*args, **kwargs)


@lru_cache(maxsize=8)
def _decode(shared: bytes) -> tuple[Callable[..., Any], tuple[Callable[[], Any], ...]]:
    return pickling.decode_shared(shared)


def describe(error: BaseException, why: str | None = None) -> Failure:
    """An exception as text, and as an object where that survives the journey.

    Args:
        error: The exception.
        why: What is known of its cause.
    """
    if why is not None:
        error.add_note(why)
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    lines = traceback.format_exception(kind, error, _trim(error.__traceback__))
    message = _text(error) if why is None else f"{_text(error)} ({why})".lstrip()
    return Failure(name, message, "".join(lines), _pickle(error))


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
