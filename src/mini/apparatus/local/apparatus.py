"""Jobs in parallel processes of this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.base import Apparatus
from mini.apparatus.grouping import Grouping
from mini.apparatus.local.plugin import LocalOptions
from mini.apparatus.local.pool import Pool
from mini.apparatus.local.stream import LocalStream
from mini.apparatus.local.worker import gpus_each
from mini.apparatus.stream import Stream
from mini.apparatus.volume import LocalVolume
from mini.machine import cores, visible_gpus
from mini.worker.pickling import Parcel

# The work in a bundle is a hundred times what it costs to send one.
_GROUPING: dict[str, Any] = {"seconds": 0.02, "enough": 4, "recent": 9, "overdue": 0.2}


class LocalApparatus(Apparatus):
    """Runs jobs in a pool of processes that is started at the first job and kept until `close`.

    A job that kills its process fails alone, and the pool is refilled. The threads of native libraries are limited to
    the cores divided by the workers. Where there are GPUs, each worker sees its own.

    Args:
        name: What its files are filed under.
        volume: The folder where the files of its jobs go.
        options: `workers` (int): processes; as many as cores, or as GPUs where there are fewer. `timeout` (seconds,
            None): the longest an attempt may run. `retries` (int): more tries of a failed job. `fresh` (bool): a new
            process for each job. `logs` (bool): show here what jobs print. `gpu` and `image` are accepted and do
            nothing here, but for the count in `gpu="A100:2"`: GPUs for each worker.

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

    @property
    def width(self) -> int:
        """As many as there are workers."""
        return self.workers

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        each, timeout = gpus_each(self.options.gpu), self.options.timeout
        fresh = self.options.fresh
        alone = fresh or timeout is not None
        grouping = Grouping(width=self.workers, **_GROUPING, fixed=1 if alone else None)

        def pool(jobs: int) -> Pool:
            return self._pools.get(min(self.workers, jobs), self.workers, each, fresh, self.options.logs)

        return LocalStream(pool, grouping, parcels, timeout, self.options.retries)

    def _close(self) -> None:
        self._pools.close()

    def _folder(self, batch: str, index: int) -> str:
        return str(self._volume.path / self.name / batch / str(index))


class _Pools:
    """The pools of an apparatus and its views: one for each kind of worker, started when first needed."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, int, bool, bool], Pool] = {}
        self._lock = threading.Lock()

    def get(self, size: int, cap: int, gpus_each: int, fresh: bool, logs: bool) -> Pool:
        """A pool of at least `size` workers, and at most `cap`."""
        with self._lock:
            kind = cap, gpus_each, fresh, logs
            pool = self._pools.get(kind)
            if pool is None:
                pool = self._pools[kind] = Pool(max(1, size), visible_gpus(), gpus_each, fresh=fresh, logs=logs)
            pool.grow(size)
            return pool

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.close()
