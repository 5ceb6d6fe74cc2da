"""What a rehearsal saw that is no failure here, and would cost something on Modal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mini.apparatus.modal.plugin import ModalOptions
from mini.errors import RecordError
from mini.job import Job, Outcome
from mini.loopback.state import LeftBehind
from mini.runs import records

_MIB = 2**20
_DEFAULT = 128  # MiB; what Modal reserves where nothing is said
_WORTH_IT = 8  # times the default: less of it is Python itself
_LINES = 10
_SLACK = 0.05  # seconds a file may be stamped beside its job's times
_NO_MATTER = ("/root/.bash_history", "/root/.python_history", "/.uv/uv")


def vanished(written: Iterable[LeftBehind], outcomes: Mapping[int, Outcome]) -> Iterator[str]:
    """The files that are gone with their containers, with the jobs that wrote them.

    Args:
        written: By the containers.
        outcomes: Of the jobs that ran there, by index.
    """
    by_job: dict[str, list[LeftBehind]] = {}
    for file in sorted(written, key=lambda one: one.path):
        if file.path not in _NO_MATTER:
            by_job.setdefault(_writer(file, outcomes), []).append(file)
    lines = [f"{_names(files)}, {by}" for by, files in by_job.items()]
    for line in lines[:_LINES]:
        yield f"gone with its container: {line}; what is to stay belongs into mini.job_dir() or onto a volume"
    if len(lines) > _LINES:
        yield f"gone with their containers: files of {len(lines) - _LINES} more jobs"


def memory(peaks: Mapping[str, int], options: ModalOptions) -> Iterator[str]:
    """What the memory that was asked for is beside what was used.

    Args:
        peaks: Bytes, by container.
        options: What was asked for.
    """
    peak = max(peaks.values(), default=0) / _MIB
    asked = options.memory
    request, limit = asked if isinstance(asked, tuple) else (asked or _DEFAULT, None)
    if limit is not None and peak > limit:
        yield f"memory: peak {_size(peak)}, limit {_size(limit)}: Modal would have killed the container"
    elif peak > request and (asked is not None or peak > _WORTH_IT * _DEFAULT):
        named = "" if asked is not None else ", the default"
        yield (
            f"memory: peak {_size(peak)}, reserved {_size(request)}{named}: Modal bills the larger, and a hard limit "
            "would have killed it"
        )


def disk(written: Sequence[LeftBehind], options: ModalOptions) -> Iterator[str]:
    """Whether containers wrote more than they asked for.

    Args:
        written: By the containers.
        options: What was asked for.
    """
    used: dict[str, int] = {}
    for file in written:
        used[file.task_id] = used.get(file.task_id, 0) + file.size
    most = max(used.values(), default=0) / _MIB
    if options.ephemeral_disk is not None and most > options.ephemeral_disk:
        yield f"disk: {_size(most)} written outside of volumes, asked for {_size(options.ephemeral_disk)}"


def outcomes(jobs: Iterable[Job]) -> dict[int, Outcome]:
    """What was recorded of jobs, by index."""
    found = {}
    for job in jobs:
        if job.folder is not None:
            with contextlib.suppress(OSError, RecordError):
                found[job.index] = records.read_record(Path(job.folder)).outcome
    return found


def _writer(file: LeftBehind, known: Mapping[int, Outcome]) -> str:
    for index, outcome in known.items():
        here: Any = outcome.where.get("task")
        if here != file.task_id or outcome.started is None or outcome.ended is None:
            continue
        if outcome.started - _SLACK <= file.written <= outcome.ended + _SLACK:
            return f"written by job {index}"
    return "written by no job that is recorded"


def _names(files: Sequence[LeftBehind]) -> str:
    """A few files by name; many by their folder."""
    if len(files) <= 3:
        return ", ".join(f"{one.path} ({_size(one.size / _MIB)})" for one in files)
    top = PurePosixPath(files[0].path).parent
    while any(top not in PurePosixPath(one.path).parents for one in files):
        top = top.parent
    total = _size(sum(one.size for one in files) / _MIB)
    return f"{len(files)} files in {top} ({total}), such as {files[0].path}"


def _size(mib: float) -> str:
    if mib >= 1024:
        return f"{mib / 1024:.1f} GiB"
    return f"{mib:.0f} MiB" if mib >= 1 else f"{mib * 1024:.0f} KiB" if mib >= 1 / 1024 else f"{mib * _MIB:.0f} bytes"
