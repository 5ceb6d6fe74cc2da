"""A worker on a node, as a pool sees it; and the pool."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from mini.apparatus.local.bundle import Bundle, How, Tokens
from mini.apparatus.local.pool import Pool, Worker
from mini.apparatus.local.process import NotStarted
from mini.apparatus.local.worker import Functions, Setup
from mini.apparatus.ray.host import Finished, Host
from mini.worker.pickling import Parcel

_GLANCE = 0.5  # seconds between two looks at whether somebody still waits for a worker
_LISTEN = 2.0  # seconds that a request for news waits at most
_STARTS = 8  # tries to start an actor
_PAUSE = 3.0  # seconds between two of them
_TIMES = 3  # that a job may lose its node, or Ray's process there
_OURS = ("HYDRA_", "MINI_", "MODAL_")


class RayPool(Pool):
    """Workers on the nodes of a cluster.

    Args:
        size: The most of them at a time.
        needs: What Ray's scheduler gives each, as the options of an actor.
        logs: Whether what jobs print is shown here, too.
        fresh: Whether each bundle gets a process of its own.
    """

    def __init__(self, size: int, needs: Mapping[str, Any], *, logs: bool, fresh: bool) -> None:
        super().__init__(size, fresh=fresh, logs=logs)
        self._needs, self._shows, self._over = dict(needs), logs, threading.Event()
        self._losses: Counter[tuple[int, int]] = Counter()

    def threads_each(self) -> int:
        """As many as a job has CPUs."""
        return max(1, int(self._needs.get("num_cpus") or 1))

    def new_worker(self, slot: int) -> Worker:
        """An actor with a worker, on a node that has room for it."""
        return NodeWorker(self._needs, self.threads_each(), self._shows, self._over.is_set)

    def spares(self, parcel: Parcel, worker: Worker) -> bool:
        """That a node is lost, or Ray's process on it, is no fault of the job's, but for the third time."""
        if not worker.why:
            return False
        self._losses[id(parcel.job), parcel.job.attempt] += 1
        return self._losses[id(parcel.job), parcel.job.attempt] < _TIMES

    def close(self) -> None:
        """End the workers."""
        self._over.set()
        super().close()


class NodeWorker:
    """An actor and its worker process.

    Args:
        needs: The options of the actor.
        threads: How many a native library may have there.
        logs: Whether what jobs print is shown here, too.
        is_over: Whether nobody waits for it any more.
    """

    def __init__(self, needs: Mapping[str, Any], threads: int, logs: bool, is_over: Callable[[], bool]) -> None:
        self.threads, self.is_asked, self.why = threads, False, ""
        self._functions, self._is_over = Functions(), is_over
        self._code: int | None = None
        self._place: Mapping[str, Any] = {}
        environment = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
        self._remote = ray.remote(_Actor).options(max_restarts=0, max_concurrency=8, **needs)
        self._given = Setup(list(sys.argv), threads, None, logs), list(sys.path), str(Path.cwd()), environment
        self._actor = self._remote.remote(*self._given)

    def wait_until_ready(self) -> None:
        """Wait until a node has room, and the process there is ready.

        Raises:
            NotStarted: It cannot be there, or nobody waits any more.
        """
        for rest in reversed(range(_STARTS)):
            try:
                self._wait_for_actor()
                why = ray.get(self._actor.begin.remote())
            except RayActorError as error:  # perhaps on a node that is gone, which Ray does not know yet
                if not rest or self._is_over():
                    raise NotStarted(_first_line(error)) from error
                time.sleep(_PAUSE)
                self._actor = self._remote.remote(*self._given)
                continue
            except RayError as error:
                raise NotStarted(_first_line(error)) from error
            if why is not None:
                raise NotStarted(why)
            return

    def _wait_for_actor(self) -> None:
        first = self._actor.where.remote()
        while not ray.wait([first], timeout=_GLANCE)[0]:
            if self._is_over():
                ray.kill(self._actor)
                raise NotStarted("it was no longer needed")
        self._place = ray.get(first)

    def run(self, bundle: Bundle) -> tuple[How, bool]:
        """Hand over a bundle, and what comes back."""
        shared = bundle.parcels[0].shared
        known = self._functions.use(shared.digest)
        if known is None:
            self._functions.use(shared.digest, shared.data)
        calls = [parcel.data for parcel in bundle.parcels]
        bundle.begin(_Tokens(self, bundle))
        try:
            ray.get(
                self._actor.start.remote(
                    shared.digest, b"" if known is not None else shared.data, calls, bundle.timeout
                )
            )
            while True:
                due = bundle.due() if bundle.patience is not None else None
                for said in ray.get(self._actor.hear.remote(_LISTEN if due is None else min(due + 0.01, _LISTEN))):
                    if isinstance(said, Finished):
                        return said.how, said.goes_on
                    bundle.finish(said)
                bundle.look()
        except RayError as error:
            return self._lost(error), False

    def ask_to_end(self) -> None:
        """Let the actor end its worker, and all it started."""
        self.is_asked = True
        self._actor.ask_to_end.remote()

    def end(self) -> int | None:
        """Wait for the worker's end; its exit code, if it is known."""
        if not self.why:
            try:
                self._code = ray.get(self._actor.end.remote())
            except RayError as error:
                self._lost(error)
            ray.kill(self._actor)
        return self._code

    def take(self, most: int) -> int | None:
        """Take back jobs that have not begun; how many, or None if nobody is there to say."""
        if self.why:
            return None
        try:
            return int(ray.get(self._actor.take.remote(most)))
        except RayError as error:
            self._lost(error)
            return None

    def _lost(self, error: RayError) -> How:
        node = str(self._place.get("host", "its node"))
        if isinstance(error, RayActorError):
            who = f"Ray's process for it on {node}" if _is_alive(self._place.get("node")) else f"the node {node}"
            self.why = f"{who} died, or cannot be reached"
        else:
            self.why = f"Ray says of {node}: {_first_line(error)}"
        return How.STOPPED if self.is_asked else How.DIED


class _Tokens(Tokens):
    """What takes back jobs of a bundle on a node. The host there lets them begin."""

    def __init__(self, worker: NodeWorker, bundle: Bundle) -> None:
        self._worker, self._bundle = worker, bundle

    def put(self, count: int) -> None:
        """The host does."""

    def take(self, most: int) -> int:
        """Take back what waits, and say how many these were."""
        left = most - self._bundle.finished
        if left <= 0:
            return 0
        taken = self._worker.take(most)
        return left - 1 if taken is None else taken  # jobs run one at a time

    def close(self) -> None:
        """Nothing is open here."""


class _Actor(Host):
    """The host, as an actor."""

    def __init__(self, setup: Setup, *others: Any) -> None:
        ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        super().__init__(replace(setup, gpus=",".join(ids)) if ids else setup, *others)

    def where(self) -> dict[str, Any]:
        """The node it is on."""
        context = ray.get_runtime_context()
        return {"node": context.get_node_id(), "host": os.uname().nodename}


def _is_alive(node: Any) -> bool:
    return any(one["NodeID"] == node and one["Alive"] for one in ray.nodes())


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
