"""How a job on a node is interrupted: when it shall stop, when its time is nearly up, when its task must go."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from mini.worker import context

_LOOK = 1.0  # seconds between two looks at whether a job shall stop
_PATIENCE = 5.0  # seconds for a job that shall stop to do so


class Stopped(BaseException):
    """Raised in a job that shall stop."""


class Preempted(KeyboardInterrupt):
    """Raised in a job whose task must go, or whose time limit is near; it will run again unless that was the last time.

    Args:
        why: The reason, in a word: `time` or `end`.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Watch:
    """Signals, and a thread that looks whether the running job shall stop.

    SIGUSR2 comes some time before the time limit, SIGTERM when the task must go, whatever the reason.
    """

    def __init__(self) -> None:
        self.ending: str | None = None
        """Why the task must go, once it must."""
        self._job: _Job | None = None
        self._changed = threading.Condition()
        signal.signal(signal.SIGUSR2, lambda *_: self._end("time"))
        signal.signal(signal.SIGTERM, lambda *_: self._end("end"))
        signal.signal(signal.SIGUSR1, lambda *_: _raise_stopped())
        threading.Thread(target=self._run, name="mini-watch", daemon=True).start()

    @contextlib.contextmanager
    def during(self, shall_stop: Callable[[], bool], give_up: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, raise `Stopped` in it when the job shall stop, and `Preempted` when the task must go.

        Args:
            shall_stop: Asked every second, in another thread.
            give_up: Called in that thread when the job does not stop; it records that, and ends the process.
        """
        with self._changed:
            self._job = _Job(shall_stop, give_up)
            self._changed.notify()
        try:
            if self.ending is not None:
                raise Preempted(self.ending)
            yield
        finally:
            with self._changed:
                self._job = None

    def _end(self, why: str) -> None:
        self.ending = why
        here = context.current()
        if here is not None and here.is_calling:
            here.interruption = Preempted(why)
            raise here.interruption

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._job is None:
                    self._changed.wait()
                job = self._job
                self._changed.wait(_LOOK)
                if self._job is not job:
                    continue
            if job.end is not None and time.monotonic() >= job.end:
                job.give_up()
            elif job.end is None and job.shall_stop():
                job.end = time.monotonic() + _PATIENCE
                with self._changed:
                    if self._job is job:
                        os.kill(os.getpid(), signal.SIGUSR1)


class _Job:
    def __init__(self, shall_stop: Callable[[], bool], give_up: Callable[[], None]) -> None:
        self.shall_stop, self.give_up = shall_stop, give_up
        self.end: float | None = None


def _raise_stopped() -> None:
    here = context.current()
    if here is not None and here.is_calling:  # and not meanwhile at an end, with an outcome that stands
        raise Stopped("it was stopped")


def cause_of_death(code: int, oom: bool) -> tuple[str, str]:
    """The type and the text of the failure of a job whose process ended in the midst of it.

    Args:
        code: The exit code as a shell has it: 128 and the signal for one that was ended by one.
        oom: Whether the kernel says that memory ran out.
    """
    if oom:
        return "OutOfMemory", "it ran out of memory, and was ended by the kernel; ask for more with apparatus.mem"
    if code == 128 + signal.SIGKILL:
        return "WorkerDied", "its process was killed by SIGKILL; most often that is for want of memory (apparatus.mem)"
    if code > 128 and code - 128 in [known.value for known in signal.Signals]:
        return "WorkerDied", f"its process was killed by {signal.Signals(code - 128).name}"
    return "WorkerDied", f"its process exited with code {code}"


def memory_kills() -> int:
    """How many processes of this control group the kernel has ended for want of memory."""
    found = 0
    with contextlib.suppress(OSError, ValueError):
        for line in _read("/proc/self/cgroup").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                root = "/sys/fs/cgroup" if not controllers else "/sys/fs/cgroup/memory"
                name = "memory.events" if not controllers else "memory.oom_control"
                for said in _read(f"{root}{group}/{name}").splitlines():
                    word, _, count = said.partition(" ")
                    found += int(count) if word == "oom_kill" else 0
    return found


def _read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 - of the kernel's
        return file.read()
