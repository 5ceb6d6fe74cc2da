"""The worker processes of a local pool: what they are told when they start, and how they run jobs.

A worker reads requests from a socket: the function, unless it has it already, and the calls of one or several jobs.
Before it begins a job it takes a token from a pipe; whoever sent the jobs takes back those that have not begun by
taking the tokens first. Each outcome is sent as soon as it is there, so that nothing is lost, and no job run twice,
if a later one kills the process.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

LENGTH = struct.Struct("!Q")
"""What comes before each message: how many bytes it has."""

BOOT = (
    "import pickle, sys\n"
    "requests = open(int(sys.argv[1]), 'rb', closefd=False)\n"
    "sys.path[:] = pickle.load(requests)\n"
    "from mini.apparatus.local import warden\n"
    "warden.split(int(sys.argv[2]))\n"
    "from mini.apparatus.local import worker\n"
    "worker.main(requests, *map(int, sys.argv[1:4:2]))\n"
)
"""The program of a worker. Its arguments: the sockets for requests and for its warden, and the pipe with tokens."""

_KEPT = 8  # functions
# What the numerical libraries ask before they start threads; NPROC is XLA's.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "NPROC",
)


@dataclass(frozen=True)
class Setup:
    """What a worker is told when it starts.

    Args:
        argv: The client's command.
        threads: How many a native library may have.
        gpus: The GPUs it may use, as CUDA_VISIBLE_DEVICES names them; None to leave that as it is.
        logs: Whether what jobs print is shown where the client prints, too.
    """

    argv: Sequence[str]
    threads: int
    gpus: str | None
    logs: bool


@dataclass(frozen=True)
class Request:
    """Jobs of one function.

    Args:
        digest: Of the function.
        function: The function and its hooks, pickled; None where the worker has it.
        calls: A pickled `Call` for each job.
    """

    digest: str
    function: bytes | None
    calls: Sequence[bytes]


@dataclass(frozen=True)
class Over:
    """The last message about a request.

    Args:
        goes_on: Whether the worker takes another one.
    """

    goes_on: bool


class Functions:
    """The functions that a worker has: the last few it was sent. Client and worker keep one each, and so agree."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def use(self, digest: str, function: bytes | None = None) -> bytes | None:
        """The function of a digest; None if it is not there and none is given."""
        kept = self._kept.pop(digest, function)
        if kept is not None:
            self._kept[digest] = kept
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept


def message(value: Any) -> bytes:
    """A value as it is sent."""
    data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def main(requests: BinaryIO, answers: int, tokens: int) -> None:
    """Run jobs until the client has no more, then end as any program does: exit handlers run, threads are waited for.

    Args:
        requests: Where they come from.
        answers: The same socket, to write to.
        tokens: Where to take one for each job.
    """
    from mini.worker import capture, execution, isolation

    setup: Setup = _read(requests)
    _prepare(setup)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    where = {"gpu": gpus} if gpus is not None else None
    output = capture.to_file_and_shown if setup.logs else capture.to_file
    functions, here = Functions(), isolation.Snapshot()
    _write(answers, Over(goes_on=True))
    while (request := _read(requests)) is not None:
        function = functions.use(request.digest, request.function)
        assert function is not None
        goes_on = True
        for data in request.calls:
            if not _take(tokens):
                break
            outcome = execution.execute(function, pickle.loads(data), capture=output, where=where)
            goes_on = here.restore()
            _write(answers, pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL))
            if not goes_on:
                break
        _write(answers, Over(goes_on))
        if not goes_on:
            return


def _prepare(setup: Setup) -> None:
    """Prepare the process, before any numerical library is imported."""
    sys.argv[:] = setup.argv
    for name in _THREADS:
        os.environ.setdefault(name, str(setup.threads))
    if setup.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.gpus
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _take(tokens: int) -> bool:
    """Take the token of the next job; False if that was taken back, and so were all after it."""
    try:
        return bool(os.read(tokens, 1))
    except BlockingIOError:
        return False


def _read(requests: BinaryIO) -> Any:
    """The next message; None when there will be no more."""
    head = requests.read(LENGTH.size)
    return pickle.loads(requests.read(*LENGTH.unpack(head))) if len(head) == LENGTH.size else None


def _write(answers: int, value: Any) -> None:
    data = memoryview(message(value))
    while data:
        data = data[os.write(answers, data) :]


def gpus_each(gpu: Any) -> int:
    """How many GPUs each worker gets, by the option `gpu`: 2 for `A100:2`."""
    count = str(gpu).rpartition(":")[2] if isinstance(gpu, str) and ":" in gpu else "1"
    return max(1, int(count)) if count.isdigit() else 1
