"""Containers: processes that start with only what was shipped."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpclib.server import Server
from modal_proto import api_pb2

from mini import distributions
from mini.loopback.state import Function, Input, State
from mini.loopback.volumes import View

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE")


@dataclass
class Container:
    """One running container.

    Args:
        task_id: Its id.
        function: What it serves.
        root: Its own folder; the user's files are under `root/root`.
        views: Its volumes, by id.
    """

    task_id: str
    function: Function
    root: Path
    views: dict[str, View]
    process: asyncio.subprocess.Process | None = None
    server: Server | None = None
    current: dict[str, Input] = field(default_factory=dict)
    to_cancel: list[str] = field(default_factory=list)
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    failure: api_pb2.GenericResult | None = None

    def kill(self) -> None:
        """End it at once, with the processes it started."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def lay_out(state: State, function: Function, root: Path) -> None:
    """Put the mounted files where a container finds them."""
    assert function.definition is not None
    mounts = list(function.definition.mount_ids)
    image = state.images.get(function.definition.image_id)
    if image is not None and image.context_mount_id:
        mounts.append(image.context_mount_id)
    for mount_id in mounts:
        for file in state.mounts.get(mount_id, ()):
            target = root / file.filename.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(state.file("files", file.sha256_hex), target)
            target.chmod(file.mode or 0o644)


def command(root: Path, mounts: Mapping[str, Path]) -> list[str]:
    """The command that starts a container's process.

    Args:
        root: The container's folder.
        mounts: Where its volumes are, by the path the caller chose.
    """
    # -S leaves out site-packages and with it every .pth file: an editable install would show what was not shipped.
    start = [sys.executable, "-S", "-m", "modal._container_entrypoint"]
    if not mounts:
        return start
    if can_unshare():
        lines = "".join('mkdir -p "$1" && mount --bind "$2" "$1" && shift 2 && ' for _ in mounts)
        pairs = [part for path, view in mounts.items() for part in (path, str(view))]
        return ["unshare", "--mount", "--", "sh", "-c", f'{lines} exec "$@"', "container", *pairs, *start]
    for path, view in mounts.items():
        with contextlib.suppress(OSError):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(view)
    return start


@functools.cache
def can_unshare() -> bool:
    """Whether this machine gives a process a mount namespace of its own."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def environment(state: State, function: Function, root: Path, arguments: Path, socket: Path) -> dict[str, str]:
    """What a container's process finds in its environment: none of the caller's PYTHONPATH, none of its MODAL_*."""
    assert function.definition is not None
    kept = {name: value for name in _KEPT if (value := os.environ.get(name)) is not None}
    secrets: dict[str, str] = {}
    for secret_id in function.definition.secret_ids:
        secrets |= state.secrets.get(secret_id, {})
    if "MINI_PACKAGES" in secrets:  # the rehearsal has installed what the image would have; Modal's own comes last
        packages = [secrets["MINI_PACKAGES"], str(_client(state))]
    else:
        packages = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        **_image_environment(state, function.definition.image_id),
        **secrets,
        "PYTHONPATH": os.pathsep.join([str(root / "root"), *packages]),
        "MINI_ROOT": str(root / "root"),
        "MODAL_SERVER_URL": f"unix://{socket}",
        "MODAL_TASK_ID": root.name,
        "MODAL_IS_REMOTE": "1",
        "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
        "MODAL_CONFIG_PATH": os.devnull,
        "MODAL_ENVIRONMENT": "main",
    }


def _client(state: State) -> Path:
    """Modal's client and what it needs, and nothing else of this environment: what Modal mounts into each container."""
    folder = state.folder / "client"
    if not folder.is_dir():
        for distribution in distributions.closure(["modal"]):
            for name, path in distributions.roots(distribution):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                if not (folder / name).exists():
                    (folder / name).symlink_to(path)
    return folder


def _image_environment(state: State, image_id: str) -> dict[str, str]:
    """What the image's ENV lines set; nothing else of an image is imitated."""
    image = state.images.get(image_id)
    if image is None:
        return {}
    values: dict[str, str] = {}
    for base in image.base_images:
        values |= _image_environment(state, base.image_id)
    for line in image.dockerfile_commands:
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] == "ENV" and "=" in words[1]:
            name, value = words[1].split("=", 1)
            if name != "PATH":
                values[name] = value.strip("'\"")
    return values


async def pump(stream: asyncio.StreamReader, emit: Callable[[str], Awaitable[None]]) -> None:
    """Hand on what a container prints, line by line."""
    while data := await stream.read(65536):
        await emit(data.decode(errors="replace"))
