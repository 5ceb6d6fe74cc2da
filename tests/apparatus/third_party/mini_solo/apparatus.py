"""Where jobs of the engine `solo` run."""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from mini.apparatus.base import Apparatus
from mini.apparatus.stream import Stream, record_loss, retried
from mini.apparatus.volume import LocalVolume
from mini.errors import UsageError
from mini.job import Failure, Outcome, State
from mini.runs.live import read_live
from mini_solo import SoloOptions


class SoloApparatus(Apparatus):
    """Runs each job in a process of its own."""

    kind = "solo"
    options_type = SoloOptions

    def __init__(self, name="mini", **options):
        super().__init__(name, **options)
        self._volume = LocalVolume("outputs")

    @property
    def volume(self):
        return self._volume

    def _start(self, parcels):
        stream = SoloStream(self.options)
        stream.add(parcels)
        return stream

    def _folder(self, batch, index):
        return str(self._volume.path / self.name / batch / str(index))


class SoloStream(Stream):
    def __init__(self, options):
        self._options, self._lock = options, threading.Lock()
        self._waiting, self._running, self._stopped = deque(), {}, set()
        self._finished, self._open, self._closed = queue.SimpleQueue(), 0, False

    def add(self, parcels):
        with self._lock:
            if self._closed:
                raise UsageError("this stream is closed; start another")
            self._waiting.extend(parcels)
            self._open += len(parcels)
            for _ in range(min(len(self._waiting), self._options.slots - len(self._running))):
                threading.Thread(target=self._work, daemon=True).start()

    def __next__(self):
        if not self._open or self._closed or (outcome := self._finished.get()) is None:
            raise StopIteration
        self._open -= 1
        return outcome

    def stop(self, index):
        with self._lock:
            self._stopped.add(index)
            if index in self._running:
                self._running[index][1].kill()

    def progress(self):
        with self._lock:
            folders = {i: p.job.folder for i, (p, _) in self._running.items() if p.job.record}
        return {i: live for i, folder in folders.items() if (live := read_live(Path(folder))) is not None}

    def close(self):
        with self._lock:
            self._closed = True
            self._waiting.clear()
            for _, process in self._running.values():
                process.kill()
        self._finished.put(None)

    def _work(self):
        while True:
            with self._lock:
                if not self._waiting or len(self._running) >= self._options.slots:
                    return
                parcel = self._waiting.popleft()
                index, folder = parcel.job.index, tempfile.mkdtemp(prefix="solo-")
                if index not in self._stopped:
                    Path(folder, "job").write_bytes(pickle.dumps((parcel.shared.data, parcel.data)))
                    command = [sys.executable, "-m", "mini_solo.worker", folder]
                    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
                    environment |= {"SOLO_LABEL": self._options.label or ""}
                    self._running[index] = parcel, subprocess.Popen(command, env=environment)
            outcome = self._outcome(parcel, Path(folder, "outcome"))
            with self._lock:
                self._running.pop(index, None)
            again = None if index in self._stopped else retried(parcel, outcome, self._options.retries)
            if again is not None:
                with self._lock:
                    self._waiting.appendleft(again)
            elif not self._closed:
                self._finished.put(outcome)

    def _outcome(self, parcel, file):
        job, process = parcel.job, self._running.get(parcel.job.index, (None, None))[1]
        code = process.wait() if process else None
        if file.exists():
            return pickle.loads(file.read_bytes())
        state, why = State.LOST, Failure("ProcessDied", f"its process ended with {code}")
        if job.index in self._stopped:
            state, why = State.CANCELLED, Failure("Cancelled", "it was stopped before it finished")
        lost = Outcome(job.index, state, failure=why, ended=time.time(), attempt=job.attempt, key=job.key)
        return record_loss(parcel, lost)
