"""Where run folders live: the operations of every volume, and a folder of this machine as one."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Protocol

from mini.errors import UsageError


class Volume(Protocol):
    """Where the jobs of an apparatus leave their files. Paths are relative to it."""

    def listdir(self, path: str = "", *, recursive: bool = False) -> list[str]: ...  # noqa: D102 - as LocalVolume's
    def read(self, path: str) -> bytes: ...  # noqa: D102
    def upload(self, source: Path | str, path: str) -> None: ...  # noqa: D102
    def download(self, path: str, target: Path | str) -> Path: ...  # noqa: D102
    def remove(self, path: str, *, recursive: bool = False) -> None: ...  # noqa: D102


class LocalVolume:
    """A folder, behind the operations of a volume; paths are relative to it, with forward slashes.

    Args:
        path: The folder; made when something is written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()

    def __repr__(self) -> str:
        return f"LocalVolume({str(self.path)!r})"

    def listdir(self, path: str = "", *, recursive: bool = False) -> list[str]:
        """The entries of a folder, as paths relative to the volume, sorted.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        folder = self._at(path)
        entries = folder.rglob("*") if recursive else folder.iterdir()
        return sorted(entry.relative_to(self.path).as_posix() for entry in entries)

    def read(self, path: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return self._at(path).read_bytes()

    def upload(self, source: Path | str, path: str) -> None:
        """Copy a local file or folder into the volume, over what is there."""
        _copy(Path(source), self._at(path))

    def download(self, path: str, target: Path | str) -> Path:
        """Copy a file or folder out of the volume.

        Returns:
            `target`, as a path.
        """
        _copy(self._at(path), Path(target))
        return Path(target)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or with `recursive` a folder.

        Raises:
            FileNotFoundError: There is no such file.
            UsageError: It is a folder and `recursive` is not set, or the volume itself.
        """
        target = self._at(path)
        if target == self.path:
            raise UsageError("remove needs a path inside the volume, not the volume itself")
        if target.is_dir():
            if not recursive:
                raise UsageError(f"{path} is a folder; say remove({path!r}, recursive=True)")
            shutil.rmtree(target)
        else:
            target.unlink()

    def _at(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if PurePosixPath(path).is_absolute() or ".." in parts:
            raise UsageError(f"{path!r} is not a path inside the volume; leave out the leading / and any ..")
        return self.path.joinpath(*parts)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
