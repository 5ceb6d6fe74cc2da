"""The generic function of a Modal container: it runs jobs and says what became of them."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mini.apparatus.modal import archive, ledger
from mini.apparatus.modal.beat import Beat, Preempted, Stopped
from mini.apparatus.modal.explain import explain
from mini.job import Failure, Outcome, State
from mini.runs import layout, records
from mini.runs.folder import RunFolder
from mini.runs.values import metrics
from mini.worker import capture, context, execution, isolation
from mini.worker.pickling import Call

ROOT = "/root"
"""Where a container starts, and where Modal's client puts local files."""

OUTPUTS = "outputs"
"""The folder under `ROOT` where the volume is mounted, as run folders are under `outputs/` on a local disk."""

# What the function's environment tells it.
SHARED, VOLUME, RETRIES, TIMEOUT = "MINI_SHARED", "MINI_VOLUME", "MINI_RETRIES", "MINI_TIMEOUT"
RESULT_LIMIT, APPARATUS, LOGS = "MINI_RESULT_LIMIT", "MINI_APPARATUS", "MINI_LOGS"

FUNCTIONS = ".functions"
"""The folder of the volume where the functions of runs are that were left."""

GROUP_SECONDS = 1.0
"""After this no further job of an input is begun: it was thought to be short, and is not."""

_beat = Beat()


class AttemptFailed(Exception):
    """A job failed and shall be tried again; its record is written. Modal's retries see it."""


def message(digest: str, function: bytes | None, calls: Sequence[bytes]) -> bytes:
    """An input of the generic function.

    Args:
        digest: Of the function.
        function: The pickled function; None where the container finds it by its digest.
        calls: A pickled `Call` for each job.
    """
    return pickle.dumps((digest, function, list(calls)), protocol=pickle.HIGHEST_PROTOCOL)


def execute(message: bytes) -> bytes:
    """Run the jobs of an input, one after the other; no more of them are begun when they take long.

    Args:
        message: As `message` makes it.

    Returns:
        A pickled `Outcome`; of several jobs a list, of those that were run.

    Raises:
        AttemptFailed: There are attempts left.
    """
    from modal.exception import InputCancellation

    _show_crashes()
    # The control plane on loopback says where its containers' root is; on Modal it is /root.
    os.chdir(os.environ.get("MINI_ROOT", ROOT))
    digest, function, calls = pickle.loads(message)
    detached = ledger.current()
    began: list[Call] = []
    outcomes: list[Outcome] = []
    since, here = time.monotonic(), isolation.Snapshot()
    try:
        for data in calls:
            if outcomes and time.monotonic() - since > GROUP_SECONDS:
                break
            began.append(pickle.loads(data))
            refused = detached.refusal(began[-1]) if detached is not None else None
            with detached.until_deadline() if detached is not None else contextlib.nullcontext():
                outcomes.append(refused or _execute(digest, function, began[-1]))
            if not here.restore():  # it has closed the connection to Modal too; the next container reads the record
                os._exit(0)
    except execution.Interrupted as interrupted:
        outcomes.append(interrupted.outcome)
        raise InputCancellation from interrupted
    except Preempted:
        if detached is not None:
            detached.give_back(began[-1].index)
        raise
    finally:
        here.restore()
        _commit(began)  # with what a job wrote that was interrupted: it runs again, here or elsewhere
        if detached is not None:
            for outcome in outcomes:
                if not _is_tried_again(outcome):
                    detached.end(outcome)
    last = outcomes[-1]
    if _is_tried_again(last):
        raise AttemptFailed(f"attempt {last.attempt}: {last.failure}")
    return pickle.dumps(outcomes if len(calls) > 1 else last, protocol=pickle.HIGHEST_PROTOCOL)


@cache
def _show_crashes() -> None:
    """Where Python reports crashes, let it be where the container prints and not in the log of a job, which is lost."""
    if faulthandler.is_enabled():
        faulthandler.enable(os.dup(2))


def _execute(digest: str, function: bytes | None, call: Call) -> Outcome:
    import modal
    from modal.exception import InputCancellation

    attempts = _Attempts(f"attempts/{digest}/{call.folder}/{call.index}") if int(os.environ.get(RETRIES, "0")) else None
    if attempts is not None:
        call = replace(call, attempt=attempts.begin())
    before = execution.recorded(call)  # by an earlier container, which was lost, and its input given to this one
    if before is not None:
        return before
    where = {**_place(), "call": modal.current_function_call_id()}
    if _beat.is_marked(call, digest):
        return _cancelled(call, where, "it was stopped before it began")
    try:
        with _beat.during(call, digest, lambda: _give_up(call, where)):
            outcome = execution.execute(
                function if function is not None else _shared(digest),
                call,
                capture=capture.to_file_and_shown if LOGS in os.environ else capture.to_file,
                explain=explain,
                limit=int(os.environ.get(RESULT_LIMIT, "0")) or None,
                interrupts=(InputCancellation, Stopped),
                passes=(Preempted,),  # the input will be given to another container
                where=where,
            )
        if attempts is not None and not outcome.ok:
            attempts.used(call.attempt)
        return outcome
    except Preempted:
        if attempts is not None:
            attempts.used(call.attempt - 1)  # it was no fault of the job's
        raise
    except execution.Interrupted as interrupted:
        if isinstance(interrupted.__cause__, Stopped):  # this job alone
            return interrupted.outcome
        raise


def _give_up(call: Call, where: Mapping[str, Any]) -> None:
    """End the container of a job that does not stop; whoever gets its input reads the record."""
    with contextlib.suppress(Exception):
        _cancelled(call, where, "it was stopped, and its container with it, because it did not end")
        _commit([call])
    os._exit(1)


def _cancelled(call: Call, where: Mapping[str, Any], why: str) -> Outcome:
    """The outcome of a job that was stopped, recorded if the job is."""
    folder, here, row = call.folder if call.record else None, context.current(), dict(call.row)
    state, failure = State.CANCELLED, Failure("Cancelled", why)
    if here is not None and here.pruned:
        state, failure = State.PRUNED, Failure("Pruned", here.described_step())
        row |= metrics(here.said().get("metrics"))
    outcome = Outcome(
        call.index,
        state,
        failure=failure,
        ended=time.time(),
        attempt=call.attempt,
        where=where,
        folder=folder,
        key=call.key,
    )
    if folder is not None:
        records.write_record(outcome, row)
    return outcome


def _is_tried_again(outcome: Outcome) -> bool:
    """Whether Modal's retries give the job to a container once more."""
    ended = outcome.ok or outcome.state in (State.CANCELLED, State.LOST, State.PRUNED)
    return not ended and outcome.attempt <= int(os.environ.get(RETRIES, "0"))


def gather(run: str, jobs: Sequence[str], each: int | None, total: int | None) -> tuple[str, int]:
    """Combine a run where its files are, and pack what is wanted at home into one file.

    Args:
        run: The run folder, relative to the volume.
        jobs: The folders of the jobs whose files are wanted, relative to the run.
        each: As for `archive.pack`.
        total: As for `archive.pack`.

    Returns:
        The packed file's path, relative to the volume, and how many files did not fit into it.
    """
    from mini import combine

    shared = volume(os.environ[VOLUME])
    shared.reload()
    folder = RunFolder(Path(OUTPUTS, run))
    combine.write(folder)
    packed = folder.path / layout.HOME
    left_out = archive.pack(packed, folder.path, jobs, each, total)
    shared.commit()
    return packed.relative_to(Path(OUTPUTS).absolute()).as_posix(), len(left_out)


def _commit(calls: Sequence[Call]) -> None:
    """Make what jobs wrote visible to others, if they wrote anything.

    Their records go into a file of this container too, so that a reader needs no request for each job.
    """
    wrote = [Path(call.folder) for call in calls if call.folder is not None and Path(call.folder).is_dir()]
    if VOLUME not in os.environ or not wrote:
        return
    for own in [Path(call.folder) for call in calls if call.folder is not None and call.record]:
        run = next((folder for folder in own.parents if (folder / layout.JOBS).exists()), own.parent)
        many = run / layout.RECORDS / f"{os.environ.get('MODAL_TASK_ID', 'task')}.jsonl"
        with contextlib.suppress(FileNotFoundError):
            record = (own / layout.RECORD).read_bytes()
            many.parent.mkdir(exist_ok=True)
            with many.open("ab") as file:
                file.write(record)
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
    with contextlib.suppress(KeyError):
        data: bytes = _dict()[digest]
        return data
    return Path(OUTPUTS, FUNCTIONS, digest).read_bytes()


class _Attempts:
    """The attempts of one job, counted where a container that dies cannot take them along.

    Those are used up that failed or took too long. One that began and came to no end before its time was up was lost
    with its container, and is begun once more; how often is limited by Modal, and for a detached run by the ledger.

    Args:
        key: Of the job among all that share the Dict.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def begin(self) -> int:
        """Which attempt begins now, from 1."""
        used, number, began = _dict().get(self._key, (0, 0, 0.0))
        if number > used and time.time() - began >= float(os.environ.get(TIMEOUT, "inf")):
            used = number  # its container was ended for it
        _dict().put(self._key, (used, used + 1, time.time()))
        return int(used) + 1

    def used(self, count: int) -> None:
        """Note how many are used up."""
        _dict().put(self._key, (count, count, 0.0))


@cache
def _dict() -> Any:
    import modal

    return modal.Dict.from_name(os.environ[SHARED])
