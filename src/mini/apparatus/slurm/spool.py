"""The files by which a submission and its tasks on the nodes know of each other; the only module that knows them.

<run>/slurm/<n>/            one batch of jobs that was submitted
    about.json              what tasks need to know besides the jobs, and Slurm's numbers of the arrays
    boot.py                 what they start
    function-<n>.pkl        the functions
    calls.bin, calls.idx    the encoded jobs, one after the other, and where each begins
    claims/<n>              whose the job at a place is: written once, by whoever is first
    tasks/<array>_<task>    what a task did, as it happened
    output/…                what its shell printed
    stop/<n>                that job shall stop
    cancel                  all shall stop
<run>/slurm/failed/         a file for each job that failed, where the run stops after so many

Tasks take jobs by making the file of a claim, which only one can, so that a fast task takes more of them than a slow
one; no scheduler is asked for that, and no process has to be reachable over the network.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mini.job import Outcome
from mini.runs.files import dump_json, write_atomically
from mini.worker.pickling import Parcel

FOLDER = "slurm"
"""Where submissions are in a run folder."""

CLIENT = "client"
"""The owner of a job that no task shall have."""

_ENTRY = struct.Struct("<QIIqI")  # where a call begins, its bytes, its function, the job's index, the attempt
_LENGTH = struct.Struct("<I")
_BOOT = """\
import json, pathlib, sys
about = json.loads(pathlib.Path(__file__).with_name("about.json").read_text())
sys.path[:] = about["path"] if about["whole_path"] else [*about["path"], *sys.path[1:]]
sys.argv[:] = about["argv"]
from mini.apparatus.slurm import task
sys.exit(task.main(pathlib.Path(__file__).parent))
"""


@dataclass(frozen=True)
class About:
    """What tasks need to know besides the jobs.

    Args:
        path: Where modules are imported from.
        whole_path: Whether that is all of `sys.path`, or goes before what the interpreter there has.
        argv: The client's command.
        jobs: How many there are.
        retries: Further attempts of a job that failed or whose process died.
        requeues: How often a job that reached its time limit is queued again.
        group: How many jobs a task takes; None by measuring.
        seconds: Of work that a task shall have, where the jobs are short.
        deadline: Unix time at which the run shall stop; None for never.
        max_failures: After so many failed jobs the run shall stop; None for any number.
        values: Whether somebody waits for the values; else they are in the records.
        width: How many tasks each array has, but for the last.
        arrays: Slurm's numbers of the arrays.
    """

    path: Sequence[str]
    whole_path: bool
    argv: Sequence[str]
    jobs: int
    retries: int = 0
    requeues: int = 0
    group: int | None = None
    seconds: float = 0.0
    deadline: float | None = None
    max_failures: int | None = None
    values: bool = True
    width: int = 1
    arrays: Sequence[str] = ()


@dataclass(frozen=True)
class Entry:
    """Where a job is among those of a submission."""

    begin: int
    size: int
    function: int
    index: int
    attempt: int


@dataclass(frozen=True)
class Began:
    """A task begins a job, or goes on with it."""

    place: int
    attempt: int
    time: float
    start: int


@dataclass(frozen=True)
class Left:
    """A task leaves a job that has not ended."""

    place: int
    why: str


@dataclass(frozen=True)
class Ended:
    """A job is over."""

    place: int
    outcome: Outcome


Event = Began | Left | Ended


@dataclass
class TaskLog:
    """What a task did, as far as it was read.

    Args:
        path: Its file.
    """

    path: Path
    read: int = 0
    current: Began | None = None
    """The job it has in hand."""
    starts: int = 0
    """How often it was started."""
    left: str = ""
    """Why it left its job, if it did."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Its name, as Slurm writes it: `ARRAY_TASK`."""
        return self.path.name

    def update(self) -> list[Ended]:
        """Read on, and say what has ended since."""
        ended = []
        for event in self._events():
            if isinstance(event, Began):
                self.current, self.starts, self.left = event, max(self.starts, event.start), ""
            elif isinstance(event, Left):
                self.left = event.why
            else:
                self.current = None
                ended.append(event)
        return ended

    def _events(self) -> Iterator[Event]:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.read)
                data = file.readall()
        except FileNotFoundError:
            return
        place = 0
        while place + _LENGTH.size <= len(data):
            (size,) = _LENGTH.unpack_from(data, place)
            if place + _LENGTH.size + size > len(data):
                break  # it is being written
            place += _LENGTH.size
            yield pickle.loads(data[place : place + size])
            place += size
        self.read += place


class Spool:
    """The files of one submission.

    Args:
        path: Their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: bytes | None = None

    @classmethod
    def new(cls, parent: Path) -> Spool:
        """The next one of a folder."""
        parent.mkdir(parents=True, exist_ok=True)
        number = len(list(parent.iterdir()))
        while True:
            try:
                (parent / str(number)).mkdir()
                return cls(parent / str(number))
            except FileExistsError:
                number += 1

    @classmethod
    def all(cls, run: Path) -> list[Spool]:
        """Those of a run that were submitted, in their order."""
        found = [path for path in (run / FOLDER).glob("*") if path.name.isdecimal() and (path / "about.json").exists()]
        return [cls(path) for path in sorted(found, key=lambda path: int(path.name))]

    def write(self, parcels: Sequence[Parcel], about: About) -> None:
        """Put jobs here."""
        functions: dict[str, int] = {}
        calls, index = bytearray(), bytearray()
        for parcel in parcels:
            number = functions.setdefault(parcel.shared.digest, len(functions))
            if number == len(functions) - 1 and not (self.path / f"function-{number}.pkl").exists():
                write_atomically(self.path / f"function-{number}.pkl", parcel.shared.data)
            job = parcel.job
            index += _ENTRY.pack(len(calls), len(parcel.data), number, job.index, job.attempt)
            calls += parcel.data
        (self.path / "calls.bin").write_bytes(calls)
        (self.path / "calls.idx").write_bytes(index)
        for name in ("claims", "tasks", "output", "stop"):
            (self.path / name).mkdir()
        (self.path / "boot.py").write_text(_BOOT)
        self.say(about)

    def say(self, about: About) -> None:
        """Write what tasks need to know."""
        write_atomically(self.path / "about.json", dump_json(asdict(about)))

    def about(self) -> About:
        """What tasks need to know."""
        return About(**json.loads((self.path / "about.json").read_bytes()))

    def remove(self) -> None:
        """Remove the files, and the folder around them if nothing else is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    # The jobs.

    def entry(self, place: int) -> Entry:
        """Where a job is."""
        return Entry(*_ENTRY.unpack_from(self._entries(), place * _ENTRY.size))

    def indices(self) -> list[int]:
        """The jobs' indices, in their order here."""
        return [index for _, _, _, index, _ in _ENTRY.iter_unpack(self._entries())]

    def call(self, entry: Entry) -> bytes:
        """An encoded job."""
        with (self.path / "calls.bin").open("rb") as file:
            file.seek(entry.begin)
            return file.read(entry.size)

    def function(self, number: int) -> bytes:
        """An encoded function."""
        return (self.path / f"function-{number}.pkl").read_bytes()

    def _entries(self) -> bytes:
        if self._index is None:
            self._index = (self.path / "calls.idx").read_bytes()
        return self._index

    # Who has them.

    def claim(self, place: int, owner: str) -> bool:
        """Take a job, unless somebody has it."""
        try:
            handle = os.open(self.path / "claims" / str(place), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, owner.encode())
        finally:
            os.close(handle)
        return True

    def once(self, what: str) -> bool:
        """Whether this is the first call with a word, in all processes."""
        try:
            (self.path / what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def claimed(self) -> set[int]:
        """The places of the jobs that somebody has."""
        return {int(name) for name in os.listdir(self.path / "claims")}  # noqa: PTH208 - names only, and many

    # What becomes of them.

    def log(self, task: str) -> Path:
        """The file in which a task says what it does."""
        return self.path / "tasks" / task

    def logs(self) -> Iterable[os.DirEntry[str]]:
        """The files of all tasks that have begun."""
        with os.scandir(self.path / "tasks") as entries:
            yield from entries

    def output(self, task: str) -> str:
        """The end of what a task's shell printed."""
        try:
            return (self.path / "output" / f"{task}.txt").read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""

    def stop(self, place: int) -> None:
        """Let a job stop."""
        (self.path / "stop" / str(place)).touch()

    def is_stopped(self, place: int) -> bool:
        """Whether a job shall stop."""
        return (self.path / "stop" / str(place)).exists() or self.is_cancelled()

    def cancel(self) -> None:
        """Let all stop."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "cancel").touch()

    def is_cancelled(self) -> bool:
        """Whether all shall stop."""
        return (self.path / "cancel").exists()

    def fail(self, place: int) -> int:
        """Note a job that failed, and say how many have."""
        failed = self.path.parent / "failed"  # of all submissions of the run
        failed.mkdir(exist_ok=True)
        (failed / f"{self.path.name}-{place}").touch()
        return len(os.listdir(failed))  # noqa: PTH208


def append(file: Any, event: Event) -> None:
    """Add an event to a task's file, opened unbuffered: in one piece, so that a reader sees all of it or none."""
    data = pickle.dumps(event, protocol=pickle.HIGHEST_PROTOCOL)
    whole = memoryview(_LENGTH.pack(len(data)) + data)
    while whole:
        whole = whole[file.write(whole) :]
