"""Runs that outlive whoever began them: beginning one, and looking at any from Python."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mini import project
from mini.apparatus.modal import runs
from mini.errors import NoSuchRun, UsageError
from mini.job import Job
from mini.runs import layout, lookup, records, status
from mini.runs.folder import RunFolder
from mini.runs.records import Record
from mini.runs.status import RunState, Status

if TYPE_CHECKING:
    from mini.apparatus.base import Apparatus
    from mini.worker.pickling import Parcel

_GLANCE = 0.2  # seconds between two looks
_STARTING = 30.0  # seconds a driver may take to begin


class Run:
    """A run, whoever drives it.

    Args:
        folder: Its folder here; of a run elsewhere, the copy of its records.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.path.name

    @classmethod
    def open(cls, run: str | None = None, *, app: str | None = None) -> Self:
        """A run by its id, or a beginning of it.

        Args:
            run: None for the latest.
            app: `modal` for one whose folder is not here but on the project's volume.

        Raises:
            NoSuchRun: There is none, or there are several.
        """
        if app is not None:
            return cls(runs.fetch(runs.volume(), run))
        home = project.root() / "outputs"
        return cls(lookup.latest(home) if run is None else lookup.find(home, run))

    def status(self) -> Status:
        """How it goes."""
        handle = runs.driver(self.folder)
        if handle is not None:
            return runs.look(self.folder, handle)
        now = status.read_status(self.folder)
        if now.unfinished and "modal" in now.apparatus:  # records may be on the volume, and their client gone
            runs.refresh(self.folder)
            now = status.read_status(self.folder)
        return now

    def results(self, *, return_exceptions: bool = False) -> list[Any]:
        """The jobs' values, in order.

        Args:
            return_exceptions: Put the exception of a failed job in its place, instead of raising it.

        Raises:
            UsageError: Jobs are not finished.
        """
        self.status()  # of a run elsewhere, brings the records
        outcomes = [
            records.read_value(Path(line.folder), record.outcome)
            for line, record in self.folder.records()
            if isinstance(record, Record)
        ]
        missing = len(self.folder.jobs()) - len(outcomes)
        if missing:
            raise UsageError(f"{missing} jobs of {self.id} have no result yet; wait() for them")
        return [o.exception() if return_exceptions and not o.ok else o.result() for o in outcomes]

    def wait(self, timeout: float | None = None) -> Status:
        """Wait until it ends.

        Args:
            timeout: Seconds; None for ever.

        Raises:
            TimeoutError: It goes on still.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (now := self.status()).state is RunState.RUNNING:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self.id} is still running after {timeout:g} s")
            time.sleep(_GLANCE)
        return now

    def logs(self, job: int) -> str:
        """What a job printed.

        Raises:
            NoSuchRun: There is no such job.
        """
        for line in self.folder.jobs():
            if line.index == job:
                handle = runs.driver(self.folder)
                if handle is not None:
                    return runs.log(self.folder, handle, job)
                path = Path(line.folder) / layout.LOG
                return path.read_text(errors="replace") if path.exists() else ""
        raise NoSuchRun(f"{self.id} has no job {job}")

    def cancel(self) -> Status:
        """Stop what runs, keep what is done."""
        handle = runs.driver(self.folder)
        if handle is not None:
            runs.cancel(self.folder, handle)
            return self.status()
        if self.folder.is_driven():
            self.folder.cancel()
            while self.folder.is_driven():
                time.sleep(_GLANCE)
        return self.status()

    def retry(self) -> None:
        """Run again what failed, was lost or cancelled; detached, as before.

        Raises:
            UsageError: It runs still, or was not begun so that it can be repeated.
        """
        if not (self.folder.path / layout.PARCELS).exists():
            raise UsageError(f"{self.id} was begun by a command; repeat that with hydra.launcher.resume={self.id}")
        if self.folder.is_driven():
            raise UsageError(f"{self.id} is still running; cancel() it first")
        start_driver(self.folder)


def spawn(
    apparatus: Apparatus,
    fn: Callable[..., Any],
    calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
    name: str | None,
) -> Run:
    """Begin a run that goes on without this process. Arguments as for `Apparatus.spawn`."""
    folder = RunFolder(Path("outputs", name or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"))
    jobs = [
        Job(index, fn, args, kwargs, folder=str(folder.path / str(index)), record=True)
        for index, (args, kwargs) in enumerate(calls)
    ]
    asked = {
        "command": sys.argv,
        "task": getattr(fn, "__qualname__", repr(fn)),
        "began": time.time(),
        "cwd": str(Path.cwd()),
        "jobs": len(jobs),
        "apparatus": [apparatus.kind],
    }
    begin([(apparatus, jobs)], folder, asked)
    return Run(folder)


def begin(
    groups: Sequence[tuple[Apparatus, Sequence[Job]]],
    folder: RunFolder,
    asked: Mapping[str, Any],
    *,
    deadline: float | None = None,
    max_failures: int | None = None,
) -> None:
    """Record a run and start it, detached.

    Args:
        groups: Jobs by where they run.
        folder: The run.
        asked: For `run.json`.
        deadline: When to stop it, in Unix seconds; whoever looks first does so.
        max_failures: When to stop it.

    Raises:
        UsageError: Something is wrong; nothing was started.
        CloudError: The cloud is not ready; nothing was started.
    """
    from mini import driver  # with all that runs jobs; who only looks at a run need not wait for that

    kinds = {apparatus.kind for apparatus, _ in groups}
    if len(kinds) > 1 or (kinds == {"modal"} and len(groups) > 1):
        raise UsageError("a run that is left has one apparatus and one GPU; begin one for each")
    folder.require_free([job for _, jobs in groups for job in jobs])
    encoded: list[tuple[Apparatus, list[Parcel]]] = [(a, a.encode(jobs)) for a, jobs in groups]
    for apparatus, _ in encoded:
        apparatus.ready_to_detach()
    limits = {"deadline": deadline, "max_failures": max_failures}
    folder.begin({**asked, **{k: v for k, v in limits.items() if v is not None}})
    folder.add_jobs([job for _, jobs in groups for job in jobs])
    if kinds == {"local"}:
        driver.write(folder, [driver.task(a, parcels, deadline, max_failures) for a, parcels in encoded])
        start_driver(folder)
    else:
        ((apparatus, parcels),) = encoded
        runs.copy_driver(folder, apparatus.detach(parcels, folder), apparatus.volume)


def start_driver(folder: RunFolder) -> None:
    """Start the process that drives a run on this machine, in a session of its own."""
    with (folder.path / layout.DRIVER_LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mini.driver", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie, should this process outlive it
    deadline = time.monotonic() + _STARTING
    while not folder.is_driven() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() not in (None, 0):
        raise UsageError(
            f"the driver of {folder.path.name} did not start: {(folder.path / layout.DRIVER_LOG).read_text()[-2000:]}"
        )
