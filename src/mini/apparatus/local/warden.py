"""The process between a client and its worker: when one of them ends, so does all that the jobs have started.

A worker starts as one process and splits in two. The warden leads a session of its own and waits; its child runs the
jobs. When the client goes, however it went, or asks for it, the warden ends the child and every process below it. When
the child goes, the warden ends what it left and tells the client how it went. Imports little: it is small and starts
before anything else does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from mini import machine

GRACE = 3.0
"""Seconds from the request to end (SIGTERM) to the end of all processes (SIGKILL)."""

CODE = struct.Struct("!i")
"""What the client is told at the end: the worker's exit code, or minus the signal that ended it."""

_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP)
_ROUNDS = 100  # of looking for processes that are left; each may have started others meanwhile


def split(control: int) -> None:
    """Split this process in two. Returns in the child only, which leads a process group of its own.

    Args:
        control: A socket to the client. When its other end is shut, the worker ends.
    """
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    asked: list[int] = []
    for number in _HANDLED:
        signal.signal(number, lambda received, _: asked.append(received))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(woken)
    machine.adopt_orphans()
    warden = os.getpid()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # the child has done it already
            os.setpgid(child, child)
        _watch(control, wake, child, asked)
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    machine.end_with(warden)
    os.setpgid(0, 0)
    for handle in (control, wake, woken):
        os.close(handle)


def _watch(control: int, wake: int, child: int, asked: list[int]) -> None:
    """The life of the warden. Does not return."""
    code: int | None = None
    deadline: float | None = None
    try:
        while True:
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            waits = [wake] if deadline is not None else [wake, control]
            readable, _, _ = select.select(waits, [], [], patience)
            if wake in readable:
                os.read(wake, 512)
            code = _reap(child)
            if code is not None:
                break
            if deadline is None and (control in readable or {signal.SIGTERM, signal.SIGHUP} & {*asked}):
                deadline = time.monotonic() + GRACE
                with contextlib.suppress(OSError):
                    os.killpg(child, signal.SIGTERM)
            elif deadline is not None and time.monotonic() >= deadline:
                os.kill(child, signal.SIGKILL)
                deadline += 0.1
    finally:
        _end_all()
        with contextlib.suppress(OSError):
            os.write(control, CODE.pack(code if code is not None else 1))
        os._exit(0)


def _reap(child: int) -> int | None:
    """The exit code of the child, if it is over; other processes that have ended here are forgotten."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return code


def _end_all() -> None:
    """End every process that is left below this one, or in its session."""
    for _ in range(_ROUNDS):
        _reap(0)
        left = _left()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def end_orphans(warden: int, mark: bytes) -> None:
    """End what a warden would have ended, that was itself ended by force.

    Args:
        warden: Its number, which is that of its session.
        mark: What the environment of all that it started has. Only Linux shows it; elsewhere a process that has left
            the session stays.
    """
    for _ in range(_ROUNDS):
        left = _of_session(_parents(), warden) | (_marked(mark) if sys.platform == "linux" else set())
        left -= {warden, os.getpid()}
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: bytes) -> set[int]:
    found = set()
    for pid in _parents():
        with contextlib.suppress(OSError):  # it is gone, or another user's
            if mark in Path(f"/proc/{pid}/environ").read_bytes():
                found.add(pid)
    return found


def _of_session(pids: Iterable[int], session: int) -> set[int]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                found.add(pid)
    return found


def _left() -> list[int]:
    me, session = os.getpid(), os.getsid(0)
    if sys.platform == "linux":
        try:  # all that is left below is a child of this process, or a child of one
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
    parents = _parents()
    below = {me}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return sorted((below | _of_session(parents, session)) - {me})


def _parents() -> dict[int, int]:
    """The parent of each process of this machine; those that have ended and only wait to be forgotten left out."""
    parents: dict[int, int] = {}
    if sys.platform == "linux":
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(path.parent.name)] = int(parent)
        return parents
    import subprocess  # on Linux a warden can do without it

    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        pid, parent, state = line.split()[:3]
        if not state.startswith("Z"):
            parents[int(pid)] = int(parent)
    return parents
