"""Jobs in parallel processes of this machine."""

from __future__ import annotations

import itertools
import os
import pickle
import queue
import signal
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from mini.apparatus.base import Apparatus, Stream, record_loss, retried
from mini.apparatus.local.bundle import Group, has_locks
from mini.apparatus.local.bundle import run as run_group
from mini.apparatus.local.plugin import LocalOptions
from mini.apparatus.local.process import Setup, SpawnContext, gpus_each, initialise
from mini.apparatus.volume import LocalVolume
from mini.errors import UsageError
from mini.job import Failure, Outcome, State
from mini.machine import cores, visible_gpus
from mini.worker import execution
from mini.worker.pickling import Parcel

_ENOUGH = 4  # outcomes that say how long jobs take
_LARGEST = 64  # jobs of a group
_GROUP_SECONDS = 0.02  # of work in a group: a hundred times what it costs to send one
_OVERDUE = 0.2  # seconds after which the rest of a group is taken back


class LocalApparatus(Apparatus):
    """Runs jobs in a pool of processes that is started at the first job and kept until `close`.

    A job that kills its process fails alone, and the pool is refilled. The threads of native libraries are limited to
    the cores divided by the workers. Where there are GPUs, each worker sees its own.

    Args:
        name: What its files are filed under.
        volume: The folder where the files of its jobs go.
        options: `workers` (int): processes; as many as cores, or as GPUs where there are fewer. `timeout` (seconds,
            None): the longest an attempt may run. `retries` (int): more tries of a failed job. `gpu` and `image` are
            accepted and do nothing here, but for the count in `gpu="A100:2"`: GPUs for each worker.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """

    kind = "local"
    options_type = LocalOptions

    def __init__(self, name: str = "mini", *, volume: Path | str = "outputs", **options: Any) -> None:
        super().__init__(name, **options)
        self._volume = LocalVolume(volume)
        self._pools = _Pools()

    @property
    def volume(self) -> LocalVolume:
        """The folder where the jobs leave their files."""
        return self._volume

    @property
    def workers(self) -> int:
        """How many jobs run at a time."""
        each = gpus_each(self.options.gpu)
        gpus = len(visible_gpus()) // each
        return self.options.workers or min(cores(), gpus or cores())

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        pool = self._pools.get(min(self.workers, len(parcels)), self.workers, gpus_each(self.options.gpu))
        return _LocalStream(self, pool, parcels, self.options.timeout)

    def _close(self) -> None:
        self._pools.close()

    def _folder(self, batch: str, index: int) -> str:
        return str(self._volume.path / self.name / batch / str(index))


class _LocalStream(Stream):
    def __init__(
        self, apparatus: LocalApparatus, pool: _Pool, parcels: Sequence[Parcel], timeout: float | None
    ) -> None:
        self._apparatus, self._pool, self._timeout = apparatus, pool, timeout
        self._finished: queue.SimpleQueue[tuple[Parcel | Group, ProcessFuture[Any]] | None] = queue.SimpleQueue()
        self._waiting: dict[ProcessFuture[Any], Parcel | Group] = {}
        self._seconds: deque[float] = deque(maxlen=9)
        self._ready: deque[Outcome] = deque()
        self._closed = False
        self._lock = threading.Lock()
        # Few at a time: pebble stops a job that waits in its pipe by killing the worker that takes it.
        self._queued = deque(parcels)
        for _ in range(2 * pool.size):
            self._submit_next()

    def _submit_next(self) -> None:
        with self._lock:
            size = min(self._group_size(), len(self._queued))
            parcels = [self._queued.popleft() for _ in range(size)]
        if len(parcels) > 1:
            self._submit(self._pool.group(parcels))
        elif parcels:
            self._submit(parcels[0])

    def _group_size(self) -> int:
        """How many of the next jobs to send at once, by what the last ones took."""
        if self._timeout is not None or not self._pool.can_group or len(self._seconds) < _ENOUGH:
            return 1
        at_most = min(_LARGEST, len(self._queued) // (4 * self._pool.size))
        return max(1, min(at_most, int(_GROUP_SECONDS / max(statistics.median(self._seconds), 1e-6))))

    def _submit(self, task: Parcel | Group) -> None:
        future = self._pool.submit(task, self._timeout)
        with self._lock:
            self._waiting[future] = task
            closed = self._closed
        future.add_done_callback(lambda _: self._finished.put((task, future)))
        if closed:  # meanwhile, by another thread
            future.cancel()  # type: ignore[no-untyped-call]

    def __next__(self) -> Outcome:
        while not self._ready and self._waiting and (item := self._take()) is not None:
            task, future = item
            with self._lock:
                self._waiting.pop(future, None)
            outcomes = self._outcomes(task, future) if isinstance(task, Group) else [self._outcome(task, future)]
            for parcel, outcome in zip(task.parcels if isinstance(task, Group) else [task], outcomes, strict=False):
                again = retried(parcel, outcome, self._apparatus.options.retries)
                if again is not None and not future.cancelled():
                    self._submit(again)
                else:
                    self._seconds.append(outcome.seconds or 0.0)
                    self._ready.append(outcome)
            self._fill(2 * self._pool.size)
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def _take(self) -> tuple[Parcel | Group, ProcessFuture[Any]] | None:
        """What is over next; meanwhile the jobs that wait behind a long one of their group are sent again."""
        while True:
            with self._lock:
                groups = [task for task in self._waiting.values() if isinstance(task, Group) and len(task.parcels) > 1]
            try:
                return self._finished.get(timeout=_OVERDUE if groups else None)
            except queue.Empty:
                for group in groups:
                    if group.age > _OVERDUE:
                        self._send_again(group.take_back())
                        self._seconds.append(group.age)
                self._fill(3 * self._pool.size)

    def _fill(self, tasks: int) -> None:
        while len(self._waiting) < tasks and self._queued:
            self._submit_next()

    def _send_again(self, parcels: Sequence[Parcel]) -> None:
        with self._lock:
            if not self._closed:
                self._queued.extendleft(reversed(parcels))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._queued.clear()
            waiting = list(self._waiting)
            self._waiting.clear()
        for future in waiting:
            future.cancel()  # type: ignore[no-untyped-call]
        self._finished.put(None)

    def _outcomes(self, group: Group, future: ProcessFuture[Any]) -> list[Outcome]:
        """What became of the jobs of a group; those that did not begin because one of them ended it are sent again."""
        outcomes = group.close()
        if len(outcomes) < len(group.parcels):
            outcomes.append(self._outcome(group.parcels[len(outcomes)], future))
            self._send_again(group.parcels[len(outcomes) :])
        return outcomes

    def _outcome(self, parcel: Parcel, future: ProcessFuture[Any]) -> Outcome:
        try:
            outcome: Outcome = pickle.loads(future.result())
            return outcome
        except TimeoutError:
            state, why = (
                State.TIMEOUT,
                Failure("Timeout", f"it ran for more than {self._timeout:g} s, and was stopped"),
            )
        except CancelledError:
            state, why = State.CANCELLED, Failure("Cancelled", "it was stopped before it finished")
        except ProcessExpired as error:
            state, why = State.LOST, Failure("WorkerDied", _cause_of_death(error.exitcode))
        except BrokenProcessPool as error:
            self._pool.broken = True
            state, why = State.LOST, Failure("WorkerDied", f"no worker process could be started ({error})")
        except OSError as error:  # of the worker itself, such as a full disk
            state, why = State.LOST, Failure(type(error).__name__, str(error))
        job = parcel.job
        now = time.time()
        started = None if state is State.CANCELLED else now
        if state is State.TIMEOUT and self._timeout is not None:
            started = now - self._timeout
        lost = Outcome(job.index, state, None, why, started, now, job.attempt, key=job.key)
        return record_loss(parcel, lost)


class _Pools:
    """The pools of an apparatus and its views: one for each cap, started when first needed."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, int], _Pool] = {}
        self._lock = threading.Lock()

    def get(self, size: int, cap: int, gpus_each: int) -> _Pool:
        """A pool of at least `size` workers, and at most `cap`."""
        with self._lock:
            pool = self._pools.get((cap, gpus_each))
            if pool is None or pool.broken or pool.size < size:
                if pool is not None:
                    pool.retire()
                pool = self._pools[cap, gpus_each] = _Pool(max(1, size), gpus_each)
            return pool

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()


class _Pool:
    """A pebble pool, and the folder through which its workers find what they share."""

    def __init__(self, size: int, gpus_each: int) -> None:
        self.size, self.broken = size, False
        self._groups = itertools.count()
        self._shared: dict[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="mini-pool-", ignore_cleanup_errors=True)
        self.can_group = has_locks(self._folder.name)
        setup = Setup(self._folder.name, size, max(1, cores() // size), visible_gpus(), gpus_each)
        self._pool = ProcessPool(max_workers=size, initializer=initialise, initargs=(setup,), context=SpawnContext())

    def group(self, parcels: Sequence[Parcel]) -> Group:
        return Group(parcels, Path(self._folder.name, f"group-{next(self._groups)}"))

    def submit(self, task: Parcel | Group, timeout: float | None) -> ProcessFuture[Any]:
        try:
            if isinstance(task, Group):
                calls = [self._call(parcel) for parcel in task.parcels]
                return self._pool.schedule(run_group, args=(str(task.file), _execute, calls))
            return self._pool.schedule(_execute, args=self._call(task), timeout=timeout)
        except RuntimeError as error:  # pebble's word for a pool that was closed or broke
            raise UsageError(f"the pool of workers is closed ({error}); make a new LocalApparatus") from error

    def _call(self, parcel: Parcel) -> tuple[str, bytes]:
        """What a worker needs for a job: where the function is, and the rest."""
        shared = self._shared.get(parcel.shared.digest)
        if shared is None:
            path = Path(self._folder.name, parcel.shared.digest)
            path.write_bytes(parcel.shared.data)
            shared = self._shared[parcel.shared.digest] = str(path)
        return shared, parcel.data

    def retire(self) -> None:
        """Let the jobs finish, then end the workers."""
        self._pool.close()  # type: ignore[no-untyped-call]
        threading.Thread(target=self._finish, daemon=True).start()

    def close(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._finish()

    def _finish(self) -> None:
        self._pool.join()
        self._folder.cleanup()


def _execute(shared: str, data: bytes) -> bytes:
    """What a worker process does for one job."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    outcome = execution.execute(
        Path(shared).read_bytes(), pickle.loads(data), where={"gpu": gpu} if gpu is not None else None
    )
    return pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL)


def _cause_of_death(code: int | None) -> str:
    if code is None:
        return "its worker process died"
    if code == -signal.SIGKILL:
        return "its worker process was killed by SIGKILL; most often that is the kernel, out of memory"
    if code < 0:
        return f"its worker process was killed by {signal.Signals(-code).name}"
    return f"its worker process exited with code {code}"
