"""What the control plane remembers."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modal_proto import api_pb2


@dataclass
class Faults:
    """What shall go wrong, on request of a test.

    Args:
        kill_every: Kill the container at every nth input it is given, before it has answered; 0 never.
        refuse_token: Refuse whatever token comes.
        delay: Seconds before each answer.
        drop_first: How many calls lose their connection first.
        build_log: Fail every image build, with this log.
        startup_exit: Containers exit with this code at once; None lets them start.
        expire: Results are gone.
        out_of_memory: The container of every input is said to have run out of memory.
    """

    kill_every: int = 0
    refuse_token: bool = False
    delay: float = 0.0
    drop_first: int = 0
    build_log: str | None = None
    startup_exit: int | None = None
    expire: bool = False
    out_of_memory: bool = False


@dataclass
class Input:
    """One input of a function call, and how far it is."""

    id: str
    idx: int
    call: Call
    proto: api_pb2.FunctionInput
    retry_count: int = 0
    losses: int = 0
    task_id: str | None = None
    started: float = 0.0
    output: api_pb2.FunctionGetOutputsItem | None = None


@dataclass
class Call:
    """One function call: of a map, all its inputs."""

    id: str
    function: Function
    kind: int
    invocation: int
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)  # of every attempt, as they came
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False

    def notify(self) -> None:
        """Wake all who wait for outputs."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class Function:
    """A function definition, its queue and its containers."""

    id: str
    app_id: str
    name: str
    definition: api_pb2.Function | None = None
    requested: api_pb2.FunctionCreateRequest | None = None
    queue: deque[Input] = field(default_factory=deque)
    waiting: set[asyncio.Future[Input | None]] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)


@dataclass
class App:
    """An app, ephemeral or deployed."""

    id: str
    name: str
    deployed: bool = False
    functions: dict[str, str] = field(default_factory=dict)
    logs: list[api_pb2.TaskLogs] = field(default_factory=list)
    stopped: bool = False


@dataclass
class State:
    """Everything, by id.

    Args:
        folder: Where files are kept: blobs, volumes, containers.
    """

    folder: Path
    faults: Faults = field(default_factory=Faults)
    requests: Counter[str] = field(default_factory=Counter)
    bytes_in: Counter[str] = field(default_factory=Counter)
    apps: dict[str, App] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    failed_builds: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, list[api_pb2.MountFile]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    named: dict[tuple[str, str], str] = field(default_factory=dict)
    dicts: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    queues: dict[str, dict[bytes, deque[bytes]]] = field(default_factory=dict)
    _ids: Any = field(default_factory=itertools.count)

    def new_id(self, prefix: str) -> str:
        """An identifier as Modal makes them."""
        return f"{prefix}-{next(self._ids):022d}"

    def file(self, kind: str, name: str) -> Path:
        """Where a blob, a file of a mount or a block of a volume is kept."""
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name
