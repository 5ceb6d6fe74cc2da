"""Where a job's output goes while it runs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_FOLLOW = 0.2  # seconds between two looks at whether a log has grown
_CHUNK = 2**16  # bytes
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
        with _any_text(), _log_to_stderr():
            yield
    finally:
        _flush()
        with contextlib.suppress(OSError):  # the job has closed all files
            for fd, original in zip((1, 2), saved, strict=True):
                os.dup2(original, fd)
                os.close(original)
            os.close(log)


@contextlib.contextmanager
def to_file_and_shown(path: Path) -> Iterator[None]:
    """As `to_file`; what arrives in the file is shown where this process prints, too.

    A thread follows the file: what a crash leaves unshown is in the file all the same.

    Args:
        path: The file; appended to, its folder made.
    """
    start = path.stat().st_size if path.exists() else 0
    shown, over = os.dup(1), threading.Event()
    thread = threading.Thread(target=_follow, args=(path, start, shown, over), name="mini-log", daemon=True)
    try:
        with to_file(path):
            thread.start()
            yield
    finally:
        over.set()
        thread.join()
        os.close(shown)


def _follow(path: Path, start: int, target: int, over: threading.Event) -> None:
    with path.open("rb", buffering=0) as log, contextlib.suppress(OSError):  # nobody looks any more
        log.seek(start)
        last = b"\n"
        while True:
            is_over = over.is_set()  # before the last look
            while data := log.read(_CHUNK):
                _write(target, data)
                last = data[-1:]
            if is_over:
                if last != b"\n":
                    _write(target, b"\n")  # the table comes next
                return
            over.wait(_FOLLOW)


def _write(target: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]


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


@contextlib.contextmanager
def _any_text() -> Iterator[None]:
    """Let the log be UTF-8 whatever the terminal's encoding is, and no text fail to be printed."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream.encoding, stream.errors) for stream in streams]
    for stream in streams:
        with contextlib.suppress(ValueError):  # closed
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        yield
    finally:
        for stream, (encoding, errors) in zip(streams, before, strict=True):
            with contextlib.suppress(ValueError):
                stream.reconfigure(encoding=encoding, errors=errors)


class _Tee:
    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        if not self._log.closed:  # a logging handler may keep this object for longer than the job
            self._log.write(text)
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:  # the terminal cannot show it; that is no reason for the job to fail
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            return len(text)

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
