"""Containers that have a root of their own: how one starts, and what is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mini.loopback import cgroups, kernel_log, sandbox
from mini.loopback.cgroups import MemoryLimit
from mini.loopback.files import FileServer
from mini.loopback.layers import Builder
from mini.loopback.own_network import OwnNetwork
from mini.loopback.process import Process
from mini.loopback.sandbox import Root, Sandbox
from mini.loopback.state import LeftBehind, PlaneState

if TYPE_CHECKING:
    from mini.loopback.containers import Container

# -X faulthandler: where a library crashes, the lines of Python that led there are printed.
_START = (sandbox.PYTHON, "-X", "faulthandler", "-m", "modal._container_entrypoint")
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_HOSTS = "127.0.0.1 localhost modal\n::1 localhost\n"


class SandboxedProcess(Process):
    """The process of a container that has a root of its own; what is started here is bubblewrap."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's process alone, if it is there."""
        inside = sandbox.inner(self.pid) if self.returncode is None else None
        if inside is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(inside, number)

    async def wait(self) -> int:
        """As of any container."""
        return sandbox.status(await super().wait())


class Sandboxes:
    """Starts the containers of a control plane in roots of their own.

    Args:
        state: The control plane's.
        given: What containers are made of.
        builder: Has the images.
        files: Serves files to those that have no network.
    """

    def __init__(self, state: PlaneState, given: Sandbox, builder: Builder, files: FileServer) -> None:
        self._state, self._given, self._builder, self._files = state, given, builder, files
        self._networks: dict[str, OwnNetwork] = {}
        self._limits: dict[str, MemoryLimit] = {}
        self._inside: dict[str, int] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def start(
        self, container: Container, environment: Mapping[str, str], emit: Callable[[str, int], None]
    ) -> SandboxedProcess:
        """Start a container whose files are laid out.

        Args:
            container: Its mounted files are below `files` in its folder.
            environment: What it finds in its environment beside what the image sets.
            emit: As for `Process`.

        Raises:
            OSError: It cannot be started.
        """
        folder, definition = container.root, container.function.created
        image = self._builder.built(definition.image_id)
        network = self._given.network and not definition.block_network
        self._write_etc(folder / "files" / "etc", network=network)
        refused = folder / "refused"
        own = None if network else OwnNetwork(self._files, refused)
        resources = definition.resources
        limit = None
        if resources.memory_mb_max:
            limit = MemoryLimit.make(f"mini-{os.getpid()}-{container.task_id}", resources.memory_mb_max * 2**20)
            if limit is None:
                self._state.notify(
                    "memory limits are not kept here, as this machine lets its user have no control group; what jobs "
                    "had at most is compared with them"
                )
            else:
                self._limits[container.task_id] = limit
        root = Root(
            lower=(*image.layers, folder / "files"),
            upper=folder / "written",
            work=folder / "work",
            binds={
                sandbox.SOCKET: container.socket,
                **{mount.mount_path: container.views[mount.volume_id].path for mount in definition.volume_mounts},
            },
            shown={
                sandbox.ARGUMENTS: folder / "arguments",
                **({sandbox.REFUSED: refused} if own is not None else {}),
            },
            cores=-(-resources.milli_cpu_max // 1000),
            groups=[limit.procs] if limit is not None else [],
        )
        command = root.command(
            _START,
            {**image.environment, **environment},
            network=network,
            port=self._files.port,
            sockets=own.handed if own is not None else 0,
            folder=image.folder,
        )
        try:
            process = await SandboxedProcess.start(
                emit, command, {}, folder, pass_fds=[own.handed] if own is not None else []
            )
        except OSError:
            if own is not None:
                own.close()
            raise
        if own is not None:
            self._networks[container.task_id] = own
            serving = asyncio.ensure_future(own.serve())
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        return process

    def measure(self, container: Container) -> None:
        """See how much memory a container has had at most."""
        inside = sandbox.inner(container.process.pid) if container.process is not None else None
        if inside is not None:
            self._inside[container.task_id] = inside
            container.peak = max(container.peak, cgroups.peak(inside))

    def end(self, container: Container, returncode: int) -> str:
        """A container is gone: see why, and what it leaves that nobody keeps.

        Returns:
            The library in which it crashed, if it did and that is known.
        """
        inside = self._inside.pop(container.task_id, None)
        limit = self._limits.pop(container.task_id, None)
        if limit is not None:
            container.out_of_memory = limit.exceeded
            limit.remove()
        network = self._networks.pop(container.task_id, None)
        if network is not None:
            network.close()
        self._state.left_behind += self.left_behind(container)
        self._keep_compiled(container)
        return kernel_log.crashed_in(inside) if inside is not None and -returncode in _CRASHES else ""

    def _keep_compiled(self, container: Container) -> None:
        """Keep the modules that a container compiled beside those of the layer they are of, for those that follow."""
        layers = (*self._given.base, *self._given.environments.values())
        upper = container.root / "written"
        for cached in (*upper.glob("usr/local/lib/**/__pycache__/*.pyc"), *upper.glob("pkg/**/__pycache__/*.pyc")):
            below = cached.relative_to(upper)
            source = below.parent.parent / f"{below.name.split('.')[0]}.py"
            for layer in layers:
                if (layer / source).is_file():
                    with contextlib.suppress(OSError):  # another has it, or it is on another disk
                        (layer / below).parent.mkdir(exist_ok=True)
                        os.link(cached, layer / below)
                    break

    @staticmethod
    def left_behind(container: Container) -> list[LeftBehind]:
        """The files of a container that are nowhere else."""
        return [
            LeftBehind(container.task_id, path, found.st_size, found.st_mtime)
            for path, found in sandbox.written(container.root / "written")
        ]

    async def close(self) -> None:
        """Answer no container any more."""
        for network in self._networks.values():
            network.close()
        for serving in list(self._serving):
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _write_etc(self, folder: Path, *, network: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(_HOSTS)
        (folder / "hostname").write_text("modal\n")
        if network:
            with contextlib.suppress(OSError):
                shutil.copyfile("/etc/resolv.conf", folder / "resolv.conf")
        else:
            (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
