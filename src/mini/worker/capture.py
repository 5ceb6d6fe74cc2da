"""Where a job's output goes while it runs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Send all that this process and its children print to a file, at the level of file descriptors.

    What C extensions and subprocesses write arrives too, in the order it was written; a crash loses nothing that
    had left Python's own buffer, which is emptied at each line.

    Args:
        path: The file; appended to, its folder made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    saved = [os.dup(fd) for fd in (1, 2)]
    _flush()
    try:
        for fd in (1, 2):
            os.dup2(log, fd)
        with _log_to_stderr():
            yield
    finally:
        _flush()
        for fd, original in zip((1, 2), saved, strict=True):
            os.dup2(original, fd)
            os.close(original)
        os.close(log)


@contextlib.contextmanager
def tee(path: Path) -> Iterator[None]:
    """Show what Python prints, and write it to a file too; a debugger's prompt goes on working.

    What C extensions and subprocesses write is shown but not in the file.

    Args:
        path: The file; appended to, its folder made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = sys.stdout, sys.stderr
    with path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        # The streams name only their own methods; the rest is the original's.
        sys.stdout, sys.stderr = (_Tee(stream, log) for stream in before)
        try:
            with _log_to_stderr():
                yield
        finally:
            sys.stdout, sys.stderr = before


class _Tee:
    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        if not self._log.closed:  # a logging handler may keep this object for longer than the job
            self._log.write(text)
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Where nobody set up logging, show messages from INFO on."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError, io.UnsupportedOperation, AttributeError):
            stream.flush()
