"""Runs on a Modal volume, looked at from here.

Their records are copied, in a number of requests that does not depend on the number of jobs. No container is started
and no image built.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mini import project
from mini._tls import ensure_grpc_trusts_system_ca
from mini.apparatus.modal import ledger, preflight
from mini.apparatus.modal.client import connect, doing, off_loop, valid_name
from mini.apparatus.modal.errors import lost
from mini.apparatus.modal.volume import ModalVolume, name_on_volume
from mini.apparatus.plugin import Seen
from mini.errors import MiniError, NoSuchRun, RunFolderError
from mini.job import Outcome, State
from mini.project import cache_folder
from mini.runs import files, layout, lookup, manifest, records, status
from mini.runs.folder import RunFolder
from mini.runs.status import Status

_FRESH = 30.0  # seconds; a job that said something so lately runs
_ASKED = 50  # jobs whose fate is asked for at a time
_STOPPING = 10.0  # seconds in which a container that is told to stop still commits
clients: dict[str, Any] = {}
"""Connections by the server's address: one for the process."""


def connection() -> Any:
    """A connection with the token of this machine.

    Raises:
        TokenError: There is no token, or it was refused.
        ConnectionRefused: Modal cannot be reached.
    """
    from modal.config import config

    ensure_grpc_trusts_system_ca()
    url = config.get("server_url")
    if url not in clients:
        clients[url] = connect(preflight.choose(url), preflight.require_token())
    return clients[url]


class ModalRuns:
    """The runs on the project's volume."""

    def __init__(self) -> None:
        self._volume = ModalVolume(valid_name(project.name()).lower(), connection)

    def names(self) -> list[str]:
        """Their names, the latest first."""
        try:
            entries = self._volume.listdir("")
        except FileNotFoundError:
            return []
        return sorted((entry for entry in entries if not entry.startswith(".")), reverse=True)

    def fetch(self, run: str | None) -> RunFolder:
        """Copy what is known of a run into its folder under `outputs/`, or, where there is none, into a cache.

        Args:
            run: Its id, or a unique beginning of it; None for the latest.

        Raises:
            NoSuchRun: There is none, or there are several.
        """
        names = self.names()
        if run is None and not names:
            raise NoSuchRun(f"there is no run on the volume {self._volume.name}")
        name = names[0] if run is None else lookup.choose(names, run, f"the volume {self._volume.name}")
        here = project.outputs() / name
        folder = RunFolder(here if (here / layout.RUN).exists() else cache_folder("runs") / self._volume.name / name)
        copy_records(self._volume, folder)
        if not (folder.path / layout.RUN).exists():
            raise RunFolderError(f"{name} on the volume {self._volume.name} is no run: it has no {layout.RUN}")
        return folder


class ModalRun:
    """A run on a Modal volume, seen by a process that did not begin it.

    Args:
        folder: Its folder here, or the copy of its records.
        place: What `ModalApparatus.detach` returned of it; None for one that a client drives, or drove.
    """

    def __init__(self, folder: RunFolder, place: Mapping[str, Any] | None) -> None:
        where = place or {}
        of_manifest = folder.manifest().get("volume") or {}
        self._environment = where.get("environment") or of_manifest.get("environment")
        name = where.get("volume") or of_manifest.get("name") or valid_name(project.name()).lower()
        self._folder, self._place, self._name = folder, where, name_on_volume(folder.path)
        self._volume = ModalVolume(name, connection, self._environment)
        self._calls = _calls(where)

    def refresh(self) -> Seen:
        """As `Attached.refresh`: the records, and the fate of jobs whose containers are gone for good."""
        copy_records(self._volume, self._folder)
        if not self._place:
            return Seen()
        live = self._live()
        first = status.read_status(self._folder, driven=True, live=live)
        if not first.unfinished:
            return Seen(False, live)
        if any(time.time() - float(said.get("beat", 0)) < _FRESH for said in live.values()):
            return Seen(True, live)
        going = self._record_fates(first)
        copy_records(self._volume, self._folder)  # some may have finished since they were copied
        return Seen(going, live)

    def log(self, job: int) -> str | None:
        """As `Attached.log`: the log as it was committed last."""
        line = next(line for line in self._folder.jobs() if line.index == job)
        try:
            return self._volume.read(f"{self._name}/{_relative(self._folder, line.folder)}/{layout.LOG}").decode(
                errors="replace"
            )
        except FileNotFoundError:
            return None

    @off_loop
    def cancel(self) -> None:
        """As `Attached.cancel`; a result that came meanwhile stands."""
        import modal

        with doing("cancel the run"):
            for call in self._calls:
                modal.FunctionCall.from_id(call, client=connection()).cancel()
        deadline = time.monotonic() + _STOPPING
        while time.monotonic() < deadline:
            copy_records(self._volume, self._folder)
            unfinished = status.read_status(self._folder, driven=True, live={}).unfinished
            if all(not isinstance(self._answer(job.index), TimeoutError) for job in unfinished[:_ASKED]):
                break
            time.sleep(0.5)
        copy_records(self._volume, self._folder)
        gone = [job.index for job in status.read_status(self._folder, driven=True, live={}).unfinished]
        failure = lost(Exception("cancelled"), None)[1]
        self._record([Outcome(index, State.CANCELLED, failure=failure, ended=time.time()) for index in gone])

    def pull(self, include: str | None) -> int:
        """As `Attached.pull`."""
        # What is here decides what `mini retry` runs; the volume may be written by others.
        without = (
            f"{layout.RECORDS}/*",
            layout.HOME,
            layout.RUN,
            layout.JOBS,
            layout.PARCELS,
            layout.DRIVER,
            layout.CANCEL,
        )
        return self._volume.fetch(self._name, self._folder.path, include, without=without)

    @off_loop
    def release(self) -> None:
        """As `Attached.release`: the run's app and Dict, where its containers have not removed them."""
        if self._place.get("app"):
            ledger.release(self._place["app"], connection(), self._environment)

    @off_loop
    def _live(self) -> dict[int, dict[str, Any]]:
        import modal

        if not self._place.get("live"):
            return {}
        with contextlib.suppress(Exception):  # a cache
            found = modal.Dict.from_name(self._place["live"], environment_name=self._environment, client=connection())
            return {key: said for key, said in found.items() if isinstance(key, int)}
        return {}

    def _record_fates(self, seen: Status) -> bool:
        """Record the fate of jobs that have no record and say nothing, where it is certain.

        Returns:
            Whether any of them may still run.
        """
        settled: list[Outcome] = []
        for job in seen.unfinished[:_ASKED]:
            answer = self._answer(job.index)
            if isinstance(answer, TimeoutError):
                self._record(settled)
                return True  # inputs are worked off in order: the rest waits too
            if isinstance(answer, BaseException):
                state, failure = lost(answer, None)
                settled.append(Outcome(job.index, state, failure=failure, ended=time.time()))
        self._record(settled)
        return len(seen.unfinished) > _ASKED

    @off_loop
    def _answer(self, job: int) -> Any:
        """What the call says of a job: its value, or what it raises instead; TimeoutError while there is neither."""
        import modal

        try:
            call, place = next((call, jobs[job]) for call, jobs in self._calls.items() if job in jobs)
            return modal.FunctionCall.from_id(call, client=connection()).get(timeout=0, index=place)
        except Exception as error:  # noqa: BLE001 - it is the answer
            return error

    def _record(self, outcomes: list[Outcome]) -> None:
        """Record what no container could, here and on the volume."""
        if not outcomes:
            return
        lines = {line.index: line for line in self._folder.jobs()}
        encoded = [
            records.encode_record(replace(one, key=lines[one.index].key), lines[one.index].row) for one in outcomes
        ]
        file = self._folder.path / layout.RECORDS / f"client-{time.time_ns()}.jsonl"
        file.parent.mkdir(exist_ok=True)
        files.write_atomically(file, b"".join(encoded))
        with contextlib.suppress(MiniError):
            self._volume.upload(file, f"{self._name}/{layout.RECORDS}/{file.name}")


def _relative(folder: RunFolder, path: str) -> str:
    return Path(path).relative_to(folder.path).as_posix()


class _InOrder(dict[int, int]):
    """The places of jobs in a call whose inputs are the jobs in order."""

    def __missing__(self, job: int) -> int:
        return job

    def __contains__(self, job: object) -> bool:
        return True


def _calls(place: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """For each call of a run the places of its jobs among the inputs. A run of an earlier version has one call."""
    if "call" in place:
        return {place["call"]: _InOrder()}
    return {call["id"]: {job: i for i, job in enumerate(call["jobs"])} for call in place.get("calls", ())}


def copy_records(there: ModalVolume, folder: RunFolder) -> None:
    """Copy what is known of a run as a whole: a request for each container that worked on it, and a few.

    Args:
        there: The volume.
        folder: Where to; its name is the run's on the volume.

    Raises:
        CloudError: Modal cannot be reached.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    name = name_on_volume(folder.path)
    here = (folder.path / layout.RUN).exists()
    wanted = [] if here else [layout.RUN, layout.JOBS, layout.CODE]
    for file in (*wanted, *([] if (folder.path / layout.DRIVER).exists() else [layout.DRIVER])):
        with contextlib.suppress(FileNotFoundError):
            data = there.read(f"{name}/{file}")
            if file == layout.RUN:
                data = manifest.brought(data, f"the volume {there.name}")
            files.write_atomically(folder.path / file, data)
    with contextlib.suppress(FileNotFoundError):  # no job has finished
        there.fetch(f"{name}/{layout.RECORDS}", folder.path / layout.RECORDS, None)
