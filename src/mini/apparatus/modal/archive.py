"""Files that come home in an archive: made where they are, and unpacked here, where nobody trusts it."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mini.errors import VolumeError
from mini.runs import layout
from mini.runs.files import temporary_beside

_OVERHEAD = 4096  # bytes of a member beside its content: its headers, and what fills up its last block
_MOST = 2**20  # members
_PIECE = 2**20  # bytes
_ALWAYS = (layout.RECORD, layout.HISTORY)  # whatever size they have
_LARGEST_RECORD = 2**28  # bytes; of a record, or of the table


def pack(archive: Path, run: Path, jobs: Sequence[str], each: int | None, total: int | None) -> list[str]:
    """Pack the table of a run and the files of jobs into one file.

    Records and logs come first, then the smaller files before the larger ones. A link goes along where it leads to
    another file of the same job.

    Args:
        archive: The file that is made.
        run: The run folder; paths in the archive are relative to it.
        jobs: The folders of the jobs, relative to the run.
        each: Bytes a file may have, but for records and histories; None for no limit.
        total: Bytes that all may have together, but for records; None for no limit.

    Returns:
        The files that are left out because of `total`, relative to the run.
    """
    found: list[tuple[bool, int, Path]] = []
    for job in jobs:
        home = run / job
        for file in sorted(home.rglob("*")):
            if not file.is_file() or (file.is_symlink() and not _is_inside(file, home)):
                continue
            size, is_record = file.stat().st_size, file.name == layout.RECORD and file.parent == home
            if file.name in _ALWAYS or each is None or size <= each:
                found.append((not is_record, size, file))
    left_out, used = [], 0
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(run / layout.RESULTS, layout.RESULTS)
        for counts, size, file in sorted(found):
            name = file.relative_to(run).as_posix()
            if counts and total is not None and used + size > total:
                left_out.append(name)
            else:
                used += size if counts else 0
                tar.add(file, name)
    return left_out


def _is_inside(link: Path, folder: Path) -> bool:
    return not link.readlink().is_absolute() and link.resolve().is_relative_to(folder.resolve())


def unpack(
    archive: Path, folder: Path, jobs: Collection[str], each: int | None = None, total: int | None = None
) -> None:
    """Unpack what `pack` made, or what somebody else says that it made.

    Nothing comes to lie outside of the jobs' folders, but for the table; and nothing takes more room than allowed. A
    file that is here already is replaced at once, or not at all.

    Args:
        archive: The file.
        folder: The run folder here.
        jobs: As for `pack`.
        each: As for `pack`.
        total: As for `pack`.

    Raises:
        VolumeError: It is damaged, or has what `pack` would not put there; nothing of it is taken over.
    """
    temporary = temporary_beside(folder / "home")
    temporary.mkdir(parents=True)
    try:
        with archive.open("rb") as packed:
            _extract(packed, temporary, {PurePosixPath(job) for job in jobs}, each, total)
        _move(temporary, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, KeyError, ValueError) as error:
        what = f"what came home of {folder.name} is refused, and nothing of it is taken over: {error}"
        raise VolumeError(what) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(
    packed: BinaryIO, target: Path, jobs: Collection[PurePosixPath], each: int | None, total: int | None
) -> None:
    members = used = 0
    stream = _Limited(gzip.GzipFile(fileobj=packed))
    with _tarfile().open(fileobj=stream, mode="r|") as tar:
        stream.allow(_OVERHEAD)
        for member in tar:
            members += 1
            path = PurePosixPath(member.name)
            is_record = path.name == layout.RECORD and path.parent in jobs
            if members > _MOST:
                raise ValueError(f"it has more than {_MOST} files")
            if str(path) != layout.RESULTS and not any(job in jobs for job in path.parents):
                raise ValueError(f"it has {member.name!r}, which is no job's")
            if member.issparse():
                raise ValueError(f"{member.name!r} is a sparse file")
            if is_record or str(path) == layout.RESULTS:
                if member.size > _LARGEST_RECORD:
                    raise ValueError(f"{member.name!r} has {member.size} bytes, and {_LARGEST_RECORD} are allowed")
            else:
                used += member.size
                if each is not None and member.size > each and path.name not in _ALWAYS:
                    raise ValueError(f"{member.name!r} has {member.size} bytes, and {each} are allowed")
                if total is not None and used > total:
                    raise ValueError(f"its files have more than {total} bytes together")
            stream.allow(member.size + _OVERHEAD)
            tar.extract(member, target, filter="data")


class _Limited:
    """A stream that gives no more than is expected: what says that it is small may not be."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, 64 * _OVERHEAD  # the reader reads ahead

    def allow(self, size: int) -> None:
        """Expect so many bytes more."""
        self._left += size

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, _PIECE))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("its headers are far larger than those of files")
        return data


def _move(source: Path, target: Path) -> None:
    """Put each file into its place."""
    top = target.resolve()
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        if not place.resolve().is_relative_to(top):
            raise ValueError(f"{place} leads out of the run folder")
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            Path(folder, name).replace(place / name)


def _tarfile() -> Any:
    """Python's module, or before 3.11.4, where it knows no filters, the one of 3.12 for earlier versions."""
    if hasattr(tarfile, "data_filter"):
        return tarfile
    from backports import tarfile as backport  # type: ignore[import-not-found, unused-ignore]

    return backport
