"""What a job said while it ran: each call of `progress` with metrics is a row of `history.csv` in its folder.

The file is a line of JSON that names the columns, `{"began":…,"columns":["loss",…]}`, and below it a row of numbers for
each call: the step, the Unix time, and the metrics, empty where the call did not give one. Another such line follows
where a call gives a metric for the first time, and where the job began once more, with another time in `began`. NaN and
infinities are `nan`, `inf` and `-inf`. A last line without its end was cut off, and does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mini.runs import layout
from mini.runs.files import dump_json
from mini.runs.values import valid_text

_INTERVAL = 0.5  # seconds that a row waits at most until it is written
_LARGEST = 2**16  # bytes that wait at most
_HEAD = re.compile(rb'^\{"began":.*\n', re.MULTILINE)


class Block(NamedTuple):
    """Rows with the same columns.

    Args:
        began: When the try of the job began that wrote them: Unix time, in seconds.
        columns: The names of the metrics.
        rows: Lines of `step,time,…`.
    """

    began: float
    columns: tuple[str, ...]
    rows: bytes


class History:
    """Writes the rows of one try of a job, together and not each for itself. A failure to write fails no job.

    Args:
        folder: The job's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / layout.HISTORY
        self._began = time.time()
        self._columns: dict[str, int] = {}
        self._waiting: list[str] = []
        self._size = 0
        self._written = self._began
        self._file: int | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row; it is written within half a second.

        Args:
            step: How many steps are done.
            metrics: By name.
        """
        with self._lock:
            if os.getpid() != self._pid:  # a copy of the job's process: what waits is the original's to write
                self._pid, self._timer = os.getpid(), None
                self._waiting.clear()
                self._size = 0
            now = time.time()
            if not self._columns.keys() >= metrics.keys():
                self._name({*metrics} - self._columns.keys(), metrics)
            cells = "".join([f",{metrics[name]!r}" if name in metrics else "," for name in self._columns])
            self._wait(f"{step},{now:.3f}{cells}\n")
            if self._size > _LARGEST or now - self._written >= _INTERVAL:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(_INTERVAL, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            data = "".join(self._waiting).encode(errors="backslashreplace")
            self._waiting.clear()
            self._size = 0
            self._written = time.time()
            if data and os.getpid() == self._pid:
                try:
                    self._write(data)
                except OSError:  # perhaps in the middle of a row
                    self._close()

    def close(self) -> None:
        """Write what waits, and nothing more."""
        with self._lock:
            self.flush()
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # the job has closed all files
                os.close(self._file)
            self._file = None

    def _name(self, new: set[str], metrics: Mapping[str, float]) -> None:
        for name in metrics:
            if name in new:
                self._columns[name] = len(self._columns)
        head = {"began": self._began, "columns": [valid_text(name) for name in self._columns]}
        self._wait(dump_json(head).decode() + "\n")

    def _wait(self, line: str) -> None:
        self._waiting.append(line)
        self._size += len(line)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            _drop_torn_line(self._file)
        while data:
            data = data[os.write(self._file, data) :]


def _drop_torn_line(file: int) -> None:
    """Remove what a process left that was killed while it wrote, so that the next line is whole."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        tail = os.pread(file, _LARGEST, max(0, size - _LARGEST))
        os.ftruncate(file, size - len(tail) + tail.rfind(b"\n") + 1)


def read_blocks(folder: Path | str) -> list[Block]:
    """A job's rows, oldest first; none where the job said nothing.

    Args:
        folder: The job's folder.

    Raises:
        OSError: The file is there and cannot be read.
    """
    try:
        with open(f"{folder}/{layout.HISTORY}", "rb", buffering=0) as file:  # noqa: PTH123 - as quick as can be
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return list(parse_blocks(data))


def parse_blocks(data: bytes) -> Iterator[Block]:
    """The blocks of such a file.

    Args:
        data: Its content, or what is there of it so far.

    Yields:
        The blocks that have rows. What is below a damaged head is left out.
    """
    data = data[: data.rfind(b"\n") + 1]
    heads = list(_HEAD.finditer(data))
    for i, head in enumerate(heads):
        rows = data[head.end() : heads[i + 1].start() if i + 1 < len(heads) else len(data)]
        if not rows:
            continue
        with contextlib.suppress(ValueError, KeyError, TypeError):
            raw = json.loads(head[0])
            yield Block(float(raw["began"]), tuple(map(str, raw["columns"])), rows)
