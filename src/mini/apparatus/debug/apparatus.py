"""Jobs in this process, one after the other: breakpoints stop, and a failure can be looked into."""

from __future__ import annotations

import bdb
import contextlib
import pdb
import pickle
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.base import Apparatus
from mini.apparatus.debug.plugin import DebugOptions
from mini.apparatus.stream import Stream, record_loss, retried
from mini.apparatus.volume import LocalVolume
from mini.errors import UsageError
from mini.job import Failure, Outcome, State
from mini.runs.live import read_live
from mini.worker import capture, execution, isolation
from mini.worker.pickling import Parcel

# One job at a time in a process: its output and its folder are the process's.
_running = threading.RLock()


class DebugApparatus(Apparatus):
    """Runs each job in this process when its result is asked for, in order.

    Arguments and results are pickled as on any other apparatus, so what works here travels.

    Args:
        name: What its files are filed under.
        volume: The folder where the files of its jobs go.
        options: `pdb` (bool): enter the debugger where a job raised. `retries` (int): more tries of a failed job.
            `timeout`, `gpu` and `image` are accepted and do nothing here.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """

    kind = "debug"
    options_type = DebugOptions
    can_be_driven = False

    def __init__(self, name: str = "mini", *, volume: Path | str = "outputs", **options: Any) -> None:
        super().__init__(name, **options)
        self._volume = LocalVolume(volume)

    @property
    def volume(self) -> LocalVolume:
        """The folder where the jobs leave their files."""
        return self._volume

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        return _DebugStream(self, parcels, self.options.pdb)

    def _folder(self, batch: str, index: int) -> str:
        return str(self._volume.path / self.name / batch / str(index))


class _DebugStream(Stream):
    """Runs a job when its outcome is asked for, in the thread that asks."""

    def __init__(self, apparatus: DebugApparatus, parcels: Sequence[Parcel], debugger: bool) -> None:
        self._retries = apparatus.options.retries
        self._on_error = _post_mortem if debugger else None
        self._waiting: deque[Parcel] = deque()
        self._stopped: deque[Parcel] = deque()
        self._running: Parcel | None = None
        self._closed = False
        self.add(parcels)

    def add(self, parcels: Sequence[Parcel]) -> None:
        """Let more jobs wait.

        Raises:
            UsageError: The stream is closed.
        """
        if self._closed:
            raise UsageError("this stream is closed, and takes no more jobs; start them anew")
        self._waiting.extend(parcels)

    def stop(self, index: int) -> None:
        """Drop a job that waits. One that runs is in somebody's debugger, and goes on.

        Args:
            index: The job's index.
        """
        for parcel in list(self._waiting):
            if parcel.job.index == index:
                with contextlib.suppress(ValueError):  # it has just begun
                    self._waiting.remove(parcel)
                    self._stopped.append(parcel)

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running job has in its live file."""
        running = self._running
        if running is None or not running.job.record or running.job.folder is None:
            return {}
        said = read_live(Path(running.job.folder))
        return {} if said is None else {running.job.index: said}

    def __next__(self) -> Outcome:
        if self._stopped:
            return _dropped(self._stopped.popleft())
        try:
            parcel: Parcel | None = self._waiting.popleft()
        except IndexError:
            raise StopIteration from None
        try:
            while parcel is not None:
                self._running = parcel
                outcome = self._run(parcel)
                parcel = retried(parcel, outcome, self._retries)
        finally:
            self._running = None
        return outcome

    def _run(self, parcel: Parcel) -> Outcome:
        with _running:
            here = isolation.Snapshot(shared=True)
            try:
                return execution.execute(
                    parcel.shared.data,
                    pickle.loads(parcel.data),
                    capture=capture.tee,
                    on_error=self._on_error,
                    interrupts=(KeyboardInterrupt, bdb.BdbQuit),
                )
            except execution.Interrupted as interrupted:
                self.close()
                raise KeyboardInterrupt from interrupted
            finally:
                here.restore()

    def close(self) -> None:
        """Drop what waits."""
        self._closed = True
        self._waiting.clear()
        self._stopped.clear()


def _dropped(parcel: Parcel) -> Outcome:
    job, why = parcel.job, Failure("Cancelled", "it was stopped before it began")
    return record_loss(
        parcel, Outcome(job.index, State.CANCELLED, None, why, None, time.time(), job.attempt, key=job.key)
    )


def _post_mortem(error: BaseException) -> None:
    pdb.post_mortem(error.__traceback__)
