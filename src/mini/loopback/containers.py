"""Containers: processes that start with only what was shipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path

from grpclib.server import Server
from modal_proto import api_pb2

from mini import distributions
from mini.loopback import private_mounts, sandbox
from mini.loopback.functions import below_root, layout
from mini.loopback.layers import assigned
from mini.loopback.process import Process
from mini.loopback.state import App, Function, Input, PlaneState, look_up
from mini.loopback.volumes import View

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE")


@dataclass
class Container:
    """One container.

    Args:
        task_id: Its id.
        function: What it serves.
        root: Its own folder; the user's files are under `root/root`.
        views: Its volumes, by id.
        current: The inputs it has in hand, by id.
        waiting: Its requests for inputs that are not answered yet.
        to_cancel: The inputs it shall be told to cancel.
        ready: Whether it has ever asked for an input.
        stopping: Whether it gets no further input.
        preempted: Whether it is taken away, through no fault of its inputs.
        gone: Whether its process has ended.
        failure: Why it could not start, where it could say so.
        definition: What it was started with; its function may have been deployed anew since.
        started: When, in Unix seconds.
        waits: How many of its calls wait for what others do.
        peak: The most memory, in bytes, that it was seen to have.
        out_of_memory: Whether it was ended for its limit of memory.
    """

    task_id: str
    function: Function
    root: Path
    views: dict[str, View] = field(default_factory=dict)
    process: Process | None = None
    server: Server | None = None
    socket: Path = Path()
    current: dict[str, Input] = field(default_factory=dict)
    waiting: set[asyncio.Future[Input | None]] = field(default_factory=set)
    to_cancel: list[str] = field(default_factory=list)
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False
    stopping: bool = False
    preempted: bool = False
    gone: bool = False
    failure: api_pb2.GenericResult | None = None
    definition: api_pb2.Function | None = None
    started: float = field(default_factory=time.time)
    waits: int = 0
    peak: int = 0
    out_of_memory: bool = False

    def stop(self) -> None:
        """Give it no further input; if it waits for one it is told to end."""
        self.stopping = True
        for waiting in self.waiting:
            self.function.waiting.discard(waiting)
            if not waiting.done():
                waiting.set_result(None)

    def interrupt(self) -> None:
        """Send it SIGINT."""
        if self.process is not None:
            self.process.signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with the processes it started."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()


def prepare(state: PlaneState, container: Container, app: App) -> tuple[list[str], dict[str, str]]:
    """Lay out all that a container starts with.

    Returns:
        Its command and its environment; of one with a root of its own the latter, without what the image sets.

    Raises:
        GRPCError: A volume is gone.
        OSError: The disk does not take it.
    """
    function, root = container.function, container.root
    contained = state.sandbox is not None
    files = root / "files" if contained else root
    (files / "root").mkdir(parents=True)
    _lay_out(state, function, files)
    mounts = {}
    for mount in function.created.volume_mounts:
        path = root / "volumes" / mount.volume_id if contained else root / mount.mount_path.lstrip("/")
        committed = look_up(state.volumes, mount.volume_id, "Volume")
        container.views[mount.volume_id] = View(committed, path, read_only=mount.read_only)
        mounts[mount.mount_path] = path
    arguments = root / "arguments"
    arguments.write_bytes(
        api_pb2.ContainerArguments(
            task_id=container.task_id,
            function_id=function.id,
            app_id=app.id,
            function_def=function.created,
            serialized_params=function.parameters,
            app_layout=layout(state, app),
            environment_name=app.environment,
        ).SerializeToString()
    )
    container.socket = state.sockets / container.task_id[-8:]
    if contained:
        return [], {**_contained_environment(state, function, root), "MODAL_ENVIRONMENT": app.environment}
    # -S leaves out site-packages and with it every .pth file: an editable install would show what was not shipped.
    start = [sys.executable, "-S", "-m", "modal._container_entrypoint"]
    if not private_mounts.available():  # what is below /root is in its working directory all the same
        mounts = {path: view for path, view in mounts.items() if not below_root(path)}
    command = private_mounts.command(mounts, root / "newroot", start) if mounts else start
    environment = _environment(state, function, root, arguments, container.socket)
    return command, {**environment, "MODAL_ENVIRONMENT": app.environment}


def remove(container: Container) -> None:
    """Remove the files of a container that is gone."""
    sandbox.remove(container.root)
    container.socket.unlink(missing_ok=True)


def _lay_out(state: PlaneState, function: Function, root: Path) -> None:
    """Put the mounted files where a container finds them."""
    # In a sandbox the image has them already.
    for layer in _layers(state, function.created.image_id) if state.sandbox is None else ():
        shutil.copytree(layer, root, dirs_exist_ok=True, symlinks=True)
    mounts = list(function.created.mount_ids)
    image = state.images.get(function.created.image_id)
    if image is not None and image.context_mount_id:
        mounts.append(image.context_mount_id)
    for mount_id in mounts:
        for file in state.mounts.get(mount_id, ()):
            target = root / file.filename.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(state.content("files", file.sha256_hex), target)
            target.chmod(file.mode or 0o644)


def _contained_environment(state: PlaneState, function: Function, root: Path) -> dict[str, str]:
    """What a container with a root of its own finds in its environment beside what the image sets: as on Modal."""
    secrets: dict[str, str] = {}
    for secret_id in function.created.secret_ids:
        secrets |= state.secrets.get(secret_id, {})
    return {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "/root:/pkg",
        **secrets,
        "MODAL_SERVER_URL": f"unix://{sandbox.SOCKET}",
        "MODAL_TASK_ID": root.name,
        "MODAL_IS_REMOTE": "1",
        "MODAL_CONTAINER_ARGUMENTS_PATH": sandbox.ARGUMENTS,
        "MODAL_CONFIG_PATH": os.devnull,
    }


def _layers(state: PlaneState, image_id: str) -> list[Path]:
    """What functions left that ran in an image's build, the lowest layer first."""
    image = state.images.get(image_id)
    if image is None:
        return []
    below = [layer for base in image.base_images for layer in _layers(state, base.image_id)]
    own = state.path("layers", image_id)
    return [*below, own] if own.is_dir() else below


def _environment(state: PlaneState, function: Function, root: Path, arguments: Path, socket: Path) -> dict[str, str]:
    """What a container's process finds in its environment: none of the caller's PYTHONPATH, none of its MODAL_*."""
    kept = {name: value for name in _KEPT if (value := os.environ.get(name)) is not None}
    secrets: dict[str, str] = {}
    for secret_id in function.created.secret_ids:
        secrets |= state.secrets.get(secret_id, {})
    if "MINI_PACKAGES" in secrets:  # the rehearsal has installed what the image would have; Modal's own comes last
        packages = [secrets["MINI_PACKAGES"], str(_client(state))]
    else:
        packages = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        **_image_environment(state, function.created.image_id),
        **secrets,
        "PYTHONPATH": os.pathsep.join([str(root / "root"), *packages]),
        "MINI_ROOT": str(root / "root"),
        "MODAL_SERVER_URL": f"unix://{socket}",
        "MODAL_TASK_ID": root.name,
        "MODAL_IS_REMOTE": "1",
        "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
        "MODAL_CONFIG_PATH": os.devnull,
    }


def _client(state: PlaneState) -> Path:
    """Modal's client and what it needs, and nothing else of this environment: what Modal mounts into each container."""
    folder = state.folder / "client"
    if not folder.is_dir():
        for distribution in distributions.closure(["modal"]):
            for name, path in distributions.roots(distribution):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                if not (folder / name).exists():
                    (folder / name).symlink_to(path)
    return folder


def _image_environment(state: PlaneState, image_id: str) -> dict[str, str]:
    """What the image's ENV lines set; nothing else of an image is imitated."""
    image = state.images.get(image_id)
    if image is None:
        return {}
    values: dict[str, str] = {}
    for base in image.base_images:
        values |= _image_environment(state, base.image_id)
    for line in image.dockerfile_commands:
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] == "ENV":
            values |= {name: value for name, value in assigned(words[1], values) if name != "PATH"}
    return values
