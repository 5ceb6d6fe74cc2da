"""Jobs of several processes: the first of them takes the jobs and records, the others follow it.

Each finds in its environment what the frameworks for distributed training look for: RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from mini.apparatus.slurm.interruption import Preempted, Watch
from mini.apparatus.slurm.spool import Spool
from mini.job import Failure
from mini.runs.files import dump_json, read_whole, write_atomically
from mini.worker import capture, execution
from mini.worker.pickling import Call

RANKS = "MINI_SLURM_RANKS"
"""The variable that says how many processes a job has; not there for one."""

FIRST = "MINI_SLURM_FIRST"
"""The variable with the place of the first job of this array among those of its submission."""

AGAIN = "MINI_SLURM_TRY"
"""The variable that counts the processes that the script of a task has started, one after the other."""

_JOB = "job"  # the file that says which job the first process has taken, or that there is none
_PAUSE = 0.1  # seconds between two looks at what the first process takes


@dataclass(frozen=True)
class Here:
    """Where a process is.

    Args:
        task: The task, as Slurm writes it: `ARRAY_TASK`.
        place: The job that is this task's own, unless another took it.
        starts: How often Slurm started the task before.
        rank: Its number among the processes of the job.
        size: How many there are.
    """

    task: str
    place: int
    starts: int = 0
    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """As Slurm says; and say it in the words that frameworks know."""
        known = os.environ
        number = known["SLURM_ARRAY_TASK_ID"]
        size = int(known.get(RANKS, "1"))
        rank = int(known.get("SLURM_PROCID", "0")) if size > 1 else 0
        if size > 1:
            known |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": known.get("SLURM_LOCALID", "0")}
        return cls(
            f"{known['SLURM_ARRAY_JOB_ID']}_{number}",
            int(known.get(FIRST, "0")) + int(number),
            int(known.get("SLURM_RESTART_COUNT", "0")),
            rank,
            size,
        )

    def announce(self, spool: Spool, place: int, attempt: int) -> None:
        """Let the other processes run a job too.

        Args:
            spool: The submission.
            place: The job's.
            attempt: Its attempt.
        """
        self._say(spool, [place, attempt])

    def dismiss(self, spool: Spool) -> None:
        """Let the other processes go, if there was no job for them: they would wait for one for ever.

        Args:
            spool: The submission.
        """
        if not (_folder(spool, self) / _JOB).exists():
            self._say(spool, None)

    def _say(self, spool: Spool, job: list[int] | None) -> None:
        if self.size > 1:
            folder = _folder(spool, self)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / _JOB, dump_json(job))


def follow(spool: Spool, here: Here) -> int:
    """What a process that is not the first does: run the job that the first has taken, if it has taken one.

    Returns:
        The exit code; with any but 0 Slurm ends the others.
    """
    Watch()  # a signal is an exception in the job, and does not end this process, and the others with it
    folder = _folder(spool, here)
    while (said := read_whole(str(folder / _JOB))) is None:
        time.sleep(_PAUSE)
    if (job := json.loads(said)) is None:
        return 0
    place, attempt = job
    entry = spool.entry(place)
    call: Call = pickle.loads(spool.call(entry))
    silent = replace(call, attempt=attempt, record=False)
    log = Path(call.folder, f"log-{here.rank}.txt") if call.folder is not None and call.record else None
    with capture.to_file(log) if log is not None else contextlib.nullcontext():
        try:
            outcome = execution.execute(spool.function(entry.function), silent, passes=(Preempted,))
        except Preempted:
            return 0  # what becomes of the job is for the first process to say
        if outcome.failure is not None:
            print(outcome.failure.traceback, file=sys.stderr)
    if outcome.failure is None:
        return 0
    told = replace(
        outcome.failure, message=f"process {here.rank} of {here.size}: {outcome.failure.message}", pickled=None
    )
    write_atomically(folder / "failed", pickle.dumps(told))
    return 1


def failure(spool: Spool, here: Here, *, before: bool) -> Failure | None:
    """Why another process of the job failed; None if none did.

    Args:
        spool: The submission.
        here: Where this process is.
        before: Whether it was with the process before this one.
    """
    if here.size == 1:
        return None
    path = _folder(spool, here, -1 if before else 0) / "failed"
    try:
        told: Failure = pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return told


def _folder(spool: Spool, here: Here, earlier: int = 0) -> Path:
    """Where the processes of a task meet: another place each time they are started."""
    return spool.path / "ranks" / f"{here.task}-{here.starts}-{int(os.environ.get(AGAIN, '0')) + earlier}"
