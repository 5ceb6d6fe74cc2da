"""The generic function of a Modal container: it runs one job and says what became of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mini import worker
from mini.wire import Call

ROOT = "/root"
"""Where a container starts, and where Modal's client puts local files."""

OUTPUTS = "outputs"
"""The folder under `ROOT` where the volume is mounted, as run folders are under `outputs/` on a local disk."""

# What the function's environment tells it.
SHARED, VOLUME, RETRIES = "MINI_SHARED", "MINI_VOLUME", "MINI_RETRIES"
RESULT_LIMIT, APPARATUS = "MINI_RESULT_LIMIT", "MINI_APPARATUS"


class AttemptFailed(Exception):
    """A job failed and shall be tried again; its record is written. Modal's retries see it."""


def execute(message: bytes) -> bytes:
    """Run one job.

    Args:
        message: Pickled: the function's digest, the pickled function where it is short, and a pickled `Call`.

    Returns:
        A pickled `Outcome`.

    Raises:
        AttemptFailed: There are attempts left.
    """
    import modal
    from modal.exception import InputCancellation

    # The control plane on loopback says where its containers' root is; on Modal it is /root.
    os.chdir(os.environ.get("MINI_ROOT", ROOT))
    digest, inline, data = pickle.loads(message)
    call: Call = pickle.loads(data)
    retries = int(os.environ.get(RETRIES, "0"))
    if retries:
        call = replace(call, attempt=_attempt(f"{digest}/{call.folder}/{call.index}"))
    try:
        outcome = worker.execute(
            inline if inline is not None else _shared(digest),
            call,
            limit=int(os.environ.get(RESULT_LIMIT, "0")) or None,
            interrupts=(InputCancellation,),
            passes=(KeyboardInterrupt,),  # a preemption: the input will be given to another container
            where={
                **_place(),
                "call": modal.current_function_call_id(),
            },
        )
    except worker.Interrupted as interrupted:
        _commit(call)
        raise InputCancellation from interrupted
    _commit(call)
    if not outcome.ok and outcome.attempt <= retries:
        raise AttemptFailed(f"attempt {outcome.attempt}: {outcome.failure}")
    return pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL)


def gather(run: str, jobs: Sequence[str], limit: int | None) -> str:
    """Combine a run where its files are, and pack what is wanted at home into one file.

    Args:
        run: The run folder, relative to the volume.
        jobs: The folders of the jobs whose files are wanted, relative to the run.
        limit: Bytes; larger files are left out, but for the records. None for no limit.

    Returns:
        The packed file's path, relative to the volume; paths in it are relative to the run.
    """
    from mini import combine, store

    shared = volume(os.environ[VOLUME])
    shared.reload()
    folder = store.RunFolder(Path(OUTPUTS, run))
    combine.write(folder)
    archive = folder.path / ".home.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder.path / store.RESULTS, store.RESULTS)
        for job in jobs:
            for file in sorted((folder.path / job).rglob("*")):
                if file.is_file() and (limit is None or file.stat().st_size <= limit or file.name == store.RECORD):
                    tar.add(file, file.relative_to(folder.path).as_posix())
    shared.commit()
    return archive.relative_to(Path(OUTPUTS).absolute()).as_posix()


def _commit(call: Call) -> None:
    """Make what a job wrote visible to others, if it wrote anything."""
    if VOLUME in os.environ and call.folder is not None and Path(call.folder).is_dir():
        volume(os.environ[VOLUME]).commit()


@cache
def _place() -> dict[str, str]:
    """What a container knows of itself."""
    place = {"apparatus": os.environ.get(APPARATUS, "modal"), "task": os.environ.get("MODAL_TASK_ID")}
    for name, variable in (("region", "MODAL_REGION"), ("cloud", "MODAL_CLOUD_PROVIDER")):
        place[name] = os.environ.get(variable)
    return {**{name: value for name, value in place.items() if value}, **_gpu()}


def _gpu() -> dict[str, str]:
    """The name of the GPU, which may be another than the one that was asked for first."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"gpu": f"{names[0]} x{len(names)}" if len(names) > 1 else names[0]} if names else {}


@cache
def volume(name: str) -> Any:
    """The volume, looked up once in a container."""
    import modal

    return modal.Volume.from_name(name)


@cache
def _shared(digest: str) -> bytes:
    """The function and hooks of a batch, fetched once in a container."""
    data: bytes = _dict()[digest]
    return data


def _attempt(key: str) -> int:
    """Which try this is: counted where a container that dies cannot take it along."""
    attempts = _dict()
    attempt: int = attempts.get(key, 0) + 1
    attempts.put(key, attempt)
    return attempt


@cache
def _dict() -> Any:
    import modal

    return modal.Dict.from_name(os.environ[SHARED])
