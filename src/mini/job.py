"""Jobs and what becomes of them: frozen values that every other part speaks in.

A job without a value raises

JobError                   `outcome` has all that is known
├── JobFailed              its function raised, and the exception itself could not be rebuilt here
├── JobTimeout             it ran longer than allowed (also a builtin TimeoutError)
├── JobLost                its process or container died
├── JobCancelled           it was stopped before it finished
└── JobPruned              it was ended early, as others were better
"""

from __future__ import annotations

import contextlib
import enum
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mini.errors import MiniError


class State(enum.StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"
    CANCELLED = "cancelled"
    PRUNED = "pruned"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to the job by itself."""
        return self not in (State.QUEUED, State.RUNNING)

    @property
    def is_failure(self) -> bool:
        """Whether the job went wrong; one that somebody stopped, or that was pruned, did not."""
        return self in (State.FAILED, State.TIMEOUT, State.LOST)


class Pruned(MiniError):
    """Raised by `mini.progress` in a job that is to end early, as others are better.

    A job may catch it to save what it has, and must end then. One that raises it itself is pruned, too.
    """


Report = tuple[int, Mapping[str, float]]
"""A step, and the metrics that a job had at it."""


class Compact:
    """A frozen dataclass that is pickled as its values, without their names: a few of them travel with every job."""

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), tuple(self.__dict__.values())


@dataclass(frozen=True)
class Job:
    """One call that is to be made.

    Args:
        index: Its place in the run, from 0.
        fn: The function.
        args: Positional arguments.
        kwargs: Keyword arguments.
        key: What is computed, as a digest that does not depend on where it runs; may be empty.
        folder: The job's folder, absolute; made when something is written there.
        run: The folder of the run it belongs to, absolute; None for the one around the job's folder.
        record: Whether the job's log and outcome are written to its folder.
        attempt: 1 for the first try.
        row: What is known of the job before it runs and belongs in its record: flat columns.
    """

    index: int
    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    folder: str | None = None
    run: str | None = None
    record: bool = False
    attempt: int = 1
    row: Mapping[str, Any] = field(default_factory=dict)

    def next_attempt(self) -> Job:
        """The same job, one attempt later."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True)
class Failure(Compact):
    """Why a job has no value, as text that can be read anywhere.

    Args:
        type: The exception's qualified name, such as `ValueError` or `sqlite3.OperationalError`.
        message: The exception's text, or the reason a process died.
        traceback: The formatted traceback, this package's own frames left out; may be empty.
        pickled: The exception itself, pickled, where that was possible.
    """

    type: str
    message: str
    traceback: str = ""
    pickled: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Outcome(Compact):
    """What became of a job.

    Args:
        index: The job's index.
        state: A finished state.
        pickled: The returned value, pickled; None unless `state` is `DONE`.
        failure: The reason, unless `state` is `DONE`.
        started: Unix time in seconds; None if it never started.
        ended: Unix time in seconds.
        attempt: Which try this was, from 1.
        where: What it ran on: host, pid, and what the apparatus adds.
        folder: The job's folder, if it left one.
        key: The job's key.
        reports: What it gave to `mini.progress`, the latest of it, where somebody decides by that; not recorded.
    """

    index: int
    state: State
    pickled: bytes | None = field(default=None, repr=False)
    failure: Failure | None = None
    started: float | None = None
    ended: float | None = None
    attempt: int = 1
    where: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None
    key: str = ""
    reports: tuple[Report, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.state is State.DONE

    @property
    def seconds(self) -> float | None:
        """How long the last attempt ran; None if it never started."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started

    def result(self) -> Any:
        """The value the function returned.

        Raises:
            Exception: The function's own exception where it can be rebuilt, with the `JobError` as its cause.
            JobError: Otherwise; the subclass tells failed, timeout, lost and cancelled apart.
        """
        if self.state is State.DONE:
            try:
                return pickle.loads(self.pickled or b"")
            except Exception as error:
                text = f"job {self.index} returned a value that cannot be unpickled here: {error!r}"
                raise JobFailed(text, self) from error
        raise self._error()

    def exception(self) -> Exception | None:
        """The exception `result` would raise for a job that has no value; None for one that has."""
        return None if self.ok else self._error()

    def _error(self) -> Exception:
        error = _ERRORS.get(self.state, JobFailed)(self.describe(), self)
        if self.failure is not None and self.failure.pickled is not None:
            # Unpickling runs foreign code; where that fails, the text remains.
            with contextlib.suppress(Exception):
                original = pickle.loads(self.failure.pickled)
                # SystemExit and its kin would end the caller: they stay a JobFailed.
                if isinstance(original, Exception):
                    original.__cause__ = error
                    return original
        return error

    def describe(self) -> str:
        """Say what became of the job, with its traceback and where its log is."""
        what = "timed out" if self.state is State.TIMEOUT else self.state.value
        lines = [f"job {self.index} {what}" + (f" (attempt {self.attempt})" if self.attempt > 1 else "")]
        if self.failure is not None:
            lines[0] += f": {self.failure if self.state is State.FAILED else self.failure.message}"
            if self.failure.traceback:
                lines.append(self.failure.traceback.rstrip())
        if self.folder is not None:
            lines.append(f"log: {self.folder}/log.txt")
        return "\n".join(lines)


class JobError(MiniError):
    """A job came back without a value.

    Args:
        message: What became of the job, in a sentence.
        outcome: Everything known of it.
    """

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[type[JobError], tuple[str, Outcome]]:
        return type(self), (str(self), self.outcome)


class JobFailed(JobError):
    """The function raised an exception that could not be rebuilt in this process."""


class JobTimeout(JobError, TimeoutError):
    """The job ran longer than its timeout."""


class JobLost(JobError):
    """The process or container of the job died."""


class JobCancelled(JobError):
    """The job was stopped before it finished."""


class JobPruned(JobError):
    """The job was ended early, as others were better."""


_ERRORS: dict[State, type[JobError]] = {
    State.TIMEOUT: JobTimeout,
    State.LOST: JobLost,
    State.CANCELLED: JobCancelled,
    State.PRUNED: JobPruned,
}
