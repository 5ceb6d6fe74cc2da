"""The process that clears up after a control plane: `python -I -S janitor.py FOLDER…`.

A control plane that is killed can clear up nothing itself. Its janitor waits for its end, whatever it ended of, and
then ends the processes of its containers and removes its folders. It imports the standard library alone, and little
of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_GLANCE = 1.0  # seconds between two looks at whether the parent is there: somebody may hold the other end of the pipe
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # by some interpreters; the janitor has nothing else from here
_ROUNDS = 50  # of looking for processes that are left; each may have started others meanwhile


class Janitor:
    """One of this process. It goes to work when it is told to, and for good when this process has ended.

    Args:
        folders: What it removes at the end. A process with one of their paths in its environment, or that works in one,
            is ended then.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _NEEDED if name in os.environ},
            cwd="/",
            start_new_session=True,
        )

    def end_processes(self, mark: str) -> None:
        """End the processes with a text in their environment, wherever they are. Does not wait for it.

        Args:
            mark: The text, of one line. Whatever starts a process gives it its environment, unless it is told not to.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it was killed; then what is left stays
            self._process.stdin.write(f"{mark}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it clear up, and wait for its end."""
        self._process.communicate()


def _end_processes(mark: bytes, folder: bytes = b"") -> None:
    """End the processes with a text in their environment, or that work in a folder or below it; only Linux tells."""
    for _ in range(_ROUNDS):
        left = _marked(mark, folder)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: bytes, folder: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it is gone, or another user's
            pid = int(path.name)
            if pid == os.getpid() or (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX":
                continue
            works_inside = folder and (os.fsencode((path / "cwd").readlink()) + b"/").startswith(folder + b"/")
            if works_inside or mark in (path / "environ").read_bytes():
                found.append(pid)
    return found


def _main(parent: int, folders: Sequence[str]) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # they are for whom this clears up after
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    said = b""
    while os.getppid() == parent:
        if select.select([0], [], [], _GLANCE)[0]:
            data = os.read(0, 4096)
            if not data:
                break
            *marks, said = (said + data).split(b"\n")
            for mark in filter(None, marks):
                _end_processes(mark)
    for folder in folders:
        _end_processes(os.fsencode(folder), os.fsencode(folder))
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
