"""Jobs on the nodes of a Ray cluster."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.base import Apparatus
from mini.apparatus.grouping import Grouping
from mini.apparatus.local.pool import Pool
from mini.apparatus.local.stream import LocalStream
from mini.apparatus.ray import cluster
from mini.apparatus.ray.plugin import RayOptions
from mini.apparatus.stream import Stream
from mini.apparatus.volume import LocalVolume
from mini.worker.pickling import Parcel

# A request to an actor costs about two milliseconds.
_GROUPING: dict[str, Any] = {"seconds": 0.1, "enough": 4, "recent": 9, "overdue": 0.5}


class RayApparatus(Apparatus):
    """Runs jobs in processes on the nodes of a Ray cluster, each of which an actor looks after.

    The processes are kept until `close`. The run folder must be on a disk that all nodes share, and the nodes must have
    the project's environment.

    Args:
        name: What its files are filed under.
        volume: The folder where the files of its jobs go.
        options: The fields of `RayOptions`.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """

    kind = "ray"
    options_type = RayOptions

    def __init__(self, name: str = "mini", *, volume: Path | str = "outputs", **options: Any) -> None:
        super().__init__(name, **options)
        self._volume = LocalVolume(volume)
        self._cluster = cluster.Cluster(self.options.address)
        self._pools = _Pools()

    @property
    def volume(self) -> LocalVolume:
        """The folder where the jobs leave their files."""
        return self._volume

    @property
    def width(self) -> int:
        """As many as the cluster has room for, or fewer if so many workers are not wanted."""
        return int(self.options.workers or max(1, self._cluster.room(self._needs)))

    def ready(self) -> None:
        """See that the cluster has what the jobs need, and that its nodes see where they leave their files.

        Raises:
            UsageError: It has not, or they do not.
            CloudError: The cluster cannot be reached.
        """
        self._cluster.connect()
        self._cluster.require(self._needs)
        self._cluster.require_shared(self._volume.path)

    @property
    def _needs(self) -> dict[str, Any]:
        return cluster.needs(self.options)

    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        self.ready()
        needs, fresh, timeout, width = self._needs, self.options.fresh, self.options.timeout, self.width
        alone = fresh or timeout is not None
        grouping = Grouping(width=width, **_GROUPING, fixed=1 if alone else None)

        def pool(jobs: int) -> Pool:
            return self._pools.get(min(width, jobs), needs, fresh, self.options.logs)

        return LocalStream(pool, grouping, parcels, timeout, self.options.retries)

    def _close(self) -> None:
        self._pools.close()
        self._cluster.close()

    def _folder(self, batch: str, index: int) -> str:
        return str((self._volume.path / self.name / batch / str(index)).absolute())


class _Pools:
    """The pools of an apparatus and its views: one for each kind of worker, started when first needed."""

    def __init__(self) -> None:
        self._pools: dict[tuple[object, ...], Pool] = {}
        self._lock = threading.Lock()

    def get(self, size: int, needs: Mapping[str, Any], fresh: bool, logs: bool) -> Pool:
        """A pool of at least `size` workers."""
        from mini.apparatus.ray.worker import RayPool

        with self._lock:
            kind = (repr(sorted(needs.items())), fresh, logs)
            pool = self._pools.get(kind)
            if pool is None:
                pool = self._pools[kind] = RayPool(max(1, size), needs, logs=logs, fresh=fresh)
            pool.grow(size)
            return pool

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.close()
