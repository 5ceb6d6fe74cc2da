"""What one job changes in its process must not reach the next: a snapshot of a process, and the way back to it.

What cannot be put back (imported modules, threads, what native libraries hold) stays; a job that needs a process of
its own asks for one with `apparatus.fresh=true`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

_STANDARD = (0, 1, 2)
_HIGH = 64  # above what jobs usually have open: who closes "all" files seldom gets there
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGUSR2")
)


class Snapshot:
    """A process as it is now.

    That is: working directory, umask, environment, signal handlers and timers, logging, warnings, `sys.path` and its
    like, and where its standard files go.

    Args:
        shared: Whether the process is the user's own, whose standard files and random numbers are left alone.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._cwd = _cwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._environment, self._variables = dict(os.environ), dict(_variables())
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._sys = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr", "excepthook")}
        lists: Any = (sys.path, sys.argv, sys.meta_path, warnings.filters)
        self._lists = [(values, list(values)) for values in lists]
        self._recursion = sys.getrecursionlimit()
        self._logging = _Logging()
        self._files = {} if shared else {fd: _keep(fd) for fd in _STANDARD}

    def restore(self) -> bool:
        """Put all back.

        Returns:
            Whether that was possible. If not, no other job should run in this process.
        """
        try:
            for fd, kept in self._files.items():
                os.dup2(kept, fd, inheritable=True)
            if _cwd() != self._cwd:
                os.chdir(self._cwd or "/")
        except OSError:
            return False
        os.umask(self._umask)
        if _variables() != self._variables:
            os.environ.clear()
            os.environ.update(self._environment)
        if threading.current_thread() is threading.main_thread():
            self._restore_signals()
        for name, value in self._sys.items():
            setattr(sys, name, value)
        for values, before in self._lists:
            if values != before:
                values[:] = before
        sys.setrecursionlimit(self._recursion)
        self._logging.restore()
        if not self._shared:
            _reseed()
        self._reopen()
        return True

    def _reopen(self) -> None:
        """New streams in the place of those that the job has closed."""
        for fd, name in ((1, "stdout"), (2, "stderr")):
            stream = self._sys[name]
            if stream is not None and stream.closed:
                new = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
                self._sys[name] = new
                setattr(sys, name, new)

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


class _Logging:
    """The root logger's handlers, and the levels of all loggers."""

    def __init__(self) -> None:
        root = logging.getLogger()
        self._root, self._manager = root, root.manager
        self._handlers, self._level, self._disabled = list(root.handlers), root.level, root.manager.disable
        self._known: dict[str, tuple[logging.Logger, int, bool]] = {}
        self._count = 0
        self._learn(own=True)

    def restore(self) -> None:
        if self._root.handlers != self._handlers:
            added = [handler for handler in self._root.handlers if handler not in self._handlers]
            self._root.handlers[:] = self._handlers
            for handler in added:
                if isinstance(handler, logging.FileHandler):  # else each job would leave an open file
                    handler.close()
        if self._root.level != self._level:
            self._root.setLevel(self._level)
        if self._manager.disable != self._disabled:
            logging.disable(self._disabled)
        for logger, level, disabled in self._known.values():
            if logger.level != level:
                logger.setLevel(level)
            if logger.disabled is not disabled:
                logger.disabled = disabled
        if len(self._manager.loggerDict) != self._count:
            self._learn(own=False)

    def _learn(self, own: bool) -> None:
        """Take note of new loggers. A level that a library gave its own stays; what a job gave to others goes."""
        for name, logger in list(self._manager.loggerDict.items()):
            if isinstance(logger, logging.Logger) and name not in self._known:
                if not own and name.partition(".")[0] not in sys.modules:
                    logger.setLevel(logging.NOTSET)
                self._known[name] = logger, logger.level, logger.disabled
        self._count = len(self._manager.loggerDict)


def _variables() -> dict[Any, Any]:
    """The environment as Python keeps it: to compare that takes a fiftieth of the time."""
    return getattr(os.environ, "_data", None) or dict(os.environ)


def _cwd() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - for each job
    except OSError:  # it is gone
        return None


def _keep(fd: int) -> int:
    """A copy of a standard file, or of nothing where it is closed."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _reseed() -> None:
    """Let random numbers be as in a new process: not those that the job before would have had next.

    To put the state itself back would give all jobs of a process the same numbers.
    """
    if "random" in sys.modules:
        sys.modules["random"].seed(int.from_bytes(os.urandom(16)))
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        with contextlib.suppress(Exception):  # half imported
            numpy.seed(int.from_bytes(os.urandom(4)))  # without an argument it takes fifty times as long
