"""A task of a job array, on a node: takes one job after the other, and says what it does in a file of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mini import machine
from mini.apparatus.grouping import Grouping
from mini.apparatus.slurm import ranks, scheduler
from mini.apparatus.slurm.interruption import Preempted, Stopped, Watch, cause_of_death, memory_kills
from mini.apparatus.slurm.script import ENDED, FINISHED, LEFT, SHELL
from mini.apparatus.slurm.spool import Began, Ended, Left, Spool, TaskLog, append
from mini.apparatus.stream import pruned
from mini.errors import CloudError
from mini.job import Failure, Outcome, State
from mini.runs import live, records
from mini.worker import capture, execution, isolation
from mini.worker.pickling import Call

_AGAIN = 1  # the exit code after which the script starts another process


def main(path: Path) -> int:
    """Work until there is nothing more to do.

    Args:
        path: The submission's folder.

    Returns:
        The exit code, as the script understands it.
    """
    spool = Spool(path)
    here = ranks.Here.from_environment()
    if here.size == 1:  # else its parent is Slurm's own process on the node
        machine.end_with(int(os.environ[SHELL]))
    if here.rank > 0:
        return ranks.follow(spool, here)
    return Task(spool, here).run()


class Task:
    """The task that this process belongs to.

    Args:
        spool: The submission.
        here: Where this process is.
    """

    def __init__(self, spool: Spool, here: ranks.Here) -> None:
        self._spool, self._about, self._here = spool, spool.about(), here
        self._watch = Watch()
        self._snapshot = isolation.Snapshot()
        # Whoever is idle takes what is left: there are no shares.
        self._grouping = Grouping(
            width=1,
            seconds=self._about.seconds,
            enough=1,
            largest=sys.maxsize,
            shares=1,
            fixed=1 if here.size > 1 else self._about.group,
        )
        before = TaskLog(spool.log(here.task))
        ended = before.update()
        self._taken = len(ended) if ENDED in os.environ else 0  # by the processes of this start
        self._before = before
        self._file = spool.log(here.task).open("ab", buffering=0)
        self._file.truncate(before.read)  # what was cut off as the process before this one died

    def run(self) -> int:
        """Work until there is nothing more to do."""
        for place in self._places():
            self._taken += 1
            if not self._work(place, self._attempt(place)):
                return LEFT
            if self._here.size > 1:  # others may still be at their part of the job
                break
            if not self._snapshot.restore():
                return _AGAIN
        self._here.dismiss(self._spool)
        return FINISHED if self._here.size == 1 else 0

    # Which jobs.

    def _places(self) -> Iterator[int]:
        """The jobs to run: first what this task had in hand when its process before this one ended."""
        in_hand = self._before.current
        died = ENDED in os.environ and not self._before.left  # else Slurm queued it again
        if in_hand is not None and (not died or self._settle(in_hand)):
            yield in_hand.place
        place = self._here.place
        while self._taken == 0 or self._taken < self._grouping.size(self._about.jobs):
            if self._watch.ending is not None:
                return
            if not self._spool.claim(place, self._here.task):
                taken = self._spool.claimed()
                free = next((i for i in _around(place, self._about.jobs) if i not in taken), None)
                if free is None:
                    self._spare_the_rest()
                    return
                place = free
            else:
                yield place
                place = (place + 1) % self._about.jobs

    def _spare_the_rest(self) -> None:
        """Spare Slurm the tasks that would find nothing to do."""
        if self._about.jobs > 1 and self._spool.once("emptied"):
            own = self._here.task.partition("_")[0]  # the client may not have written it yet
            with contextlib.suppress(CloudError):
                scheduler.cancel({*self._spool.about().arrays, own}, waiting=True)

    def _attempt(self, place: int) -> int:
        in_hand = self._before.current
        return in_hand.attempt if in_hand is not None and in_hand.place == place else self._spool.entry(place).attempt

    def _settle(self, in_hand: Began) -> bool:
        """Record that the process before this one died in the midst of a job.

        Returns:
            Whether the job is tried again; then with its next attempt.
        """
        call = self._call(in_hand.place, in_hand.attempt)
        recorded = execution.recorded(call)  # it died between the record and its word of it
        tried_again = in_hand.attempt <= self._about.retries and not self._spool.is_stopped(in_hand.place)
        if recorded is not None and (not recorded.state.is_failure or not tried_again):
            self._end(in_hand.place, recorded)
            return False
        if tried_again:
            self._before.current = replace(in_hand, attempt=in_hand.attempt + 1)
            return True
        told = ranks.failure(self._spool, self._here, before=True)
        kind, text = cause_of_death(int(os.environ.get(ENDED, "1")), memory_kills() > 0)
        failure = told or Failure(kind, text)
        state = State.FAILED if told else State.LOST
        self._end(in_hand.place, _record(call, state, failure, self._where(), in_hand.time))
        return False

    # One job.

    def _work(self, place: int, attempt: int) -> bool:
        """Run a job, with its further attempts.

        Returns:
            False if the task must go.
        """
        while True:
            call = self._call(place, attempt)
            append(self._file, Began(place, attempt, time.time(), self._here.starts))
            refused = self._refused(place, call)
            try:
                outcome = refused or self._execute(place, call)
            except Preempted as preempted:
                return self._leave(place, call, preempted.why)
            self._grouping.finished(outcome.seconds)
            # Where the job began, the other processes may wait for this one for ever.
            if self._here.size > 1 and refused is None and not outcome.ok:
                return self._end_with_others(place, attempt, outcome)
            tried_again = outcome.state.is_failure and attempt <= self._about.retries
            if not tried_again or self._spool.is_stopped(place):
                self._end(place, outcome)
                return True
            attempt += 1

    def _end_with_others(self, place: int, attempt: int, outcome: Outcome) -> bool:
        """Say that a job of several processes failed, and end these; the next process goes on."""
        if not outcome.state.is_failure or attempt > self._about.retries:
            self._end(place, outcome)
        sys.stdout.flush()
        os._exit(_AGAIN)

    def _execute(self, place: int, call: Call) -> Outcome:
        shared = _function(self._spool, self._spool.entry(place).function)
        self._here.announce(self._spool, place, call.attempt)

        def shall_stop() -> bool:
            return self._spool.is_stopped(place) or self._is_late()

        def give_up() -> None:
            why = Failure("Cancelled", "it was stopped, and its process with it, because it did not end")
            self._end(place, _record(call, State.CANCELLED, why, self._where(), None))
            os._exit(_AGAIN)

        try:
            with self._watch.during(shall_stop, give_up):
                return execution.execute(
                    shared,
                    call,
                    capture=capture.to_file,
                    interrupts=(Stopped,),
                    passes=(Preempted,),
                    where=self._where(),
                )
        except execution.Interrupted as interrupted:
            return interrupted.outcome

    def _leave(self, place: int, call: Call, why: str) -> bool:
        """Leave a job whose task must go; queue it again if its time was up.

        Returns:
            False: the task is over.
        """
        if why == "end" and ranks.failure(self._spool, self._here, before=False) is not None:
            os._exit(_AGAIN)  # Slurm ends this process because another of the job failed
        if why == "end" or self._spool.is_stopped(place):
            if self._spool.is_stopped(place):
                stopped = Failure("Cancelled", "it was stopped before it finished")
                self._end(place, _record(call, State.CANCELLED, stopped, self._where(), None))
            else:
                append(self._file, Left(place, why))
            return False
        # One that shared its task with others had not all of the time.
        if self._taken == 1 and self._here.starts >= self._about.requeues:
            times = f", the last of {self._here.starts + 1} times" if self._here.starts else ""
            failure = Failure("Timeout", f"it reached the time limit{times}; ask for more with apparatus.time")
            self._end(place, _record(call, State.TIMEOUT, failure, self._where(), None))
            return False
        append(self._file, Left(place, why))
        try:
            scheduler.requeue(self._here.task)
            time.sleep(60)  # until Slurm ends this process
        except CloudError as error:
            print(error, file=sys.stderr)
        return False

    def _refused(self, place: int, call: Call) -> Outcome | None:
        """What became of a job that shall not begin, or has ended already."""
        before = execution.recorded(call)
        if before is not None:
            return before
        if self._spool.is_stopped(place):
            why = Failure("Cancelled", "it was stopped before it began")
        elif self._is_late():
            why = Failure("Cancelled", "the run had reached the end of its budget")
        else:
            return None
        return _record(call, State.CANCELLED, why, self._where(), None)

    def _is_late(self) -> bool:
        return self._about.deadline is not None and time.time() >= self._about.deadline

    def _end(self, place: int, outcome: Outcome) -> None:
        """Say that a job is over; and that the run shall stop, if so many have failed."""
        said = outcome if self._about.values or outcome.folder is None else replace(outcome, pickled=None)
        append(self._file, Ended(place, said))
        most = self._about.max_failures
        if most is not None and outcome.state.is_failure and self._spool.fail(place) >= most:
            self._stop_run()

    def _stop_run(self) -> None:
        """Stop all submissions of the run: what runs hears of it, and what waits is recorded and taken out."""
        run = self._spool.path.parents[1]
        for spool in Spool.all(run):
            spool.cancel()
        from mini.apparatus.slurm.runs import record_unbegun

        record_unbegun(run, "the run was stopped, as too many jobs had failed (max_failures)")
        arrays = [array for spool in Spool.all(run) for array in spool.about().arrays]
        with contextlib.suppress(CloudError):
            scheduler.cancel(arrays, waiting=True)

    def _call(self, place: int, attempt: int) -> Call:
        call: Call = pickle.loads(self._spool.call(self._spool.entry(place)))
        return call if call.attempt == attempt else replace(call, attempt=attempt)

    def _where(self) -> dict[str, Any]:
        return _where(self._here.task)


@cache
def _function(spool: Spool, number: int) -> bytes:
    return spool.function(number)


@cache
def _where(task: str) -> dict[str, Any]:
    where: dict[str, Any] = {"apparatus": "slurm", "task": task}
    for name, variable in (("node", "SLURMD_NODENAME"), ("partition", "SLURM_JOB_PARTITION")):
        where[name] = os.environ.get(variable)
    where["gpu"] = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("SLURM_JOB_GPUS")
    return {name: value for name, value in where.items() if value}


def _around(place: int, count: int) -> Iterator[int]:
    """All places, from one on."""
    yield from range(place, count)
    yield from range(place)


def _record(call: Call, state: State, failure: Failure, where: Mapping[str, Any], started: float | None) -> Outcome:
    """The outcome of a job that cannot say it itself, recorded if the job is."""
    host = {"host": os.uname().nodename}
    outcome = Outcome(
        call.index,
        state,
        failure=failure,
        started=started,
        ended=time.time(),
        attempt=call.attempt,
        where={**host, **where},
        folder=call.folder if call.record else None,
        key=call.key,
    )
    if outcome.folder is not None:
        if state is State.CANCELLED and live.is_pruned(Path(outcome.folder)):
            said = live.read_live(outcome.folder) or {}
            outcome = pruned(outcome, said.get("step"), said.get("total"))
        records.write_record(outcome, call.row)
    return outcome
