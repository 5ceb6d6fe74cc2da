"""A run, whoever drives it: begin one that goes on by itself, open any, look at it, stop it, repeat it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mini import combine, project
from mini.apparatus import attached, registry
from mini.apparatus.drivers import start_driver
from mini.apparatus.plugin import Attached, Seen
from mini.combine import best
from mini.display import figures
from mini.errors import NoSuchRun, OptionError, UsageError
from mini.job import Job
from mini.limits import Limits
from mini.runs import files, layout, lookup, manifest, records, status
from mini.runs.folder import RunFolder
from mini.runs.records import Record
from mini.runs.run_id import new_run_id
from mini.runs.status import RunState, Status
from mini.worker import pickling
from mini.worker.pickling import Parcel

if TYPE_CHECKING:
    import polars as pl

    from mini.apparatus.base import Apparatus

_GLANCE = 0.2  # seconds between two looks at a run on this machine
_LONGEST_GLANCE = 10.0  # seconds between two looks at a run elsewhere that has gone on for a while


class Run:
    """A run.

    Args:
        folder: Its folder here; of a run elsewhere, the copy of its records.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def _repr_html_(self) -> str:
        from mini.display import notebook

        return notebook.run_html(self.folder)

    plot = figures.plot

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.id

    @classmethod
    def open(cls, run: str | None = None, *, app: str | None = None) -> Self:
        """A run by its id, or a unique beginning of it.

        Args:
            run: None or `latest` for the latest.
            app: The engine that keeps the run, such as `modal`, where there is no folder of it here.

        Raises:
            NoSuchRun: There is none, or there are several.
            OptionError: There is no such engine, or it keeps no runs.
        """
        if app is not None:
            return cls(elsewhere(app).fetch(None if run == lookup.LATEST else run))
        home = project.outputs()
        return cls(lookup.latest(home) if run is None else lookup.find(home, run))

    def status(self) -> Status:
        """How it goes. Engines are asked only for jobs of which nothing final is known here.

        Raises:
            CloudError: An engine cannot be reached.
        """
        now = status.read_status(self.folder)
        attached = self._attached() if now.unfinished else []
        if not attached:
            return now
        seen = [one.refresh() for one in attached]
        now = self._look(seen)
        if not now.unfinished:
            for one in attached:
                one.release()
        return now

    def _look(self, seen: Sequence[Seen]) -> Status:
        live: dict[int, Mapping[str, Any]] = {}
        for one in seen:
            live.update(one.live or {})
        some = any(one.live is not None for one in seen)
        return status.read_status(self.folder, driven=any(one.driven for one in seen), live=live if some else None)

    def _attached(self) -> list[Attached]:
        """As `mini.apparatus.attached` finds them; none while a process here drives the run."""
        return [] if self.folder.is_driven() else attached.find(self.folder)

    def results(self, *, return_exceptions: bool = False) -> list[Any]:
        """The jobs' values, in order. They are unpickled, which can run code: open only runs whose jobs you trust.

        Args:
            return_exceptions: Put the exception of a failed job in its place, instead of raising it.

        Raises:
            UsageError: Jobs are not finished.
        """
        self.status()
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
        began = time.monotonic()
        while (now := self.status()).state is RunState.RUNNING:
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"{self.id} is still running after {timeout:g} s")
            time.sleep(self.pause(waited))
        return now

    def table(self) -> pl.DataFrame:
        """One row for each job: its state, what it was given, and what it returned. Reads no pickled value.

        Raises:
            CloudError: As `status`.
        """
        self.status()
        return combine.table(self.folder)[0]

    def best(self, count: int = 1, metric: str | None = None) -> list[dict[str, Any]]:
        """The rows of the best jobs, the best first.

        Args:
            count: How many, at most.
            metric: A column, with `-` in front if the highest is the best; None for that of the study, or of
                `results.sort`.

        Raises:
            UsageError: There is no such metric, or it is not known which of its values are good.
        """
        self.status()
        return best.best(self.folder, count, metric)

    def tables(self, name: str = layout.TABLE) -> pl.LazyFrame:
        """The tables that the jobs wrote, one below the other, with the job's index in the column `job`.

        Args:
            name: The file that each job wrote into its folder.

        Raises:
            RunFolderError: No job wrote such a file, or it is not here; `mini pull` brings it.
        """
        return combine.tables(self.folder, name)

    def pause(self, waited: float) -> float:
        """Seconds until a further look is worth its requests.

        Args:
            waited: Seconds since the first look.
        """
        if self.folder.is_driven():
            return _GLANCE
        return min(_LONGEST_GLANCE, max(_GLANCE, waited / 10))

    def logs(self, job: int) -> str:
        """What a job printed.

        Raises:
            NoSuchRun: There is no such job.
        """
        for line in self.folder.jobs():
            if line.index == job:
                path = Path(line.folder) / layout.LOG
                if not path.exists():
                    for one in self._attached():
                        if (text := one.log(job)) is not None:
                            return text
                return path.read_bytes().decode(errors="replace") if path.exists() else ""
        raise NoSuchRun(f"{self.id} has no job {job}")

    def cancel(self) -> Status:
        """Stop what runs, keep what is done."""
        if self.folder.is_driven():
            self.folder.cancel()
            while self.folder.is_driven():
                time.sleep(_GLANCE)
        for one in self._attached() if status.read_status(self.folder).unfinished else []:
            one.cancel()
            one.release()
        return self.status()

    def pull(self, include: str | None = None) -> int:
        """Bring files home that are on an engine's volume; a second time only what is new.

        Args:
            include: A pattern for paths relative to the run, such as `*/checkpoint.npz`; None for all.

        Returns:
            How many files match.
        """
        return sum(one.pull(include) for one in self._attached())

    def release(self) -> None:
        """Remove what the run still holds elsewhere, but for its files. The run must be over."""
        for one in self._attached():
            one.release()

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


def elsewhere(app: str) -> Any:
    """The runs of the project that an engine keeps.

    Args:
        app: The engine.

    Raises:
        OptionError: There is no such engine, or it keeps no runs.
    """
    plugin = registry.find(app)
    if plugin.elsewhere is None:
        raise OptionError(f"--app {app}: this engine keeps no runs; their folders are under outputs/ where they began")
    return plugin.elsewhere()


# Beginning a run that goes on by itself.


@dataclass(frozen=True)
class Task:
    """What a driver is to do on one apparatus.

    Args:
        kind: The engine.
        name: Of the apparatus.
        options: An instance of the engine's options.
        parcels: The encoded jobs, without their functions and arguments.
    """

    kind: str
    name: str
    options: Any
    parcels: Sequence[Parcel]


@dataclass(frozen=True)
class Assignment:
    """All that a driver is to do.

    Args:
        tasks: One for each apparatus.
        path: Where modules are imported from.
        cwd: Where the command was given.
        limits: When to stop.
        notify: Who is told of the end, as `mini.notify` has it; None for nobody.
    """

    tasks: Sequence[Task]
    path: Sequence[str]
    cwd: str
    limits: Limits
    notify: Any = None


def spawn(
    apparatus: Apparatus,
    fn: Callable[..., Any],
    calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
    name: str | None,
) -> Run:
    """Begin a run that goes on without this process. Arguments as for `Apparatus.spawn`."""
    folder = RunFolder(project.outputs() / (name or new_run_id()))
    jobs = [
        Job(index, fn, args, kwargs, folder=str(folder.path / str(index)), run=str(folder.path), record=True)
        for index, (args, kwargs) in enumerate(calls)
    ]
    engines = {apparatus.kind: [apparatus.manifest()]}
    begin([(apparatus, jobs)], folder, manifest.describe(getattr(fn, "__qualname__", repr(fn)), len(jobs), engines))
    return Run(folder)


def begin(
    placements: Sequence[tuple[Apparatus, Sequence[Job]]],
    folder: RunFolder,
    about: Mapping[str, Any],
    limits: Limits | None = None,
    notify: Any = None,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Record a run and start it where it goes on by itself.

    Where all of it is on one apparatus that needs no process of this machine, the engine takes it over; otherwise a
    driver process on this machine does, whatever engines there are.

    Args:
        placements: Jobs by where they run.
        folder: The run.
        about: Its manifest.
        limits: When to stop it.
        notify: Who is told of its end; only where a process of this machine drives it.
        prepare: Called when the run is recorded, before its first job starts.

    Raises:
        UsageError: Something is wrong; nothing was started.
        CloudError: The cloud is not ready; nothing was started.
    """
    limits = limits or Limits()
    for apparatus, _ in placements:
        apparatus.require_detachable()
    folder.require_free([job for _, jobs in placements for job in jobs])
    encoded = [(apparatus, apparatus.encode(jobs)) for apparatus, jobs in placements]
    first = encoded[0][0]
    alone = all(apparatus.goes_on_alone and apparatus.volume is first.volume for apparatus, _ in encoded)
    if alone and notify is not None:
        raise UsageError(f"{folder.id} goes on with no process of this machine, which notices need; leave notify out")
    assignment = None if alone else _assignment(encoded, limits, notify)
    folder.begin({**about, **{name: value for name, value in vars(limits).items() if value is not None}})
    folder.add_jobs([job for _, jobs in placements for job in jobs])
    prepare()
    if assignment is not None:
        files.write_atomically(folder.path / layout.PARCELS, assignment, private=True)
        start_driver(folder)
    else:
        place = first.detach(folder, encoded, limits)
        files.write_atomically(folder.path / layout.DRIVER, files.dump_json({"apparatus": first.kind, **place}))
        first.announce(folder)


def _assignment(encoded: Sequence[tuple[Apparatus, Sequence[Parcel]]], limits: Limits, notify: Any) -> bytes:
    tasks = [
        Task(
            apparatus.kind,
            apparatus.name,
            apparatus.options,
            [replace(p, job=replace(p.job, fn=_gone, args=(), kwargs={})) for p in parcels],
        )
        for apparatus, parcels in encoded
    ]
    whole = Assignment(tasks, list(sys.path), str(Path.cwd()), limits, notify)
    return pickling.dumps(whole, "an option of the apparatus")


def _gone() -> None:
    """In the place of a function that is in the parcel, encoded."""
