"""A root of its own for a container: layers of an image, one over the other, and nothing else of this machine.

Linux only. What the container writes goes to a folder of its own, so that it is known what it wrote. Namespaces and the
overlay are made by `own_root`; bubblewrap (https://github.com/containers/bubblewrap) does the rest.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
"""What a container's process finds in its environment before the image has its say."""

PYTHON = "/usr/local/bin/python"
"""Where the interpreter is in a container, as in Debian's `python` images."""

SOCKET, ARGUMENTS = "/run/modal/socket", "/run/modal/arguments"
"""Where a container finds the control plane, and what it is to run."""

REFUSED = "/run/modal/refused"
"""Where a container without a network finds the names of the hosts that it asked for, one a line."""

_PROGRAM = str(Path(__file__).with_name("own_root.py"))
_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE"),
    *("SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP"),
)
"""What a process that is root in a container may do, as container engines have it."""


@dataclass(frozen=True)
class Sandbox:
    """What the containers of a control plane are made of.

    Args:
        base: The lowest layers, each a folder laid out as the top of a file system, the lowest first.
        layers: The folder where the layers that are built are kept.
        network: Whether containers reach what this machine reaches.
        uv: The program uv, which steps of an image call; None where there is none.
        environments: Layers that stand for a step that installs pins, by the SHA-256 of the file they are in.
    """

    base: tuple[Path, ...]
    layers: Path
    network: bool = False
    uv: Path | None = None
    environments: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Root:
    """The root of one process, and what is mounted there.

    Args:
        lower: The layers, the lowest first.
        upper: The folder that takes what is written; made if needed.
        work: An empty folder beside it; made if needed.
        binds: What is to be where, by its absolute path there, and seen and written by both.
        shown: As `binds`, and only read there.
        cores: How many cores it may use; 0 for all.
        groups: Files of control groups that take it.
    """

    lower: Sequence[Path]
    upper: Path
    work: Path
    binds: Mapping[str, Path] = field(default_factory=dict)
    shown: Mapping[str, Path] = field(default_factory=dict)
    cores: int = 0
    groups: Sequence[Path] = ()

    def command(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        *,
        network: bool,
        port: int = 0,
        sockets: int = 0,
        folder: str = "/root",
    ) -> list[str]:
        """The command that runs a program there.

        Args:
            program: The program and its arguments.
            environment: All of its environment.
            network: Whether it shares this machine's network.
            port: Without a network: the port of loopback where it finds files.
            sockets: Without a network: a descriptor of a unix socket that takes the sockets of that port, and of the
                one where it asks for hosts.
            folder: Its working directory.
        """
        newroot = self.work.with_name("newroot")
        for made in (self.upper, self.work, newroot):
            made.mkdir(parents=True, exist_ok=True)
        arguments = [
            *("--die-with-parent", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--hostname", "modal"),
            *("--bind", str(newroot), "/", "--proc", "/proc", "--dev", "/dev", "--perms", "1777"),
            *("--tmpfs", "/dev/shm", "--tmpfs", "/run", "--cap-drop", "ALL"),
            *(word for name in _CAPABILITIES for word in ("--cap-add", f"CAP_{name}")),
            *(word for path, what in sorted(self.binds.items()) for word in ("--bind", str(what), path)),
            *(word for path, what in sorted(self.shown.items()) for word in ("--ro-bind", str(what), path)),
            *("--chdir", folder, "--clearenv"),
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        ]
        wanted = {
            "lower": [str(path) for path in reversed(self.lower)],
            "upper": str(self.upper),
            "work": str(self.work),
            "newroot": str(newroot),
            "network": network,
            "port": port,
            "sockets": sockets,
            "cores": self.cores,
            "groups": [str(path) for path in self.groups],
            "bubblewrap": shutil.which("bwrap"),
            "arguments": arguments,
            "program": list(program),
        }
        file = self.work.with_name("enter.json")
        file.touch(0o600)
        file.write_text(json.dumps(wanted))
        return [sys.executable, "-I", "-S", _PROGRAM, str(file)]


@functools.cache
def problem() -> str | None:
    """Why a container cannot have a root of its own here, and what to do; None where it can."""
    if sys.platform != "linux":
        return "only Linux has namespaces"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (`apt-get install bubblewrap`)"
    with tempfile.TemporaryDirectory() as folder:
        lower = Path(folder, "lower")
        for name in ("dev", "proc", "run", "root"):
            (lower / name).mkdir(parents=True)
        for name in ("usr", "bin", "lib", "lib64"):
            if Path("/", name).exists():
                (lower / name).mkdir()
        shown = {
            f"/{path.name}": Path("/", path.name) for path in lower.iterdir() if path.name[:3] in ("usr", "bin", "lib")
        }
        root = Root([lower], Path(folder, "upper"), Path(folder, "work"), shown=shown)
        tried = subprocess.run(
            root.command(["/bin/sh", "-c", ": >/root/written"], ENVIRONMENT, network=False),
            capture_output=True,
            text=True,
            check=False,
        )
        remove(Path(folder, "work"))
    return f"bubblewrap does not work here: {tried.stderr.strip()}" if tried.returncode else None


def status(returncode: int) -> int:
    """How a container's process ended, from how bubblewrap did: a signal is a negative number."""
    ended_by = returncode - 128
    return -ended_by if returncode > 128 and ended_by in {one.value for one in signal.Signals} else returncode


def inner(pid: int) -> int | None:
    """The container's process, from that of bubblewrap, which started the namespace's first, which started it."""
    for _ in range(2):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        if not children:
            return None
        pid = int(children[0])
    return pid


def written(upper: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files that a container wrote and did not remove, by their paths there."""
    for folder, names, files in os.walk(upper):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            path = Path(folder, name)
            try:
                found = path.lstat()
            except OSError:  # removed in the meantime
                continue
            if stat.S_ISREG(found.st_mode):
                yield f"/{path.relative_to(upper)}", found


def remove(folder: Path) -> None:
    """Remove a folder of layers, also where its files may not be read."""
    for top, names, _ in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if not path.is_symlink() and path.stat().st_mode & 0o700 != 0o700:
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
