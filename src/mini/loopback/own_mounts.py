"""The program that gives its process mounts of its own, and becomes the container's process.

It runs before anything of the container is on the path, once for each container: it imports the standard library
alone, and little of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
_NOSUID_NODEV, _BIND, _REC, _PRIVATE = 2 | 4, 4096, 16384, 1 << 18  # MS_…


def enter(mounts: Mapping[str, str], newroot: str) -> None:
    """Put this process into namespaces of its own, with these mounts.

    Args:
        mounts: What shall be where, by the absolute path it shall have.
        newroot: A folder that is used where something must be mounted at the top of the file system; made if needed.

    Raises:
        OSError: This machine does not allow it, or a path leads through a file.
    """
    user, group, here = os.getuid(), os.getgid(), Path.cwd()
    try:
        _call("unshare", _NEW_MOUNTS)
    except PermissionError:
        _call("unshare", _NEW_MOUNTS | _NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", None, _REC | _PRIVATE)
    # Opened before any of them can be hidden by another mount.
    sources = {path: os.open(what, os.O_PATH) for path, what in mounts.items()}
    private: set[str] = set()
    if any(_existing(path) == "/" for path in mounts):
        _copy_of_root(newroot)
        private.add("/")
    for path in sorted(mounts):
        above = _existing(path)
        if above not in (path, *private):
            _cover(above)
        point = Path(path)
        private |= {str(folder) for folder in (point, *point.parents) if len(str(folder)) > len(above)}
        point.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{sources[path]}", path, None, _BIND | _REC)
    for source in sources.values():
        os.close(source)
    os.chdir(here)


def _existing(path: str) -> str:
    """The path itself, or the lowest folder above it that exists."""
    for folder in (Path(path), *Path(path).parents):
        try:
            kind = folder.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # the last: what is in it is hidden anyway
            continue
        if not stat.S_ISDIR(kind):
            raise NotADirectoryError(f"{folder} is a file on this machine; choose another path")
        return str(folder)
    return "/"


def _copy_of_root(target: str) -> None:
    """Make a folder in memory the top of the file system, with all in it that was there."""
    Path(target).mkdir(parents=True, exist_ok=True)
    names = sorted(os.listdir("/"))  # noqa: PTH208 - names, not paths
    _memory(target, "/")
    for name in names:
        _show(Path("/", name), Path(target, name))
    os.chroot(target)
    os.chdir("/")


def _cover(folder: str) -> None:
    """Cover a folder by one in memory with the same things in it; what is made there is seen by nobody else."""
    below = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except PermissionError:  # another user's: nothing of it can be seen, as before
        names = []
    _memory(folder, folder)
    for name in names:
        _show(Path(f"/proc/self/fd/{below}", name), Path(folder, name))
    os.close(below)


def _memory(target: str, like: str) -> None:
    mode = stat.S_IMODE(Path(like).stat().st_mode)
    _mount("mini", target, "tmpfs", _NOSUID_NODEV, f"mode={mode:o}")


def _show(source: Path, target: Path) -> None:
    """Let something be seen at another place too."""
    try:
        kind = source.lstat().st_mode
        if stat.S_ISLNK(kind):
            target.symlink_to(source.readlink())
            return
        if stat.S_ISDIR(kind):
            target.mkdir()
        else:
            target.touch(0o600)
        _mount(str(source), str(target), None, _BIND | _REC)
    except FileNotFoundError:  # gone in the meantime
        return


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if options is None else options.encode(),
    )


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: It failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _main(arguments: Sequence[str]) -> None:
    mounts, newroot, *program = arguments
    try:
        enter(json.loads(mounts), newroot)
    except OSError as error:
        sys.exit(f"a process cannot have mounts of its own here ({error.strerror or error})")
    os.execvp(program[0], program)


if __name__ == "__main__":
    _main(sys.argv[1:])
