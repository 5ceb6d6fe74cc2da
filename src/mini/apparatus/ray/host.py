"""An actor of Ray that looks after one worker process on its node.

Jobs do not run in Ray's own process: the worker is one as `apparatus=local` has them, with a warden that ends whatever
a job has started, so that a job that crashes, is stopped or runs for too long is told apart from a node that is gone.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mini.apparatus.local.bundle import Bundle, Ending, How
from mini.apparatus.local.process import NotStarted, WorkerProcess
from mini.apparatus.local.worker import Setup
from mini.job import Job, Outcome
from mini.worker.pickling import Parcel, Shared

_NO_JOB: Any = None  # who sends bytes on needs no job


@dataclass(frozen=True)
class Finished:
    """The last message about a bundle.

    Args:
        how: How the work on it ended.
        goes_on: Whether the worker takes another one.
    """

    how: How
    goes_on: bool


class Host:
    """The actor. Its methods are called while others of them wait.

    Args:
        setup: What the worker is told.
        path: The client's `sys.path`.
        folder: The client's working directory.
        environment: Variables of the client's environment that this process has not.
    """

    def __init__(self, setup: Setup, path: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        os.chdir(folder)
        sys.path[:] = path
        self._said: queue.Queue[Outcome | Finished] = queue.Queue()
        self._bundle: Bundle | None = None
        self._worker = WorkerProcess(setup)

    def begin(self) -> str | None:
        """Wait for the worker; why there is none, or None."""
        try:
            self._worker.wait_until_ready()
        except NotStarted as error:
            return str(error)
        return None

    def start(self, digest: str, function: bytes, calls: Sequence[bytes], timeout: float | None) -> None:
        """Begin a bundle.

        Args:
            digest: Of the function.
            function: The function and its hooks, pickled; empty where the worker has it.
            calls: A pickled `Call` for each job.
            timeout: Seconds for all of them.
        """
        shared = Shared(digest, function)
        parcels = [Parcel(_job(), shared, data) for data in calls]
        bundle = Bundle(parcels, timeout, None, self._over, _nothing, _nothing)
        self._bundle = bundle
        threading.Thread(target=self._work, args=(bundle,), daemon=True).start()

    def hear(self, seconds: float) -> list[Outcome | Finished]:
        """What there is to say, once there is something or the time is over."""
        said = []
        try:
            said.append(self._said.get(timeout=max(0.0, seconds)))
            while True:
                said.append(self._said.get_nowait())
        except queue.Empty:
            return said

    def take(self, most: int) -> int:
        """Take back jobs that have not begun, the last ones first; how many these are."""
        return len(self._bundle.take_back()) if self._bundle is not None and most > 0 else 0

    def ask_to_end(self) -> None:
        """End the worker, and all it started."""
        self._worker.ask_to_end()

    def end(self) -> int:
        """Wait for the worker's end, and say its exit code."""
        return self._worker.end()

    def _work(self, bundle: Bundle) -> None:
        how, goes_on = self._worker.run(bundle)
        self._said.put(Finished(how, goes_on))

    def _over(self, bundle: Bundle, parcel: Parcel, outcome: Outcome) -> None:
        self._said.put(outcome)


def _job() -> Job:
    return _NO_JOB  # type: ignore[no-any-return]


def _nothing(bundle: Bundle, ending: Ending | None = None) -> None:
    """Whoever sent the bundle knows by what it hears."""
