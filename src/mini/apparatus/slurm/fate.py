"""What became of jobs whose task is gone, by what the queue says of it."""

from __future__ import annotations

import contextlib
import re

from mini.apparatus.slurm import scheduler
from mini.apparatus.slurm.scheduler import Found
from mini.errors import MiniError
from mini.job import Failure, State

_STATES = {
    "TIMEOUT": (State.TIMEOUT, "Timeout", "it reached the time limit; ask for more with apparatus.time"),
    "DEADLINE": (State.TIMEOUT, "Timeout", "it reached its deadline"),
    "OUT_OF_MEMORY": (State.LOST, "OutOfMemory", "it ran out of memory; ask for more with apparatus.mem"),
    "NODE_FAIL": (State.LOST, "NodeFailure", "its node failed"),
    "BOOT_FAIL": (State.LOST, "NodeFailure", "its node did not start"),
    "PREEMPTED": (State.LOST, "Preempted", "it had to make room for another job, and Slurm did not queue it again"),
    "CANCELLED": (State.CANCELLED, "Cancelled", "its job of Slurm's was cancelled"),
    "REVOKED": (State.CANCELLED, "Cancelled", "its job of Slurm's was taken back"),
}


_SAID = (  # what Slurm's own process on the node prints; known also where the queue has forgotten the task
    (re.compile(r"slurmstepd.*(exceeded (job )?memory limit|oom.kill)", re.IGNORECASE), "OUT_OF_MEMORY"),
    (re.compile(r"slurmstepd.*DUE TO TIME LIMIT"), "TIMEOUT"),
    (re.compile(r"slurmstepd.*DUE TO NODE FAILURE"), "NODE_FAIL"),
    (re.compile(r"slurmstepd.*DUE TO PREEMPTION"), "PREEMPTED"),
)


def fate(found: Found | None, *, began: bool, output: str, asked: bool) -> tuple[State, Failure]:
    """What became of a job that has no outcome, and whose task will not give it one.

    Args:
        found: What is known of the task; None for nothing.
        began: Whether the job had begun.
        output: The end of what the task's shell printed.
        asked: Whether somebody asked for the end.
    """
    if asked:
        return State.CANCELLED, Failure("Cancelled", f"it was stopped before it {'finished' if began else 'began'}")
    node = f" (on {found.node})" if found is not None and found.node else ""
    known = found.state if found is not None else ""
    if known not in _STATES:
        known = next((state for pattern, state in _SAID if pattern.search(output)), "")
    if known:
        state, kind, text = _STATES[known]
        return state, Failure(kind, text + node)
    tail = f"; it printed: {output}" if output else ""
    if found is None:
        return State.LOST, Failure("TaskLost", f"its task is gone, and Slurm knows it no more{tail}")
    how = f"ended as {found.state}{f' ({found.reason})' if found.reason not in ('', 'None') else ''}{node}"
    when = "before it ended" if began else "before it began"
    return State.LOST, Failure("TaskLost", f"its task {how} {when}{tail}")


def of_accounting(task: str) -> Found | None:
    """What Slurm's accounting says of a task that the queue has forgotten; None where there is none.

    Args:
        task: Its name.
    """
    with contextlib.suppress(MiniError):
        said = scheduler.answer("sacct", "-n", "-P", "-X", "-j", task, "-o", "State,NodeList,ExitCode").splitlines()
        if said:
            state, node, code = (*said[-1].split("|"), "", "")[:3]
            return Found(state.split()[0], f"exit code {code}", node)
    return None
