"""The worker processes of a local pool: how they start, and what they are told."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import context as mp_context
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# What the numerical libraries ask before they start threads; NPROC is XLA's.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "NPROC",
)


class Setup:
    """What a worker process is told when it starts."""

    def __init__(self, folder: str, slots: int, threads: int, gpus: Sequence[str], gpus_each: int) -> None:
        self.folder, self.slots, self.threads, self.gpus, self.gpus_each = (
            folder,
            slots,
            threads,
            gpus,
            gpus_each,
        )


def initialise(setup: Setup) -> None:
    """Prepare a worker process, before any numerical library is imported."""
    for name in _THREADS:
        os.environ.setdefault(name, str(setup.threads))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if setup.gpus:
        first = _claim_slot(setup) * setup.gpus_each
        mine = [setup.gpus[(first + i) % len(setup.gpus)] for i in range(setup.gpus_each)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)


def _claim_slot(setup: Setup) -> int:
    """A number no other living worker of the pool has: the kernel frees the lock when its holder dies."""
    for slot in range(setup.slots):
        file = os.open(Path(setup.folder, f"slot-{slot}"), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
        else:
            return slot
    return os.getpid() % setup.slots


class _Process(mp_context.SpawnProcess):
    """A spawned process that does not import the caller's `__main__`.

    What is defined there travels by value. Importing it would run a script again that has no guard, cost the time of
    its imports, and fail in notebooks.
    """

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        with _without_main():
            return mp_context.SpawnProcess._Popen(process)


class SpawnContext(mp_context.SpawnContext):
    """As Python's `spawn`, without the caller's `__main__`."""

    Process = _Process


_spawning = threading.Lock()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Leave the main module out of what this thread tells a spawned process."""
    thread, original = threading.get_ident(), spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        if threading.get_ident() == thread:
            data = {key: value for key, value in data.items() if not key.startswith("init_main")}
        return data

    with _spawning:
        spawn.get_preparation_data = get_preparation_data
        try:
            yield
        finally:
            spawn.get_preparation_data = original


def gpus_each(gpu: Any) -> int:
    """How many GPUs each worker gets, by the option `gpu`: 2 for `A100:2`."""
    count = str(gpu).rpartition(":")[2] if isinstance(gpu, str) and ":" in gpu else "1"
    return max(1, int(count)) if count.isdigit() else 1
