"""Jobs in this process, one after the other: breakpoints stop, and a failure can be looked into."""

from __future__ import annotations

import bdb
import pdb
import pickle
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.base import Apparatus, Stream, record_loss, retried
from mini.apparatus.debug.plugin import DebugOptions
from mini.apparatus.volume import LocalVolume
from mini.errors import UsageError
from mini.job import Failure, Outcome, State
from mini.worker import capture, execution
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
    def __init__(self, apparatus: DebugApparatus, parcels: Sequence[Parcel], debugger: bool) -> None:
        self._apparatus = apparatus
        self._waiting = deque(parcels)
        self._stopped: set[int] = set()
        self._closed = False
        self._on_error = _post_mortem if debugger else None

    def __next__(self) -> Outcome:
        try:
            parcel = self._waiting.popleft()
        except IndexError:
            raise StopIteration from None
        if parcel.job.index in self._stopped:
            return self._cancelled(parcel)
        while True:
            with _running:
                try:
                    outcome = execution.execute(
                        parcel.shared.data,
                        pickle.loads(parcel.data),
                        capture=capture.tee,
                        on_error=self._on_error,
                        interrupts=(KeyboardInterrupt, bdb.BdbQuit),
                    )
                except execution.Interrupted as interrupted:
                    self.close()
                    raise KeyboardInterrupt from interrupted
            again = retried(parcel, outcome, self._apparatus.options.retries)
            if again is None:
                return outcome
            parcel = again

    def add(self, parcels: Sequence[Parcel]) -> None:
        if self._closed:
            raise UsageError("this stream is closed; start another")
        self._waiting.extend(parcels)

    def stop(self, index: int) -> None:
        self._stopped.add(index)

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """Nothing: a job runs only while somebody waits for it, and then nobody asks."""
        return {}

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()

    def _cancelled(self, parcel: Parcel) -> Outcome:
        job, why = parcel.job, Failure("Cancelled", "it was stopped before it began")
        return record_loss(parcel, Outcome(job.index, State.CANCELLED, failure=why, ended=time.time(), key=job.key))


def _post_mortem(error: BaseException) -> None:
    pdb.post_mortem(error.__traceback__)
