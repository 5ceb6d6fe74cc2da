"""What the control plane remembers."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.crashes import CrashLoop
from mini.loopback.sandbox import Sandbox

_Value = TypeVar("_Value")

QueueItem = tuple[int, bytes]
"""An item of a queue: its number, by which a reader goes on, and its value."""

SILENCE = 90.0
"""Seconds; Modal's client sends a heartbeat every 15."""

MAIN = "main"
"""The environment that is there from the start, and that a client means which names none."""


@dataclass
class Refusal:
    """What a call is answered that shall fail, and how many more times; None for ever."""

    status: Status = Status.PERMISSION_DENIED
    times: int | None = None


@dataclass
class Faults:
    """What shall go wrong, on request of a test.

    Args:
        kill_every: Kill the container at every nth input it is given, before it has answered; 0 never.
        preempt_every: Preempt the container at every nth input it is given, as Modal does: SIGINT, and SIGKILL after
            `preempt_grace`. The input goes to another container and loses no attempt. 0 never.
        preempt_grace: Seconds a preempted container has to end by itself; Modal gives about 30.
        cold_start: Seconds a container takes before its process begins.
        refuse: Calls of clients that are refused, by their name.
        refuse_token: Refuse whatever token comes.
        delay: Seconds before each answer.
        drop_first: How many calls lose their connection first.
        build_log: Fail every image build, with this log.
        startup_exit: Containers exit with this code at once; None lets them start.
        expire: Results are gone.
        out_of_memory: The container of every input is said to have run out of memory.
    """

    kill_every: int = 0
    preempt_every: int = 0
    preempt_grace: float = 30.0
    cold_start: float = 0.0
    refuse: dict[str, Refusal] = field(default_factory=dict)
    refuse_token: bool = False
    delay: float = 0.0
    drop_first: int = 0
    build_log: str | None = None
    startup_exit: int | None = None
    expire: bool = False
    out_of_memory: bool = False


class Signal:
    """Wakes everybody who waits for a change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout: float) -> None:
        """Return at the next change, or after some seconds."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return


@dataclass
class Input:
    """One input of a function call, and how far it is."""

    id: str
    idx: int
    call: FunctionCall
    proto: api_pb2.FunctionInput
    retry_count: int = 0
    losses: int = 0
    task_id: str | None = None
    started: float = 0.0
    output: api_pb2.FunctionGetOutputsItem | None = None


@dataclass
class FunctionCall:
    """One call of a function: of a map, all its inputs.

    Args:
        parent: The input whose container made the call; empty where a client did.
    """

    id: str
    function: Function
    kind: int
    invocation: int
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)  # of every attempt, as they came
    yielded: list[api_pb2.DataChunk] = field(default_factory=list)  # what a generator has yielded so far
    changed: Signal = field(default_factory=Signal)
    parent: str = ""
    cancelled: bool = False
    created: float = field(default_factory=time.time)


@dataclass
class Function:
    """A function definition, its queue and its containers.

    Args:
        base: The function that this is a variant of, by parameters or by options; empty for one that is none.
        parameters: Of a class with parameters: the serialized values this variant is bound to.
        options: What differs in this variant.
    """

    id: str
    app_id: str
    name: str
    definition: api_pb2.Function | None = None
    base: str = ""
    announced: api_pb2.FunctionPrecreateRequest | None = None
    parameters: bytes = b""
    options: api_pb2.FunctionOptions = field(default_factory=api_pb2.FunctionOptions)
    queue: deque[Input] = field(default_factory=deque)
    waiting: set[asyncio.Future[Input | None]] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    crashes: CrashLoop = field(default_factory=CrashLoop)

    @property
    def created(self) -> api_pb2.Function:
        """The definition.

        Raises:
            GRPCError: It was announced and not created yet.
        """
        if self.definition is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Function '{self.name}' is not created yet")
        return self.definition


@dataclass
class App:
    """An app, ephemeral or deployed."""

    id: str
    name: str
    deployed: bool = False
    detached: bool = False
    ephemeral: bool = False  # ends with its client
    left: bool = False  # detached, and its client is gone
    environment: str = MAIN
    tags: dict[str, str] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
    logged: Signal = field(default_factory=Signal)
    created: float = field(default_factory=time.time)
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    heard: float = field(default_factory=time.monotonic)  # when its client last said that it is there
    over: bool = False  # stopped, and its last container is gone

    @property
    def stopped(self) -> bool:
        """Whether nothing runs there any more."""
        return self.stopped_at > 0


@dataclass(frozen=True)
class Published:
    """A version of a deployed app."""

    version: int
    time: float
    request: api_pb2.AppPublishRequest


@dataclass(frozen=True)
class LogLine:
    """Something a container printed, or the control plane said of it."""

    text: str
    source: api_pb2.FileDescriptor.ValueType
    task_id: str
    function_id: str
    call_id: str = ""
    input_id: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class LeftBehind:
    """A file that went with its container.

    Args:
        task_id: The container.
        path: The file's path there.
        size: In bytes.
        written: When, as Unix time.
    """

    task_id: str
    path: str
    size: int
    written: float


@dataclass
class PlaneState:
    """Everything, by id.

    Args:
        folder: Where files are kept: blobs, volumes, containers.
        sockets: Where containers' sockets are.
        silence: Seconds without a heartbeat after which the client of an ephemeral app is gone.
        token: Which a client must send: its id, and its secret.
        sandbox: What containers are made of; None where they are processes among this machine's.
        data: A folder with the variables of named secrets and the files of named volumes, which are not kept here.
        left_behind: What containers wrote that nobody keeps.
        notify: Takes what a person shall be told.
    """

    folder: Path
    sockets: Path
    faults: Faults = field(default_factory=Faults)
    silence: float = SILENCE
    token: tuple[str, str] = field(
        default_factory=lambda: (f"ak-{secrets.token_urlsafe(16)}", f"as-{secrets.token_urlsafe(32)}")
    )
    requests: Counter[str] = field(default_factory=Counter)
    bytes_in: Counter[str] = field(default_factory=Counter)
    apps: dict[str, App] = field(default_factory=dict)
    environments: dict[str, float] = field(default_factory=lambda: {MAIN: time.time()})  # when each was made
    deployments: dict[tuple[str, str], str] = field(default_factory=dict)  # by environment and name
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    calls: dict[str, FunctionCall] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    failed_builds: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, list[api_pb2.MountFile]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    named: dict[tuple[str, str, str], str] = field(default_factory=dict)  # by kind, environment and name
    created: dict[str, float] = field(default_factory=dict)  # when what is in `named` was
    dicts: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    queues: dict[str, dict[bytes, deque[QueueItem]]] = field(default_factory=dict)
    volumes: dict[str, Path] = field(default_factory=dict)
    volume_versions: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, Path] = field(default_factory=dict)
    sandbox: Sandbox | None = None
    data: Path | None = None
    left_behind: list[LeftBehind] = field(default_factory=list)
    notify: Callable[[str], None] = field(default=lambda text: None)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(secrets.randbelow(10**12) * 10**9))

    def environment(self, name: str) -> str:
        """The environment a client means.

        Args:
            name: As it says it; empty for the default.

        Raises:
            GRPCError: There is no such environment.
        """
        if name and name not in self.environments:
            raise GRPCError(Status.NOT_FOUND, f"Environment '{name}' not found")
        return name or MAIN

    def new_id(self, prefix: str) -> str:
        """An identifier as Modal makes them, which no other control plane of this machine has.

        What a container has left is ended by its identifier, whoever started it.
        """
        return f"{prefix}-{next(self._ids):022d}"

    def path(self, kind: str, name: str) -> Path:
        """Where something is kept whose name the control plane made itself."""
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def content(self, kind: str, digest: str) -> Path:
        """Where something is kept by the SHA-256 of its content.

        Args:
            kind: What it is: a file of a mount, a block of a volume.
            digest: In hexadecimal, as a client says it.

        Raises:
            GRPCError: It is no such digest.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise GRPCError(Status.INVALID_ARGUMENT, f"{digest!r} is not a SHA-256 in hexadecimal")
        return self.path(kind, digest)


def look_up(table: Mapping[str, _Value], key: str, kind: str) -> _Value:
    """What has an id.

    Args:
        table: By id.
        key: The id, as a client says it.
        kind: What it is, for the message.

    Raises:
        GRPCError: There is no such thing.
    """
    try:
        return table[key]
    except KeyError:
        raise GRPCError(Status.NOT_FOUND, f"{kind} '{key}' not found") from None
