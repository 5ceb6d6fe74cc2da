"""The program that gives a process a root of its own, and becomes bubblewrap, which becomes the container's process.

It runs before anything of the container is there, once for each container and each step of a build: it imports the
standard library alone, and little of it. What to do is in a file, which `Root` of `mini.loopback.sandbox` writes.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000  # CLONE_NEW…
_REC, _PRIVATE = 16384, 1 << 18  # MS_…
_SET_FLAGS, _UP = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING
_DNS = 53


def enter(wanted: dict[str, Any]) -> None:
    """Join the control groups, leave the network, and mount the layers at `newroot`.

    Raises:
        OSError: This machine does not allow it.
    """
    for group in wanted["groups"]:
        Path(group).write_text("0")
    if wanted["cores"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: wanted["cores"]])
    network = 0 if wanted["network"] else _NEW_NETWORK
    user, group_id = os.getuid(), os.getgid()
    try:
        if user != 0:
            raise PermissionError
        _call("unshare", _NEW_MOUNTS | network)
    except PermissionError:
        _call("unshare", _NEW_MOUNTS | _NEW_USER | network)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group_id} 1")
    _mount("none", "/", None, _REC | _PRIVATE)
    lower = ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in wanted["lower"])
    options = f"userxattr,lowerdir={lower},upperdir={wanted['upper']},workdir={wanted['work']}"
    _mount("mini", wanted["newroot"], "overlay", 0, options)
    if network:
        _listen(wanted["port"], wanted["sockets"])


def _listen(port: int, handed: int) -> None:
    """Let the control plane answer where the container looks for it: its files at a port, and names of hosts."""
    if not handed:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14s", b"lo", _UP, b""))
    files = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    files.bind(("127.0.0.1", port))
    files.listen(128)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", _DNS))
    with socket.socket(fileno=handed) as plane:
        socket.send_fds(plane, [b"."], [files.fileno(), names.fileno()])
    files.close()
    names.close()


def _arguments(given: list[str]) -> int:
    """A descriptor that bubblewrap reads its arguments from: nobody sees in a list of processes what is in them."""
    handle = os.memfd_create("arguments", 0)
    os.write(handle, b"".join(os.fsencode(one) + b"\0" for one in given))
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if options is None else os.fsencode(options),
    )


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _main(file: str) -> None:
    wanted = json.loads(Path(file).read_text())
    try:
        enter(wanted)
    except OSError as error:
        sys.exit(f"a process cannot have a root of its own here ({error.strerror or error})")
    bubblewrap = wanted["bubblewrap"]
    os.execv(bubblewrap, [bubblewrap, "--args", str(_arguments(wanted["arguments"])), "--", *wanted["program"]])


if __name__ == "__main__":
    _main(sys.argv[1])
