"""Small files: written so that a reader never sees a part of one, and read with few calls."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\..+\.(\d+)\.\d+\.tmp")

_READ_SIZE = 2**16  # bytes


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` when the block ends, and vanishes if it raises.

    Args:
        path: The file; its folder must exist.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: The file; its folder must exist.
        data: Its content.
        private: Whether only this user may read it.
    """
    with replacing(path) as temporary:
        if private:
            temporary.touch(mode=0o600)
        temporary.write_bytes(data)


def temporary_beside(path: Path) -> Path:
    """The name of a temporary file that will take the place of another."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that are gone had begun to write in a folder, itself and not those below it."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - names, not paths
            found = _TEMPORARY.fullmatch(name)
            if found is not None and not _is_alive(int(found[1])):
                path = folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def dump_json(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON in UTF-8, on one line unless indented; what JSON does not know becomes text."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace")


def link_tree(source: Path, target: Path, without: frozenset[str] = frozenset()) -> None:
    """Let the files of one folder be in another too, as hard links where the file system has them, else as copies.

    Args:
        source: The folder.
        target: The other folder; made.
        without: Names of files to leave out.
    """
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.name not in without:
            to = target / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, to)
            except OSError:
                shutil.copy2(file, to)


def read_whole(path: str) -> bytes | None:
    """A small file's bytes, or None where there is no such file.

    With as few calls as can be: a file object would cost as much again as the reading.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = os.read(handle, _READ_SIZE)
        while len(data) % _READ_SIZE == 0 and (more := os.read(handle, _READ_SIZE)):
            data += more
        return data
    finally:
        os.close(handle)
