"""The list of a run's jobs, `jobs.jsonl`: a line of JSON for each job. The only module that knows these lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mini.errors import RunFolderError
from mini.job import Job
from mini.runs import layout
from mini.runs.files import dump_json
from mini.runs.values import split_nonfinite

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what damaged JSON raises when it is read
_BEGINNING = re.compile(rb'\{"index":(\d+),"folder":("(?:[^"\\]|\\.)*"),')
"""What a torn line must still have for its job to be known."""


class JobLine(NamedTuple):
    """A job as the run's list of jobs has it.

    Args:
        index: The job's index.
        folder: The job's folder, absolute.
        key: The job's key; may be empty.
        row: What was known of the job before it ran: flat columns.
    """

    index: int  # type: ignore[assignment]  # a tuple has a method of this name, which nobody needs here
    folder: str
    key: str
    row: Mapping[str, Any]


def append_jobs(run: Path, jobs: Iterable[Job]) -> None:
    """Add jobs to the list; the lines of earlier jobs stay as they are.

    Args:
        run: The run's folder.
        jobs: Jobs with folders.
    """
    lines = []
    for job in jobs:
        assert job.folder is not None
        line = {"index": job.index, "folder": os.path.relpath(job.folder, run), "key": job.key}
        lines.append(dump_json(line | {"row": split_nonfinite(job.row)[0]}) + b"\n")
    with (run / layout.JOBS).open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that was cut off must not take the next one with it
                lines.insert(0, b"\n")
        data = b"".join(lines)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)
            raise


def read_jobs(run: Path) -> tuple[list[JobLine], list[str]]:
    """Read the list.

    Args:
        run: The run's folder.

    Returns:
        The jobs by index, of a job that was listed again the last line; and a sentence for each damaged line whose
        job is not listed again. The job of a line that was cut off stays in the list if its index and folder can still
        be read.

    Raises:
        RunFolderError: There is no run, or the list cannot be read.
    """
    path = run / layout.JOBS
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError as error:
        raise RunFolderError(f"{run} is not a run folder: it has no {layout.JOBS}") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    within = str(run)
    damaged: list[tuple[int | None, str]] = []
    try:
        intact = [_job_line(raw, within) for raw in json.loads(b"[" + b",".join(lines) + b"]")]
        by_index = {job.index: job for job in intact}
    except _DAMAGE:
        by_index = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                job = _job_line(json.loads(line), within)
                by_index[job.index] = job
                damaged = [(index, text) for index, text in damaged if index != job.index]  # it was listed again
            except _DAMAGE:
                rescued = _rescue(line, within)
                lost = f"what job {rescued.index} was given is lost" if rescued else "its job is not listed"
                index = rescued.index if rescued else None
                damaged.append((index, f"{path}, line {number}, is damaged: {lost}; the job's folder is as it was"))
                if rescued:
                    by_index.setdefault(rescued.index, rescued)
    return [by_index[index] for index in sorted(by_index)], [text for _, text in damaged]


def _job_line(raw: Mapping[str, Any], run: str) -> JobLine:
    index, folder, row = raw["index"], raw["folder"], raw.get("row") or {}
    if type(index) is not int or type(folder) is not str or type(row) is not dict:
        raise TypeError("a line of jobs.jsonl has an integer, a text and an object")
    return JobLine(index, f"{run}/{folder}", raw.get("key") or "", row)


def _rescue(line: bytes, run: str) -> JobLine | None:
    """The job of a damaged line, if it can be told which one it is."""
    found = _BEGINNING.match(line)
    if found is None:
        return None
    try:
        return JobLine(int(found[1]), f"{run}/{json.loads(found[2])}", "", {})
    except ValueError:
        return None
