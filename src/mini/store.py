"""The run folder: every file name, atomic writes, reading it back.

    <run>/run.json              what was asked
    <run>/jobs.jsonl            a line for each job: its index, folder, key and overrides
    <run>/records/*.jsonl       the same records many to a file, where a file for each is slow to read (a Modal volume)
    <run>/driver.json           where a run goes on that was left
    <run>/driver.pkl            its encoded jobs
    <run>/driver.log            what its driver printed
    <run>/cancel                somebody wants the run to stop
    <run>/<job>/record.json     the outcome, one line, written once, at the end
    <run>/<job>/live.json       how far the job is; a cache that may vanish
    <run>/<job>/value.pkl       what the job returned, where it is too large for the record
    <run>/<job>/log.txt         stdout, stderr and logging, as it happened
    <run>/<job>/metrics.parquet a table the job wrote, if it wrote one
    <run>/results.parquet       every job's row

JSON has no NaN and no infinity, and a diverged loss is a result: such a value is null in its place in a record, and
`nonfinite` lists where it was and what (`[["loss", "nan"]]`). Any reader of JSON can read a record.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mini.errors import RecordError, RunFolderError
from mini.job import Failure, Job, Outcome, State

RUN = "run.json"
JOBS = "jobs.jsonl"
RECORD = "record.json"
LIVE = "live.json"
LOG = "log.txt"
TABLE = "metrics.parquet"
RESULTS = "results.parquet"
VALUE = "value.pkl"
RECORDS = "records"
CANCEL = "cancel"
DRIVER = "driver.json"
PARCELS = "driver.pkl"
DRIVER_LOG = "driver.log"
MULTIRUN = "multirun.yaml"  # Hydra's sweeper writes it
_OF_A_RUN = (RUN, JOBS, RESULTS, MULTIRUN)

VERSION = 1
_BRIEF = re.compile(rb'\{"version":\d+,"index":(\d+),"key":"[^"\\]*","state":"\w+","attempt":(\d+),')
_INLINE_VALUE = 64 * 1024  # bytes; a larger returned value stays out of the record
NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: The file; its folder must exist.
        data: Its content.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cache_folder(name: str) -> Path:
    """A private folder of this user for what can be made again."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mini" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_live(folder: Path, values: Mapping[str, Any]) -> None:
    """Write how far a job is. A cache: a failure to write is no failure of the job."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / LIVE, _dump(dict(values)))


def read_live(folder: Path) -> dict[str, Any] | None:
    """How far a job said it is, or None."""
    try:
        live = json.loads((folder / LIVE).read_bytes())
    except (OSError, ValueError):
        return None
    return live if isinstance(live, dict) else None


def write_record(outcome: Outcome, row: Mapping[str, Any]) -> None:
    """Write a job's record, unless a later attempt or a finished one of the same attempt stands there already.

    Args:
        outcome: What became of the job; `folder` must be set.
        row: Flat columns: what was known of the job before, and what it returned.
    """
    assert outcome.folder is not None
    folder = Path(outcome.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        with contextlib.suppress(RecordError, FileNotFoundError):
            before = read_record(folder)
            if before.outcome.attempt > outcome.attempt or (before.outcome.ok and not outcome.ok):
                return
        record = encode_record(outcome, row)
        if outcome.pickled is not None and len(outcome.pickled) > _INLINE_VALUE:
            write_atomically(folder / VALUE, outcome.pickled)
        write_atomically(folder / RECORD, record)
    (folder / LIVE).unlink(missing_ok=True)


def encode_record(outcome: Outcome, row: Mapping[str, Any]) -> bytes:
    """A record as its line of JSON.

    Args:
        outcome: What became of the job.
        row: As for `write_record`.
    """
    finite, nonfinite = _split_nonfinite(row)
    failure = outcome.failure
    inline = outcome.pickled is not None and len(outcome.pickled) <= _INLINE_VALUE
    record = {
        "version": VERSION,
        "index": outcome.index,
        "key": outcome.key,
        "state": outcome.state.value,
        "attempt": outcome.attempt,
        "started": outcome.started,
        "ended": outcome.ended,
        "where": dict(outcome.where),
        "failure": None
        if failure is None
        else {"type": failure.type, "message": failure.message, "traceback": failure.traceback},
        "row": finite,
        "nonfinite": nonfinite,
        "pickled": base64.b64encode(outcome.pickled).decode() if inline and outcome.pickled else None,
    }
    return _dump(record) + b"\n"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from looking at a record and replacing it meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system locks; there only one process writes a record
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Record:
    """A job's record, read back.

    Args:
        outcome: What became of the job.
        row: Its flat columns, NaN and infinities in their places.
    """

    outcome: Outcome
    row: Mapping[str, Any]


def read_record(folder: Path) -> Record:
    """Read a job's record.

    Raises:
        FileNotFoundError: There is none: the job has not finished.
        RecordError: It is damaged; the message names the file.
    """
    path = folder / RECORD
    return decode_record(path.read_bytes(), folder, path)


def read_value(folder: Path, outcome: Outcome) -> Outcome:
    """A recorded outcome with its value, where that is too large for the record."""
    if not outcome.ok or outcome.pickled is not None:
        return outcome
    try:
        return replace(outcome, pickled=(folder / VALUE).read_bytes())
    except FileNotFoundError as error:
        raise RecordError(f"{folder / VALUE} is not there, and the record needs it; the value is lost") from error


def decode_record(data: bytes, folder: Path, path: Path) -> Record:
    """A record from its line.

    Args:
        data: As `encode_record` made it.
        folder: Of the job.
        path: The file it is from, for the error.

    Raises:
        RecordError: It is damaged.
    """
    try:
        raw = json.loads(data)
        failure = raw["failure"]
        outcome = Outcome(
            index=raw["index"],
            state=State(raw["state"]),
            pickled=base64.b64decode(raw["pickled"]) if raw["pickled"] else None,
            failure=None if failure is None else Failure(**failure),
            started=raw["started"],
            ended=raw["ended"],
            attempt=raw["attempt"],
            where=raw["where"],
            folder=str(folder),
            key=raw["key"],
        )
        row = dict(raw["row"])
        row.update({column: NONFINITE[name] for column, name in raw["nonfinite"]})
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged: {error!r}; the job counts as not recorded") from error
    return Record(outcome, row)


class RunFolder:
    """One run's files.

    Args:
        path: The folder of the run.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Begin a run here.

        Args:
            asked: What goes into `run.json`: JSON values.

        Raises:
            RunFolderError: There is a run already, or the folder cannot be written.
        """
        if (self.path / RUN).exists():
            raise self._in_use(RUN)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / RUN, _dump({"version": VERSION, **asked}, indent=2) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _in_use(self, name: str) -> RunFolderError:
        return RunFolderError(
            f"the run folder {self.path} exists already (it has a {name}), and is never overwritten; choose another "
            "with hydra.sweep.dir=FOLDER, or set this one aside with hydra.launcher.if_exists=set_aside"
        )

    def asked(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            RunFolderError: There is no run here, or one of a newer version.
            RecordError: The file is damaged.
        """
        path = self.path / RUN
        try:
            asked = json.loads(path.read_bytes())
            version = int(asked["version"])
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is not a run folder: it has no {RUN}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error!r}") from error
        if version > VERSION:
            raise RunFolderError(
                f"{self.path} is a run of a newer version of this package (format {version}, and this one knows "
                f"{VERSION}); update it"
            )
        assert isinstance(asked, dict)
        return asked

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that drives this run.

        Raises:
            RunFolderError: Another process does.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunFolderError(
                    f"another process runs {self.path.name} now; watch it with `mini watch {self.path.name}`, "
                    f"or stop it with `mini cancel {self.path.name}`"
                ) from None
            except OSError:  # a file system without locks
                pass
            (self.path / CANCEL).unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    def is_driven(self) -> bool:
        """Whether a process on this machine drives this run now."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def cancel(self) -> None:
        """Ask whoever drives this run to stop it."""
        (self.path / CANCEL).touch()

    def is_cancelled(self) -> bool:
        """Whether somebody wants this run to stop."""
        return (self.path / CANCEL).exists()

    def has_run(self) -> bool:
        """Whether a run began here."""
        return (self.path / JOBS).exists()

    def set_aside(self) -> None:
        """Rename the folder, if a run left something in it, by the time of its last change."""
        if any((self.path / name).exists() for name in _OF_A_RUN):
            changed = time.strftime("%Y%m%d-%H%M%S", time.localtime(self.path.stat().st_mtime))
            names = itertools.chain([changed], (f"{changed}-{i}" for i in itertools.count(2)))
            aside = next(p for name in names if not (p := self.path.with_name(f"{self.path.name}~{name}")).exists())
            self.path.rename(aside)

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"cannot write the run folder {self.path}: {error.strerror or error}; "
            "choose another with hydra.sweep.dir=FOLDER"
        )

    def forget(self) -> None:
        """Remove the folder if no run began in it: if it is empty, or has only what Hydra's sweeper left."""
        with contextlib.suppress(OSError):
            if not {path.name for path in self.path.iterdir()} - {MULTIRUN}:
                (self.path / MULTIRUN).unlink(missing_ok=True)
                self.path.rmdir()

    def require_new(self) -> None:
        """Refuse a folder that a run has left something in, or that cannot be written.

        Raises:
            RunFolderError: The folder holds a run, or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from error
        for name in _OF_A_RUN:
            if (self.path / name).exists():
                raise self._in_use(name)

    def require_free(self, jobs: Iterable[Job]) -> None:
        """Refuse jobs whose folder is in use, by another job or by files from before.

        Raises:
            RunFolderError: Naming the folder.
        """
        taken: dict[str, int] = {}
        for job in jobs:
            assert job.folder is not None
            if job.folder in taken:
                raise RunFolderError(
                    f"jobs {taken[job.folder]} and {job.index} would both write to {job.folder}; "
                    "let hydra.sweep.subdir differ between them, for instance ${hydra.job.num}"
                )
            taken[job.folder] = job.index
            if Path(job.folder).is_dir() and next(Path(job.folder).iterdir(), None):
                raise RunFolderError(
                    f"the folder of job {job.index}, {job.folder}, is not empty, and is never overwritten; "
                    "choose another with hydra.sweep.dir=FOLDER, or remove it"
                )

    def add_jobs(self, jobs: Iterable[Job]) -> None:
        """Note jobs that are about to run, in `jobs.jsonl`."""
        lines = []
        for job in jobs:
            assert job.folder is not None
            line = {"index": job.index, "folder": os.path.relpath(job.folder, self.path), "key": job.key}
            lines.append(_dump(line | {"row": _split_nonfinite(job.row)[0]}) + b"\n")
        with (self.path / JOBS).open("ab") as file:
            file.write(b"".join(lines))

    def jobs(self) -> list[dict[str, Any]]:
        """The lines of `jobs.jsonl`, `folder` made absolute.

        Raises:
            RunFolderError: There is no run here.
            RecordError: The file is damaged.
        """
        return [{**job, "folder": self.path / job["folder"]} for job in self.lines()]

    def lines(self) -> list[dict[str, Any]]:
        """As `jobs`, `folder` relative to the run's: a path for each of many thousands takes its time."""
        path = self.path / JOBS
        try:
            jobs = json.loads(b"[" + b",".join(path.read_bytes().splitlines()) + b"]")
            by_index = {job["index"]: job for job in jobs}
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is not a run folder: it has no {JOBS}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error}") from error
        return [by_index[index] for index in sorted(by_index)]  # of a job that was asked for again, the last line

    def records(self) -> Iterator[tuple[dict[str, Any], Record | RecordError | None]]:
        """Each job's line with its record; None where there is none yet, the error where it is damaged."""
        many = self.many_records()
        for job in self.jobs():
            found: Record | RecordError | None = None
            try:
                found = read_record(job["folder"])
            except FileNotFoundError:
                pass
            except RecordError as error:
                found = error
            if job["index"] in many:
                attempt, line, path = many[job["index"]]
                if not isinstance(found, Record) or found.outcome.attempt < attempt:
                    try:
                        found = decode_record(line, job["folder"], path)
                    except RecordError as error:
                        found = error
            yield job, found

    def many_states(self) -> dict[int, tuple[int, str]]:
        """Attempt and state in the files that hold many records, by index."""
        return {
            index: (attempt, json.loads(line)["state"]) for index, (attempt, line, _) in self.many_records().items()
        }

    def many_files(self) -> list[Path]:
        """The files that hold many records."""
        return sorted((self.path / RECORDS).glob("*.jsonl"))

    def many_records(self) -> dict[int, tuple[int, bytes, Path]]:
        """Attempt, line and file of each record in the files that hold many, by index; of several attempts the last."""
        found: dict[int, tuple[int, bytes, Path]] = {}
        for path in self.many_files():
            for line in path.read_bytes().splitlines():
                brief = _BRIEF.match(line)
                if brief is None or not line.endswith(b"}"):
                    continue  # cut off while it was written: the record in the job's folder has it
                index, attempt = int(brief[1]), int(brief[2])
                if index not in found or found[index][0] <= attempt:
                    found[index] = (attempt, line, path)
        return found


def flatten(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level, keys joined by dots; numbers of foreign libraries become Python's.

    Args:
        value: A mapping of mappings, lists and scalars.
        prefix: What every key begins with.

    Returns:
        Flat columns: None, bool, int, float, str, or JSON text for a list.
    """
    flat: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, Mapping):
            flat.update(flatten(part, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = plain(part)
    return flat


def plain(value: Any) -> Any:
    """A value as a column can hold it: None, bool, int, float or str."""
    # Subclasses (enums, numpy.float64) become what they are a kind of.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple):
        return json.dumps([plain(part) for part in value])
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # numpy, JAX and torch scalars
        return plain(value.item())
    return str(value)


def _split_nonfinite(row: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    finite: dict[str, Any] = {}
    nonfinite = []
    for column, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            nonfinite.append([column, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"])
            finite[column] = None
        else:
            finite[column] = value
    return finite, nonfinite


def _dump(value: Any, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    return json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=str).encode(
        errors="backslashreplace"
    )
