"""A job's record: an outcome as one line of JSON, and back. The only module that knows these bytes.

JSON has no NaN and no infinity, and a diverged loss is a result: such a value is null in its place, and `nonfinite`
lists where it was and what (`[["loss", "nan"]]`). Any reader of JSON can read a record.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mini.errors import RecordError, StorageError
from mini.job import Failure, Outcome, State
from mini.runs import layout
from mini.runs.files import dump_json, write_atomically
from mini.runs.jobs import JobLine
from mini.runs.values import NONFINITE, split_nonfinite

_BEGINNING = re.compile(rb'\{"version":\d+,"index":(\d+),"key":"[^"\\]*","state":"(\w+)","attempt":(\d+),')
_ADVICE = "the job counts as unreadable, and `mini retry` runs it again"
_END = (b"}\n", b"}")
_VALUE_ENTRY = b',"pickled":'  # the last entry
_INLINE_VALUE = 64 * 1024  # bytes; a larger returned value stays out of the record
_HEAD_SIZE = 4096  # bytes; `_BEGINNING` matches in them, and most records are no longer


@dataclass(frozen=True)
class Record:
    """A job's record, read back.

    Args:
        outcome: What became of the job.
        row: Its flat columns, NaN and infinities in their places.
    """

    outcome: Outcome
    row: Mapping[str, Any]

    @property
    def head(self) -> RecordHead:
        """What its beginning says."""
        return RecordHead(self.outcome.index, self.outcome.attempt, self.outcome.state.value)


class RecordHead(NamedTuple):
    """The beginning of a record: what can be told of it without parsing the rest."""

    job: int
    attempt: int
    state: str

    @property
    def rank(self) -> tuple[bool, int]:
        """Of two records of a job the one with the higher rank stands: a result, else the later attempt."""
        return self.state == State.DONE.value, self.attempt


@dataclass(frozen=True)
class BulkRecord:
    """One record among the many of a file."""

    head: RecordHead
    line: bytes
    path: Path


# Writing.


def write_record(outcome: Outcome, row: Mapping[str, Any]) -> None:
    """Write a job's record, unless a later attempt or a finished one of the same attempt stands there already.

    Args:
        outcome: What became of the job; `folder` must be set.
        row: Flat columns: what was known of the job before, and what it returned.

    Raises:
        StorageError: The folder cannot be written; what was recorded before stands.
    """
    assert outcome.folder is not None
    folder = Path(outcome.folder)
    try:
        _write_record(folder, outcome, row)
    except OSError as error:
        raise StorageError(
            f"cannot record job {outcome.index} in {folder}: {error.strerror or error}; make room or make the folder "
            f"writable, and `mini retry {folder.parent.name}` runs what is not recorded"
        ) from error


def _write_record(folder: Path, outcome: Outcome, row: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        with contextlib.suppress(RecordError, FileNotFoundError):
            before = read_record(folder)
            if before.outcome.attempt > outcome.attempt or (before.outcome.ok and not outcome.ok):
                return
        record = encode_record(outcome, row)
        if outcome.pickled is not None and len(outcome.pickled) > _INLINE_VALUE:
            write_atomically(folder / layout.VALUE, outcome.pickled)
        write_atomically(folder / layout.RECORD, record)
    (folder / layout.LIVE).unlink(missing_ok=True)


def encode_record(outcome: Outcome, row: Mapping[str, Any]) -> bytes:
    """A record as its line of JSON.

    Args:
        outcome: What became of the job.
        row: As for `write_record`.
    """
    finite, nonfinite = split_nonfinite(row)
    failure = outcome.failure
    inline = outcome.pickled is not None and len(outcome.pickled) <= _INLINE_VALUE
    record = {
        "version": layout.VERSION,
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
    return dump_json(record) + b"\n"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from looking at a record and replacing it meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system locks; there only one process writes a record
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# Reading.


def read_record(folder: Path) -> Record:
    """Read a job's record.

    Raises:
        FileNotFoundError: There is none: the job has not finished.
        RecordError: It is damaged or cannot be read; the message names the file.
    """
    path = folder / layout.RECORD
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path} is not there") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return decode_record(data, folder, path)


def read_value(folder: Path, outcome: Outcome) -> Outcome:
    """A recorded outcome with its value, where that is too large for the record.

    Raises:
        RecordError: The file with the value is not there.
    """
    if not outcome.ok or outcome.pickled is not None:
        return outcome
    try:
        return replace(outcome, pickled=(folder / layout.VALUE).read_bytes())
    except FileNotFoundError as error:
        raise RecordError(
            f"{folder / layout.VALUE} is not there, and the record needs it; the value is lost"
        ) from error


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
            failure=None if failure is None else Failure(failure["type"], failure["message"], failure["traceback"]),
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
        raise RecordError(f"{path} is damaged ({_reason(error)}); {_ADVICE}") from error
    return Record(outcome, row)


def _unreadable(path: Path | str, error: OSError) -> RecordError:
    return RecordError(f"cannot read {path}: {error.strerror or error}; {_ADVICE}")


def _reason(error: Exception) -> str:
    """What is wrong with a record, in a few words."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def read_head(path: str) -> RecordHead | None:
    """The beginning of a record, or None where there is no such file.

    With as few calls as can be: most records end within the first bytes that are read.

    Raises:
        RecordError: It is damaged, cut off or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            begin = os.read(handle, _HEAD_SIZE)
            end = begin if len(begin) < _HEAD_SIZE else os.pread(handle, 2, os.fstat(handle).st_size - 2)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    head = parse_head(begin)
    if head is None or not end.endswith(_END):
        raise RecordError(f"{path} is damaged; {_ADVICE}")
    return head


def parse_head(line: bytes) -> RecordHead | None:
    """What the beginning of a record says; None where it is not one."""
    found = _BEGINNING.match(line)
    if found is None:
        return None
    job, state, attempt = found.groups()
    return RecordHead(int(job), int(attempt), state.decode())


# For those who parse many at once.


def without_value(line: bytes) -> bytes | None:
    """A record up to its value, its closing brace left out; None if it is cut off."""
    place = line.rfind(_VALUE_ENTRY)
    return line[:place] if place >= 0 and line.endswith(_END) else None


def is_beginning(text: bytes) -> bool:
    """Whether this may be what `without_value` or `queued_line` gave."""
    return _BEGINNING.match(text) is not None or text.startswith(b'{"index":')


def queued_line(index: int, row: Mapping[str, Any]) -> bytes:
    """What `without_value` would give of a job that has no record yet."""
    return dump_json({"index": index, "state": State.QUEUED.value, "row": row, "nonfinite": []})[:-1]


def entry_name(column: str) -> bytes:
    """A column's name as a record has it. In text a quote is escaped, so what is found is a name and nothing else."""
    return json.dumps(column, ensure_ascii=False).encode() + b":"


# Many to a file.


def bulk_files(run: Path) -> list[Path]:
    """The files of a run folder that hold many records."""
    return sorted((run / layout.RECORDS).glob("*.jsonl"))


def read_bulk(run: Path) -> tuple[dict[int, BulkRecord], list[str]]:
    """Read those files.

    Args:
        run: The run's folder.

    Returns:
        The records by index, of several of a job the one that stands; and a sentence for each damaged line or file, but
        not for a line of a job whose record is on another line.
    """
    found: dict[int, BulkRecord] = {}
    damaged: list[tuple[int | None, str]] = []
    for path in bulk_files(run):
        try:
            data = path.read_bytes()
        except OSError as error:
            damaged.append((None, f"cannot read {path}: {error.strerror or error}; its records are left out"))
            continue
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            head = parse_head(line)
            if head is None and number == len(lines) and not line.endswith(b"\n"):
                break  # it is being written
            if head is None or not line.endswith(_END):
                where = f"{path}, line {number}, is damaged; its record is left out"
                damaged.append((head.job if head is not None else None, where))
            elif head.job not in found or found[head.job].head.rank <= head.rank:
                found[head.job] = BulkRecord(head, line, path)
    return found, [sentence for job, sentence in damaged if job not in found]


def read_standing(
    jobs: Iterable[JobLine], bulk: Mapping[int, BulkRecord]
) -> Iterator[tuple[JobLine, Record | RecordError | None]]:
    """Each job with the record that stands.

    Args:
        jobs: The jobs.
        bulk: The records that are many to a file.

    Yields:
        The job and its record; None where there is none yet, the error where it is damaged.
    """
    for job in jobs:
        path = Path(job.folder)
        found: Record | RecordError | None = None
        try:
            found = read_record(path)
        except FileNotFoundError:
            pass
        except RecordError as error:
            found = error
        other = bulk.get(job.index)
        if other is not None and (not isinstance(found, Record) or other.head.rank > found.head.rank):
            try:
                found = decode_record(other.line, path, other.path)
            except RecordError as error:
                found = found or error
        if isinstance(found, Record) and not job.key:  # its line in the list is damaged: the record has the key too
            job = job._replace(key=found.outcome.key)
        yield job, found
