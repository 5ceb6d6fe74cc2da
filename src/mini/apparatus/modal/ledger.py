"""What the containers of a detached run keep in common, as no client drives it: a `modal.Dict` of the run.

    ("begun", job, n)   when a container was given the job for the n-th time, in Unix seconds
    ("over", job)       the state in which the job ended
    ("failed", n)       the job that was the n-th to fail
    "calls"             the ids of the run's calls; the client puts them there
    "stopped"           why the run was stopped before its end
    job                 what the job said last

To put an entry unless it is there is the one atomic operation of a Dict
(https://modal.com/docs/reference/modal.Dict#put); whoever numbers something tries the numbers in turn.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mini.errors import RecordError
from mini.job import Failure, Outcome, State
from mini.runs import layout, records
from mini.runs.folder import RunFolder
from mini.runs.jobs import JobLine
from mini.worker.pickling import Call

# What the function's environment tells a container of a detached run.
APP, RUN, JOBS = "MINI_DETACHED_APP", "MINI_DETACHED_RUN", "MINI_DETACHED_JOBS"
MAX_FAILURES, DEADLINE = "MINI_MAX_FAILURES", "MINI_DEADLINE"

CALLS = "calls"
"""The key under which the client puts the ids of the run's calls."""

_DELIVERIES = 3
"""How often a job may take its container with it. A deployed app would start new ones for ever."""


@dataclass(frozen=True)
class Ledger:
    """The common entries of a run's containers.

    Args:
        app: The name of the run's app, and of its Dict.
        run: The run folder, relative to where a container starts.
        jobs: How many jobs there are.
        attempts: How often a job may be tried, by `retries`.
        max_failures: How many failures stop the run; None for any number.
        deadline: When the run is stopped, in Unix seconds; None for never.
    """

    app: str
    run: str
    jobs: int
    attempts: int
    max_failures: int | None = None
    deadline: float | None = None

    @cached_property
    def _entries(self) -> Any:
        import modal

        return modal.Dict.from_name(self.app)

    def refusal(self, call: Call) -> Outcome | None:
        """Note that a container was given a job.

        Returns:
            What is already known to become of it, if it shall not run: it was over before its container died, it took
            too many containers with it, or the run is to stop. None if it shall run.
        """
        delivery = self._take_number("begun", call.index)
        if delivery > 1 and ("over", call.index) in self._entries:
            with contextlib.suppress(FileNotFoundError, RecordError):
                return records.read_record(Path(str(call.folder))).outcome
            return _outcome(call, State.CANCELLED, Failure("Cancelled", "the run was stopped"))
        if delivery > _DELIVERIES + self.attempts - 1:
            why = f"its container died {_DELIVERIES} times; the log has what it printed before"
            return _outcome(call, State.LOST, Failure("ContainerLost", why))
        reason = self._reason_to_stop()
        if reason is not None:
            cancelled = _outcome(call, State.CANCELLED, Failure("Cancelled", f"the run was {reason}"))
            commit()
            # Over before the run is stopped: if nothing else runs, nobody comes after this to clear up.
            self._entries.put(("over", call.index), cancelled.state.value)
            self.stop(reason)
            return cancelled
        return None

    def give_back(self, job: int) -> None:
        """Take back that this container was given a job: it is preempted, and no fault of the job's."""
        number = 1
        while ("begun", job, number + 1) in self._entries:
            number += 1
        with contextlib.suppress(KeyError):
            self._entries.pop(("begun", job, number))

    def _reason_to_stop(self) -> str | None:
        if self.deadline is not None and time.time() >= self.deadline:
            return "stopped at the end of its budget"
        if self.max_failures is not None and ("failed", self.max_failures) in self._entries:
            return self._too_many
        return None

    @property
    def _too_many(self) -> str:
        return f"stopped after {self.max_failures} failures (max_failures)"

    def until_deadline(self) -> contextlib.AbstractContextManager[object]:
        """Stop the run at its deadline, if that comes within this context."""
        if self.deadline is None:
            return contextlib.nullcontext()
        seconds = max(0.0, self.deadline - time.time())
        timer = threading.Timer(seconds, self.stop, args=("stopped at the end of its budget",))
        timer.daemon = True
        timer.start()
        return contextlib.closing(_Cancelling(timer))

    def end(self, outcome: Outcome) -> None:
        """Note that a job is over; its record has been committed. The last one clears up after the run."""
        from modal.exception import NotFoundError

        with contextlib.suppress(NotFoundError):  # the run is over, and the Dict has gone with it
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._entries.put(("over", outcome.index), outcome.state.value)
        with contextlib.suppress(KeyError):
            self._entries.pop(outcome.index)
        has_failed = outcome.state.is_failure
        too_many = has_failed and self.max_failures is not None and self._take_number("failed") >= self.max_failures
        if too_many and self.stop(self._too_many):
            return
        # Each job has two entries at least; to count what is over, all of them are read, so only towards the end.
        if self._entries.len() >= 2 * self.jobs and len(self._jobs("over")) >= self.jobs:
            release(self.app)

    def stop(self, why: str) -> bool:
        """Stop the run: record what has not begun as cancelled, and cancel what runs. A second call does nothing.

        Args:
            why: The reason, as the end of a sentence that begins with «the run was».

        Returns:
            Whether the run is over by that, and its app and Dict are gone.
        """
        import modal

        if not self._entries.put("stopped", why, skip_if_exists=True):
            return False
        begun, over = self._jobs("begun"), self._jobs("over")
        waiting = [line for line in RunFolder(self.run).jobs() if line.index not in begun]
        if waiting:
            self._record_cancelled(waiting, why)
            self._entries.update({("begun", line.index, 1): time.time() for line in waiting})
            self._entries.update({("over", line.index): State.CANCELLED.value for line in waiting})
        if begun <= over:  # nothing runs, so nobody would clear up after it
            release(self.app)
            return True
        own = modal.current_function_call_id()
        for call in dict.fromkeys([*self._entries.get(CALLS, []), *([own] if own else [])]):
            with contextlib.suppress(Exception):  # what cannot be cancelled meets the reason when it begins
                modal.FunctionCall.from_id(call).cancel()
        return False

    def _record_cancelled(self, waiting: list[JobLine], why: str) -> None:
        failure = Failure("Cancelled", f"the run was {why}")
        lines = [
            records.encode_record(
                Outcome(line.index, State.CANCELLED, failure=failure, ended=time.time(), key=line.key),
                line.row,
            )
            for line in waiting
        ]
        file = Path(self.run, layout.RECORDS, f"stopped-{os.environ.get('MODAL_TASK_ID', 'task')}.jsonl")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"".join(lines))
        commit()

    def _jobs(self, entry: str) -> set[int]:
        """The jobs that have an entry of a kind."""
        return {key[1] for key in list(self._entries.keys()) if isinstance(key, tuple) and key[0] == entry}

    def _take_number(self, *name: Any) -> int:
        """The first number that nobody has taken, from 1."""
        number = 1
        while not self._entries.put((*name, number), time.time(), skip_if_exists=True):
            number += 1
        return number


@dataclass(frozen=True)
class _Cancelling:
    timer: threading.Timer

    def close(self) -> None:
        self.timer.cancel()


def current() -> Ledger | None:
    """The ledger of the run this container works for; None where a client drives the run."""
    return _from(os.environ[APP]) if APP in os.environ else None


@cache
def _from(app: str) -> Ledger:
    given = os.environ
    return Ledger(
        app,
        given[RUN],
        int(given[JOBS]),
        1 + int(given.get("MINI_RETRIES", "0")),
        int(given[MAX_FAILURES]) if MAX_FAILURES in given else None,
        float(given[DEADLINE]) if DEADLINE in given else None,
    )


def commit() -> None:
    """Make what this container wrote to the run's volume visible to others."""
    import modal

    modal.Volume.from_name(os.environ["MINI_VOLUME"]).commit()


def release(app: str, client: Any = None, environment: str | None = None) -> None:
    """Remove the app and the Dict of a detached run that is over. What is gone already is no error.

    Args:
        app: The name of both.
        client: The connection; None for that of a container.
        environment: Modal's environment.
    """
    import modal

    with contextlib.suppress(Exception):  # whoever looks next tries again
        modal.Dict.objects.delete(app, allow_missing=True, environment_name=environment, client=client)
    with contextlib.suppress(Exception):
        modal.App.lookup(app, environment_name=environment, client=client).stop(client=client)


def _outcome(call: Call, state: State, failure: Failure) -> Outcome:
    outcome = Outcome(
        call.index, state, failure=failure, ended=time.time(), attempt=call.attempt, folder=call.folder, key=call.key
    )
    records.write_record(outcome, call.row)
    return outcome
