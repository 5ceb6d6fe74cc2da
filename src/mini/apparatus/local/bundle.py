"""Several short jobs as one task of a pool, which can still be told apart and taken back.

To send a task to a process and to hear of it costs more than a short job does. The worker writes each outcome into a
file before it begins the next job, so that nothing is lost, and no job run twice, if one of them kills the process. It
also locks a byte of that file for each job that it begins. Whoever sent the jobs takes back those that do not begin
in time, because an earlier one is long, by locking their bytes first.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pickle
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from mini.job import Outcome
from mini.worker.pickling import Parcel


class Group:
    """Jobs that are sent together.

    Args:
        parcels: The jobs, in order.
        file: Where their outcomes go; made here, removed by `close`.
    """

    def __init__(self, parcels: Sequence[Parcel], file: Path) -> None:
        self.parcels, self.file = list(parcels), file
        self._sent = time.monotonic()
        self._handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
        self._release = weakref.finalize(self, os.close, self._handle)

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return time.monotonic() - self._sent

    def take_back(self) -> list[Parcel]:
        """The jobs that have not begun, and will not; they are no longer of the group."""
        back: list[Parcel] = []
        with contextlib.suppress(BlockingIOError, PermissionError):  # the worker has it
            while len(self.parcels) > 1:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, len(self.parcels) - 1)
                back.append(self.parcels.pop())
        return back[::-1]

    def close(self) -> list[Outcome]:
        """What became of the jobs that are over, in order; the task must be over too."""
        frames = io.BytesIO(self.file.read_bytes())
        self._release()
        self.file.unlink()
        outcomes: list[Outcome] = []
        with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the end, or where it was cut off
            while True:
                outcomes.append(pickle.load(frames))
        return outcomes


def has_locks(folder: str) -> bool:
    """Whether the file system of a folder has what a group needs."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            return False
    return True


def run(file: str, execute: Callable[[str, bytes], bytes], calls: Sequence[tuple[str, bytes]]) -> None:
    """What a worker does for a group.

    Args:
        file: The group's.
        execute: Runs one job, and returns its pickled outcome.
        calls: The arguments of `execute` for each job.
    """
    with Path(file).open("ab") as frames:
        for place, call in enumerate(calls):
            try:
                fcntl.lockf(frames, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):
                return  # it was taken back, and so were all after it
            frames.write(execute(*call))
            frames.flush()
