"""Slurm's commands: submit an array, look at the queue, cancel, requeue. The only module that runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mini.errors import CloudError, UsageError

_PATIENCE = 120.0  # seconds; a busy controller may take long, and answers
_PAUSE = 3.0  # seconds between two looks at the queue, at least
_LONGEST_PAUSE = 15.0
_GONE = "Invalid job id"
_ALIVE = frozenset(
    (
        *("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "STOPPED"),
        *("RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
    )
)
_WRONG = (  # what sbatch says of input that no waiting will make right
    "Invalid account",
    "Invalid qos",
    "Invalid partition",
    "invalid partition",
    "Invalid feature",
    "Invalid generic resource",
    "Requested node configuration is not available",
    "Requested time limit is invalid",
    "Memory specification can not be satisfied",
    "Node count specification invalid",
    "More processors requested than permitted",
    "User's group not permitted",
    "unrecognized option",
    "Unable to open file",
    "Invalid job array specification",
    "Job violates accounting/QOS policy",
    "invalid option",
    "requires an argument",
    "Invalid node name",
    "Invalid license",
)


@dataclass(frozen=True)
class Found:
    """What the queue says of a task of an array.

    Args:
        state: As Slurm names it: `PENDING`, `RUNNING`, `TIMEOUT`, …
        reason: Why it waits, or how it ended.
        node: Where it runs or ran.
    """

    state: str
    reason: str = ""
    node: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it may still do something."""
        return self.state in _ALIVE


@dataclass
class Look:
    """What the queue said, at a time.

    Args:
        tasks: By their names, `ARRAY_TASK`.
        waiting: By the array, those that wait together.
        arrays: Which were asked for.
    """

    tasks: dict[str, Found] = field(default_factory=dict)
    waiting: dict[str, tuple[Found, range | frozenset[int]]] = field(default_factory=dict)
    arrays: frozenset[str] = frozenset()

    def of(self, task: str) -> Found | None:
        """What it said of a task; None where it does not know it any more."""
        if task in self.tasks:
            return self.tasks[task]
        array, _, number = task.partition("_")
        found, numbers = self.waiting.get(array, (None, frozenset()))
        return found if found is not None and int(number) in numbers else None

    def is_alive(self, arrays: Iterable[str]) -> bool:
        """Whether any task of some arrays may still do something."""
        wanted = set(arrays)
        return any(array in wanted for array in self.waiting) or any(
            found.is_alive and task.partition("_")[0] in wanted for task, found in self.tasks.items()
        )


def require() -> None:
    """Refuse a machine without Slurm.

    Raises:
        UsageError: There is no `sbatch`.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "apparatus=slurm: there is no sbatch on the PATH; give the command on a login node of the cluster, or try "
            "it on a throw-away one with `python -m mini.clusters slurm`"
        )


def submit(script: Path, flags: Sequence[str], *arguments: str) -> str:
    """Submit an array.

    Args:
        script: The shell script of its tasks.
        flags: Of sbatch.
        arguments: Of the script.

    Returns:
        Its number.

    Raises:
        UsageError: Slurm does not take this.
        CloudError: Slurm cannot be reached.
    """
    return _run("submit the jobs", "sbatch", "--parsable", *flags, str(script), *arguments).strip().split(";")[0]


def test(script: Path, flags: Sequence[str]) -> None:
    """Refuse what Slurm would, without submitting it.

    Args:
        script: As for `submit`.
        flags: As for `submit`.

    Raises:
        UsageError: Slurm does not take this.
        CloudError: Slurm cannot be reached.
    """
    try:
        _run("submit the jobs", "sbatch", "--test-only", *flags, str(script))
    except CloudError as error:
        if not isinstance(error.__cause__, subprocess.CalledProcessError):
            raise  # else it may have to do with how busy the cluster is now


def look(arrays: Iterable[str]) -> Look:
    """Ask the queue for all tasks of some arrays, in one request.

    Args:
        arrays: Their numbers.

    Raises:
        CloudError: Slurm cannot be reached.
    """
    wanted = sorted(set(arrays))
    if not wanted:
        return Look()
    try:
        said = _run(
            "look at the queue",
            "squeue",
            "--noheader",
            "--states=all",
            f"--jobs={','.join(wanted)}",
            "--format=%i|%T|%r|%N",
        )
    except UsageError as error:
        if _GONE not in str(error):
            raise
        said = ""
    return parse(said, wanted)


def parse(said: str, arrays: Iterable[str]) -> Look:
    """What `squeue` printed.

    Args:
        said: Lines `NUMBER|STATE|REASON|NODE`, where NUMBER is `12_3`, or `12_[5-9,11%2]` for tasks that wait together.
        arrays: Those that were asked for.
    """
    seen = Look(arrays=frozenset(arrays))
    for line in said.splitlines():
        number, state, reason, node = (*line.split("|"), "", "", "")[:4]
        found = Found(state.strip(), reason.strip().strip("()"), node.strip())
        array, _, tasks = number.strip().partition("_")
        if tasks.startswith("["):
            numbers = _numbers(tasks.strip("[]").split("%")[0])
            if found.is_alive:
                seen.waiting[array] = found, numbers
            else:
                seen.tasks.update({f"{array}_{one}": found for one in numbers})
        elif array:
            seen.tasks[f"{array}_{tasks or 0}"] = found
    return seen


def cancel(arrays: Iterable[str], *, waiting: bool = False) -> None:
    """Cancel arrays, in one request.

    Args:
        arrays: Their numbers.
        waiting: Only the tasks that have not begun.

    Raises:
        CloudError: Slurm cannot be reached.
    """
    only = ["--state=PENDING"] if waiting else []
    try:
        _run("cancel the jobs", "scancel", "--quiet", *only, *sorted(set(arrays)))
    except UsageError as error:
        if _GONE not in str(error):
            raise


def requeue(task: str) -> None:
    """Put a task that runs into the queue again; Slurm ends it here.

    Args:
        task: Its name.

    Raises:
        CloudError: Slurm cannot be reached, or does not.
    """
    try:
        _run("queue the job again", "scontrol", "requeue", task)
    except UsageError as error:
        raise CloudError(str(error)) from error


class Queue:
    """Looks at the queue for everybody in this process who wants to know: one request, at most every few seconds.

    Args:
        look: Asks the queue for arrays.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, look: Callable[[Iterable[str]], Look] = look, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = look, clock
        self._wanted: dict[str, None] = {}
        self._last, self._at, self._pause = Look(), -float("inf"), _PAUSE
        self._lock = threading.Lock()

    def follow(self, arrays: Iterable[str]) -> None:
        """Include arrays in the looks; the next is a few seconds from now."""
        with self._lock:
            self._wanted.update(dict.fromkeys(arrays))
            self._at, self._pause = self._clock(), _PAUSE

    def want(self, arrays: Iterable[str]) -> None:
        """Include only some arrays in the looks; the next is now, unless the last one had them all."""
        with self._lock:
            self._wanted = dict.fromkeys(arrays)
            if not self._wanted.keys() <= self._last.arrays:
                self._at, self._pause = -float("inf"), _PAUSE / 1.5

    def forget(self, arrays: Iterable[str]) -> None:
        """Leave arrays out of the looks."""
        with self._lock:
            for array in arrays:
                self._wanted.pop(array, None)

    def due(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._at + self._pause - self._clock())

    def look(self) -> tuple[float, Look]:
        """What the queue says, and when it said that; asked again only if it is due.

        The longer nothing is submitted, the longer the pause to the next.

        Raises:
            CloudError: Slurm cannot be reached.
        """
        with self._lock:
            if self.due() == 0.0:
                self._at, self._pause = self._clock(), min(_LONGEST_PAUSE, self._pause * 1.5)
                self._last = self._ask(self._wanted)
            return self._at, self._last


def answer(*words: str) -> str:
    """What a command of Slurm's prints.

    Args:
        words: The command.

    Raises:
        UsageError: It does not take this.
        CloudError: Slurm cannot be reached.
    """
    return _run(f"ask {words[0]}", *words)


def _run(doing: str, *words: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PATIENCE, check=True, stdin=subprocess.DEVNULL, env=_clean()
        )
    except FileNotFoundError as error:
        raise UsageError(f"cannot {doing}: there is no {words[0]} on the PATH; is Slurm installed here?") from error
    except subprocess.TimeoutExpired as error:
        raise CloudError(f"cannot {doing}: {words[0]} did not answer in {_PATIENCE:g} s; try again later") from error
    except subprocess.CalledProcessError as error:
        said = _words(error.stderr) or f"{words[0]} ended with {error.returncode}"
        wrong = _GONE in said or any(text in said for text in _WRONG)
        raise (UsageError if wrong else CloudError)(f"cannot {doing}: {said}") from error
    return done.stdout


def _words(stderr: str) -> str:
    """What a command says is wrong, on one line."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("Try ")))


def _clean() -> Mapping[str, str]:
    """The environment without what an allocation around this process would say of the jobs; lists at full length."""
    around = ("SLURM_JOB", "SLURM_ARRAY", "SLURM_MEM", "SLURM_CPUS", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_STEP")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(around)}
    return {**kept, "SLURM_BITSTR_LEN": "0"}


def _numbers(written: str) -> range | frozenset[int]:
    """The numbers of tasks from `5-9,11`, or `0-999:2`."""
    parts: list[range] = []
    for part in filter(None, written.split(",")):
        begin, _, rest = part.partition("-")
        end, _, step = rest.partition(":")
        if begin.isdecimal():
            parts.append(range(int(begin), int(end or begin) + 1, int(step or 1)))
    return parts[0] if len(parts) == 1 else frozenset(number for part in parts for number in part)
