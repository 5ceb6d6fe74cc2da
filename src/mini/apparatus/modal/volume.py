"""A Modal volume, with the operations every volume has."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from mini import project
from mini.apparatus.modal.client import off_loop
from mini.apparatus.modal.errors import translate
from mini.errors import MiniError, UsageError, VolumeError

_AT_ONCE = 16  # files downloaded at a time


class ModalVolume:
    """A `modal.Volume` (version 2) by name; made when it is first used.

    Paths are relative to the volume, with forward slashes. Readers see what was committed: each job commits at its end.
    Every operation has a twin with `a` in front (`alistdir`, `adownload`, …) for use in a running event loop.

    Args:
        name: Its name.
        connect: Returns the client to use; called at the first operation.
        environment: Modal's environment; None for the configured one.
    """

    def __init__(self, name: str, connect: Callable[[], Any], environment: str | None = None) -> None:
        self.name, self._connect, self._environment = name, connect, environment
        self._handle: Any = None

    def __repr__(self) -> str:
        return f"ModalVolume({self.name!r})"

    @property
    def handle(self) -> Any:
        """The `modal.Volume`."""
        if self._handle is None:
            import modal

            self._handle = modal.Volume.from_name(
                self.name,
                create_if_missing=True,
                version=2,
                environment_name=self._environment,
                client=self._connect(),
            )
        return self._handle

    @off_loop
    def listdir(self, path: str = "", *, recursive: bool = False) -> list[str]:
        """The entries of a folder, as paths relative to the volume, sorted.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        return sorted(entry.path for entry in self._entries(path, recursive=recursive))

    @off_loop
    def read(self, path: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: There is no such file.
        """
        with self._doing(f"read {path} from the volume {self.name}"):
            return b"".join(self.handle.read_file(_inside(path)))

    @off_loop
    def upload(self, source: Path | str, path: str) -> None:
        """Copy a local file or folder into the volume, over what is there."""
        source = Path(source)
        with (
            self._doing(f"upload {source} to the volume {self.name}"),
            self.handle.batch_upload(force=True) as batch,
        ):
            if source.is_dir():
                batch.put_directory(str(source), f"/{_inside(path)}")
            else:
                batch.put_file(str(source), f"/{_inside(path)}")

    @off_loop
    def download(self, path: str, target: Path | str) -> Path:
        """Copy a file or a folder, with all that is in it, out of the volume.

        A file that is here already with the same size and no older is not fetched again, so that a download that broke
        off goes on where it was.

        Returns:
            `target`, as a path.

        Raises:
            FileNotFoundError: There is nothing of that name.
        """
        self.fetch(path, target)
        return Path(target)

    @off_loop
    def fetch(self, path: str, target: Path | str, include: str | None = None, *, without: Sequence[str] = ()) -> int:
        """As `download`, of some files only.

        Args:
            path: The folder or file.
            target: Where to.
            include: A pattern that a file's path relative to the folder must match; None for all.
            without: Patterns that it must not match.

        Returns:
            How many files match; those that are here already are not fetched again.

        Raises:
            FileNotFoundError: There is nothing of that name.
        """
        target, path = Path(target), _inside(path)
        files = [
            entry
            for entry in self._entries(path, recursive=True)
            if entry.type.name == "FILE" and _matches(entry.path, path, include, without)
        ]

        def fetch(entry: Any) -> None:
            relative = PurePosixPath(_inside(entry.path)).relative_to(path) if entry.path != path else PurePosixPath()
            file = target.joinpath(*relative.parts)
            with contextlib.suppress(FileNotFoundError):
                here = file.stat()
                if here.st_size == entry.size and here.st_mtime >= entry.mtime:
                    return
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name(f".{file.name}.part")
            with temporary.open("wb") as stream:
                self.handle.read_file_into_fileobj(entry.path, stream)
            temporary.replace(file)

        with (
            self._doing(f"download {path or 'everything'} from the volume {self.name}"),
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            for _ in pool.map(fetch, files):
                pass
        return len(files)

    @off_loop
    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or with `recursive` a folder.

        Raises:
            FileNotFoundError: There is no such file.
            UsageError: It is the volume itself.
        """
        if not _inside(path):
            raise UsageError("remove needs a path inside the volume, not the volume itself")
        with self._doing(f"remove {path} from the volume {self.name}"):
            self.handle.remove_file(_inside(path), recursive=recursive)

    def alistdir(self, path: str = "", *, recursive: bool = False) -> Awaitable[list[str]]:
        """As `listdir`."""
        return asyncio.to_thread(self.listdir, path, recursive=recursive)

    def aread(self, path: str) -> Coroutine[Any, Any, bytes]:
        """As `read`."""
        return asyncio.to_thread(self.read, path)

    def aupload(self, source: Path | str, path: str) -> Coroutine[Any, Any, None]:
        """As `upload`."""
        return asyncio.to_thread(self.upload, source, path)

    def adownload(self, path: str, target: Path | str) -> Coroutine[Any, Any, Path]:
        """As `download`."""
        return asyncio.to_thread(self.download, path, target)

    def aremove(self, path: str, *, recursive: bool = False) -> Coroutine[Any, Any, None]:
        """As `remove`."""
        return asyncio.to_thread(self.remove, path, recursive=recursive)

    def _entries(self, path: str, *, recursive: bool) -> list[Any]:
        with self._doing(f"list {path or '/'} on the volume {self.name}"):
            found = self.handle.listdir(f"/{_inside(path)}", recursive=recursive)
            return list(found)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, MiniError):
            raise
        except Exception as error:
            if type(error).__name__ == "NotFoundError":
                raise FileNotFoundError(f"cannot {what}: {error}") from error
            translated = translate(error, what)
            raise (VolumeError(str(translated)) if translated is error else translated) from error


def name_on_volume(run: Path) -> str:
    """What a run is called on the project's volume.

    Args:
        run: Its folder here. Under `outputs/` of the project or the working directory, and in the cache of runs that
            are elsewhere, it has the same name there; any other may share its name with a run in another folder, and
            gets a few letters made of its path.
    """
    path = run.absolute()
    for home in (project.outputs(), Path("outputs").absolute()):
        if path.is_relative_to(home) and path != home:
            return path.relative_to(home).as_posix()
    if path.is_relative_to(project.cache_folder("runs")):
        return path.name
    return f"{path.name}-{hashlib.blake2b(str(path).encode(errors='surrogateescape'), digest_size=4).hexdigest()}"


def _matches(path: str, top: str, include: str | None, without: Sequence[str]) -> bool:
    relative = PurePosixPath(path).relative_to(top).as_posix()
    return (include is None or fnmatch.fnmatchcase(relative, include)) and not any(
        fnmatch.fnmatchcase(relative, pattern) for pattern in without
    )


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise UsageError(f"{path!r} is not a path inside the volume; leave out the leading / and any ..")
    return "" if path in ("", ".") else pure.as_posix()
