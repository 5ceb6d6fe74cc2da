"""Runs on a Modal volume, looked at from here.

Their records are copied, in a number of requests that does not depend on the number of jobs. No container is started
and no image built.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mini import project
from mini._tls import ensure_grpc_trusts_system_ca
from mini.apparatus.modal import preflight
from mini.apparatus.modal.client import connect, doing, off_loop, valid_name
from mini.apparatus.modal.errors import lost
from mini.apparatus.modal.volume import ModalVolume
from mini.errors import MiniError, NoSuchRun, RunFolderError
from mini.job import Outcome, State
from mini.project import cache_folder
from mini.runs import files, layout, lookup, records, status
from mini.runs.folder import RunFolder
from mini.runs.status import Status

_FRESH = 30.0  # seconds; who said something so lately, runs
_ASKED = 50  # jobs whose fate is asked for at a time
_clients: dict[str, Any] = {}


def volume(name: str | None = None, environment: str | None = None) -> ModalVolume:
    """The project's volume.

    Args:
        name: Another name than the project's.
        environment: Modal's environment.
    """
    return ModalVolume(name or valid_name(project.name()).lower(), client, environment)


def client() -> Any:
    """A connection with the token of this machine, one for the process.

    Raises:
        TokenError: There is no token, or it was refused.
        ConnectionRefused: Modal cannot be reached.
    """
    from modal.config import config

    ensure_grpc_trusts_system_ca()
    url = config.get("server_url")
    if url not in _clients:
        _clients[url] = connect(preflight.choose(url), preflight.require_token())
    return _clients[url]


def runs(there: ModalVolume) -> list[str]:
    """The names of the runs on a volume, the latest first."""
    try:
        entries = there.listdir("")
    except FileNotFoundError:
        return []
    return sorted((entry for entry in entries if not entry.startswith(".")), reverse=True)


def fetch(there: ModalVolume, run: str | None) -> RunFolder:
    """Copy what is known of a run into its folder under `outputs/`, or, where there is none, into a cache.

    Args:
        there: The volume.
        run: Its id, or a beginning of it; None for the latest.

    Raises:
        NoSuchRun: There is none, or there are several.
    """
    known = runs(there)
    if run is None and not known:
        raise NoSuchRun(f"there is no run on the volume {there.name}")
    name = known[0] if run is None else lookup.choose(known, run, f"the volume {there.name}")
    here = project.root() / "outputs" / name
    folder = RunFolder(here if (here / layout.RUN).exists() else cache_folder("runs") / there.name / name)
    _copy(there, folder)
    if not (folder.path / layout.RUN).exists():
        raise RunFolderError(f"{name} on the volume {there.name} is no run: it has no {layout.RUN}")
    return folder


def look(folder: RunFolder, handle: Mapping[str, Any]) -> Status:
    """How a run goes that runs on Modal.

    Args:
        folder: Its copy here.
        handle: As `driver.json` has it.

    Raises:
        CloudError: Modal cannot be reached.
    """
    there = volume(handle["volume"], handle.get("environment"))
    _copy(there, folder)
    said = _live(handle)
    first = status.read_status(folder, driven=True, live=said)
    deadline = folder.manifest().get("deadline")
    if first.unfinished and deadline is not None and time.time() > deadline:
        cancel(folder, handle)
        return status.read_status(folder, driven=False, live=said)
    if not first.unfinished:
        return status.read_status(folder, driven=False, live=said)
    if any(time.time() - float(live.get("beat", 0)) < _FRESH for live in said.values()):
        return first
    going = _settle(folder, handle, first)
    _copy(there, folder)  # some may have finished since they were copied
    return status.read_status(folder, driven=going, live=said)


def refresh(folder: RunFolder) -> None:
    """Copy the records of a run that a client drives, or drove, from its volume.

    Raises:
        CloudError: Modal cannot be reached.
    """
    where = folder.manifest().get("volume")
    if where:
        _copy(volume(where["name"], where.get("environment")), folder)


def log(folder: RunFolder, handle: Mapping[str, Any], job: int) -> str:
    """A job's log, as it was committed last."""
    there = volume(handle["volume"], handle.get("environment"))
    line = next(line for line in folder.jobs() if line.index == job)
    relative = Path(line.folder).relative_to(folder.path).as_posix()
    try:
        return there.read(f"{folder.path.name}/{relative}/{layout.LOG}").decode(errors="replace")
    except FileNotFoundError:
        return ""


@off_loop
def cancel(folder: RunFolder, handle: Mapping[str, Any]) -> None:
    """Stop what runs; a result that came meanwhile stands."""
    import modal

    with doing("cancel the run"):
        modal.FunctionCall.from_id(handle["call"], client=client()).cancel()
    there = volume(handle["volume"], handle.get("environment"))
    deadline = time.monotonic() + 10  # a container that is told to stop still commits
    while time.monotonic() < deadline:
        _copy(there, folder)
        open_jobs = status.read_status(folder, driven=True, live={}).unfinished
        if not open_jobs or all(not isinstance(_fate(handle, job.index), TimeoutError) for job in open_jobs[:_ASKED]):
            break
        time.sleep(0.5)
    _copy(there, folder)
    gone = [job.index for job in status.read_status(folder, driven=True, live={}).unfinished]
    failure = lost(Exception("cancelled"), None)[1]
    _write(folder, there, [Outcome(index, State.CANCELLED, failure=failure, ended=time.time()) for index in gone])


def pull(there: ModalVolume, folder: RunFolder, include: str | None) -> int:
    """Bring a run's files home; what is here already is not fetched again.

    Args:
        there: The volume.
        folder: Where to.
        include: A pattern for paths relative to the run, such as `*/checkpoint.npz`; None for all.

    Returns:
        How many files match.
    """
    return there.fetch(folder.path.name, folder.path, include, without=(f"{layout.RECORDS}/*", ".home.tar.gz"))


def _copy(there: ModalVolume, folder: RunFolder) -> None:
    """What is known of a run as a whole: a request for each container that worked on it, and a few."""
    name = folder.path.name
    folder.path.mkdir(parents=True, exist_ok=True)
    here = (folder.path / layout.RUN).exists()
    wanted = [] if here else [layout.RUN, layout.JOBS]
    for file in (*wanted, *([] if (folder.path / layout.DRIVER).exists() else [layout.DRIVER])):
        with contextlib.suppress(FileNotFoundError):
            files.write_atomically(folder.path / file, there.read(f"{name}/{file}"))
    with contextlib.suppress(FileNotFoundError):  # no job has finished
        there.fetch(f"{name}/{layout.RECORDS}", folder.path / layout.RECORDS, None)


@off_loop
def _live(handle: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What the jobs said last; empty where the cache is gone."""
    import modal

    if not handle.get("live"):
        return {}
    with contextlib.suppress(Exception):  # a cache
        found = modal.Dict.from_name(handle["live"], environment_name=handle.get("environment"), client=client())
        return dict(found.items())
    return {}


def _settle(folder: RunFolder, handle: Mapping[str, Any], seen: Status) -> bool:
    """Ask for the fate of jobs that have no record and say nothing; record it where it is certain.

    Returns:
        Whether any of them may still run.
    """
    going, settled = False, []
    for job in seen.unfinished[:_ASKED]:
        fate = _fate(handle, job.index)
        if isinstance(fate, TimeoutError):
            going = True
            break  # inputs are worked off in order: the rest waits too
        if isinstance(fate, BaseException):
            state, failure = lost(fate, None)
            settled.append(Outcome(job.index, state, failure=failure, ended=time.time()))
    _write(folder, volume(handle["volume"], handle.get("environment")), settled)
    return going or len(seen.unfinished) > _ASKED


@off_loop
def _fate(handle: Mapping[str, Any], index: int) -> Any:
    import modal

    try:
        return modal.FunctionCall.from_id(handle["call"], client=client()).get(timeout=0, index=index)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return error


def _write(folder: RunFolder, there: ModalVolume, outcomes: list[Outcome]) -> None:
    """Record what no container could, here and on the volume."""
    if not outcomes:
        return
    rows = {line.index: line for line in folder.jobs()}
    lines = [
        records.encode_record(replace(outcome, key=rows[outcome.index].key), rows[outcome.index].row)
        for outcome in outcomes
    ]
    file = folder.path / layout.RECORDS / f"client-{time.time_ns()}.jsonl"
    file.parent.mkdir(exist_ok=True)
    files.write_atomically(file, b"".join(lines))
    with contextlib.suppress(MiniError):
        there.upload(file, f"{folder.path.name}/{layout.RECORDS}/{file.name}")


def driver(folder: RunFolder) -> dict[str, Any] | None:
    """What `driver.json` says of where a run goes on; None where it does not."""
    try:
        handle = json.loads((folder.path / layout.DRIVER).read_bytes())
    except (OSError, ValueError):
        return None
    return handle if isinstance(handle, dict) and "call" in handle else None


def copy_driver(folder: RunFolder, handle: Mapping[str, Any], there: Any) -> None:
    """Let others find where a run goes on.

    Args:
        folder: The run.
        handle: What `driver.json` says.
        there: The volume.
    """
    files.write_atomically(folder.path / layout.DRIVER, json.dumps(handle).encode())
    there.upload(Path(folder.path, layout.DRIVER), f"{folder.path.name}/{layout.DRIVER}")
