"""Volumes: folders with a committed state that readers see, and a view for each container."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback import local_data
from mini.loopback.files import FileServer
from mini.loopback.named import creation_info, forget, name_of, named, newest, rename
from mini.loopback.state import PlaneState, look_up

BLOCK = 8 * 1024 * 1024  # bytes; Modal's own, `_utils/blob_utils.py`


class View:
    """A container's own copy of a volume: what it writes is its own until it commits.

    Args:
        committed: The volume's committed files.
        path: Where the container sees them.
        read_only: Whether nothing is ever committed.

    Only files are on a volume: what is a link out of it, a socket, a pipe or a device there is `left_out`.
    """

    def __init__(self, committed: Path, path: Path, *, read_only: bool = False) -> None:
        self.committed, self.path, self.read_only = committed, path, read_only
        path.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, tuple[int, int]] = {}
        self.left_out: set[str] = set()
        self.reload()

    def commit(self) -> None:
        """Make what changed here visible to readers elsewhere."""
        if self.read_only:
            return
        now = _stamps(self.path, self.left_out)
        for name, stamp in now.items():
            if self._seen.get(name) != stamp:
                _copy(self.path / name, self.committed / name)
        for name in self._seen.keys() - now.keys():
            (self.committed / name).unlink(missing_ok=True)
        self._seen = now

    def reload(self) -> None:
        """See what others have committed."""
        there, here = _stamps(self.committed), _stamps(self.path, self.left_out)
        for name, stamp in there.items():
            if here.get(name) != stamp:
                _copy(self.committed / name, self.path / name)
        for name in (here.keys() & self._seen.keys()) - there.keys():
            (self.path / name).unlink(missing_ok=True)
        self._seen = _stamps(self.path, self.left_out)

    def end(self, *, commit: bool) -> list[str]:
        """The container is gone; at its orderly end its volumes are committed, as Modal does.

        Returns:
            What was not: neither a file nor a folder, or of a name that is no text.
        """
        if commit:
            self.commit()
        return sorted(self.left_out)


class Volumes:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        files: Serves the blocks.
    """

    def __init__(self, state: PlaneState, files: FileServer) -> None:
        self.state, self.files = state, files

    def path(self, volume_id: str) -> Path:
        """The committed files of a volume."""
        return look_up(self.state.volumes, volume_id, "Volume")

    def _file(self, volume_id: str, path: str) -> Path:
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", ".")]
        if ".." in parts:
            raise GRPCError(Status.INVALID_ARGUMENT, f"{path!r} leaves the volume")
        return self.path(volume_id).joinpath(*parts)

    async def VolumeGetOrCreate(self, request: api_pb2.VolumeGetOrCreateRequest) -> api_pb2.VolumeGetOrCreateResponse:
        volume_id, new = named(
            *(self.state, "volume", "vo", request.deployment_name, request.object_creation_type),
            request.environment_name,
        )
        if new:
            path = self.state.path("volumes", volume_id)
            path.mkdir()
            local_data.fill(self.state.data, request.deployment_name, path)
            self.state.volumes[volume_id] = path
            self.state.volume_versions[volume_id] = request.version or api_pb2.VOLUME_FS_VERSION_V1
        metadata = describe(self.state, volume_id)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=volume_id, version=metadata.version, metadata=metadata)

    async def VolumeGetById(self, request: api_pb2.VolumeGetByIdRequest) -> api_pb2.VolumeGetByIdResponse:
        self.path(request.volume_id)
        return api_pb2.VolumeGetByIdResponse(
            volume_id=request.volume_id, metadata=describe(self.state, request.volume_id)
        )

    async def VolumeList(self, request: api_pb2.VolumeListRequest) -> api_pb2.VolumeListResponse:
        found = newest(self.state, "volume", request.environment_name, request.pagination)
        described = ((one, describe(self.state, one)) for one in found)
        return api_pb2.VolumeListResponse(
            environment_name=request.environment_name,
            items=[
                api_pb2.VolumeListItem(
                    label=metadata.name,
                    volume_id=one,
                    created_at=metadata.creation_info.created_at,
                    metadata=metadata,
                )
                for one, metadata in described
            ],
        )

    async def VolumeRename(self, request: api_pb2.VolumeRenameRequest) -> Empty:
        self.path(request.volume_id)
        rename(self.state, "volume", request.volume_id, request.name)
        return Empty()

    async def VolumeDelete(self, request: api_pb2.VolumeDeleteRequest) -> Empty:
        shutil.rmtree(self.path(request.volume_id), ignore_errors=True)
        del self.state.volumes[request.volume_id]
        forget(self.state, "volume", request.volume_id)
        return Empty()

    async def VolumeHeartbeat(self, _: api_pb2.VolumeHeartbeatRequest) -> Empty:
        return Empty()

    async def VolumeListFiles(
        self, request: api_pb2.VolumeListFilesRequest
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        for entries in self._listed(request.volume_id, request.path, recursive=request.recursive):
            yield api_pb2.VolumeListFilesResponse(entries=entries)

    async def VolumeListFiles2(
        self, request: api_pb2.VolumeListFiles2Request
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        for entries in self._listed(request.volume_id, request.path, recursive=request.recursive):
            yield api_pb2.VolumeListFiles2Response(entries=entries)

    def _listed(self, volume_id: str, path: str, *, recursive: bool) -> Iterator[list[api_pb2.FileEntry]]:
        """What a client is told of a folder's files, in pages."""
        top, root = self._file(volume_id, path), self.path(volume_id)
        if not top.exists():
            raise GRPCError(Status.NOT_FOUND, f"No such file or directory: {path}")
        found = [top] if top.is_file() else sorted(top.rglob("*") if recursive else top.iterdir())
        for start in range(0, len(found), 1000):
            yield [
                api_pb2.FileEntry(
                    path=one.relative_to(root).as_posix(),
                    type=api_pb2.FileEntry.DIRECTORY if one.is_dir() else api_pb2.FileEntry.FILE,
                    mtime=int(one.stat().st_mtime),
                    size=one.stat().st_size,
                )
                for one in found[start : start + 1000]
            ]

    async def VolumeGetFile2(self, request: api_pb2.VolumeGetFile2Request) -> api_pb2.VolumeGetFile2Response:
        file = self._file(request.volume_id, request.path)
        if not file.is_file():
            raise GRPCError(Status.NOT_FOUND, f"No such file: {request.path}")
        size = file.stat().st_size
        length = min(request.len or size, size - request.start)
        urls = [
            self.files.download_url(file, start, min(start + BLOCK, request.start + length))
            for start in range(request.start, request.start + length, BLOCK)
        ]
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=request.start, len=length)

    async def VolumePutFiles2(self, request: api_pb2.VolumePutFiles2Request) -> api_pb2.VolumePutFiles2Response:
        targets = [self._file(request.volume_id, file.path) for file in request.files]
        if request.disallow_overwrite_existing_files:
            _none_exist(zip((file.path for file in request.files), targets, strict=True))
        missing = [
            api_pb2.VolumePutFiles2Response.MissingBlock(
                file_index=i, block_index=j, put_url=self.files.upload_url(self._block(block))
            )
            for i, file in enumerate(request.files)
            for j, block in enumerate(file.blocks)
            if not self._block(block).exists()
        ]
        if not missing:
            for file, target in zip(request.files, targets, strict=True):
                blocks = [self._block(block) for block in file.blocks]
                target.parent.mkdir(parents=True, exist_ok=True)
                # A block is padded with zeros to its hash's length; the size is the file's.
                target.write_bytes(b"".join(block.read_bytes() for block in blocks)[: file.size])
        return api_pb2.VolumePutFiles2Response(missing_blocks=missing)

    def _block(self, block: api_pb2.VolumePutFiles2Request.Block) -> Path:
        return self.state.content("blocks", block.contents_sha256.hex())

    async def VolumePutFiles(self, request: api_pb2.VolumePutFilesRequest) -> Empty:
        targets = [self._file(request.volume_id, file.filename) for file in request.files]
        if request.disallow_overwrite_existing_files:
            _none_exist(zip((file.filename for file in request.files), targets, strict=True))
        for file, target in zip(request.files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.state.content("files", file.sha256_hex), target)
        return Empty()

    async def VolumeCopyFiles(self, request: api_pb2.VolumeCopyFilesRequest) -> Empty:
        self._copy(request.volume_id, request.src_paths, request.dst_path, recursive=True)
        return Empty()

    async def VolumeCopyFiles2(self, request: api_pb2.VolumeCopyFiles2Request) -> Empty:
        self._copy(request.volume_id, request.src_paths, request.dst_path, recursive=request.recursive)
        return Empty()

    def _copy(self, volume_id: str, paths: Sequence[str], into: str, *, recursive: bool) -> None:
        """As `cp` does it: into the target where it is a folder or there are several, else under its name."""
        target = self._file(volume_id, into)
        if len(paths) > 1 and not target.is_dir():
            raise GRPCError(Status.INVALID_ARGUMENT, f"{into} is no folder, and takes one file only")
        for path in paths:
            source = self._file(volume_id, path)
            place = target / source.name if target.is_dir() else target
            if source.is_dir() and not recursive:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{path} is a folder; copy it with recursive=True")
            if not source.exists():
                raise GRPCError(Status.NOT_FOUND, f"No such file or directory: {path}")
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, place)

    async def VolumeRemoveFile(self, request: api_pb2.VolumeRemoveFileRequest) -> Empty:
        self._remove(request.volume_id, request.path, recursive=request.recursive)
        return Empty()

    async def VolumeRemoveFile2(self, request: api_pb2.VolumeRemoveFile2Request) -> Empty:
        self._remove(request.volume_id, request.path, recursive=request.recursive)
        return Empty()

    def _remove(self, volume_id: str, path: str, *, recursive: bool) -> None:
        target = self._file(volume_id, path)
        if target == self.path(volume_id):
            raise GRPCError(Status.INVALID_ARGUMENT, "the top folder of a volume stays")
        if target.is_dir() and recursive:
            shutil.rmtree(target)
        elif target.is_dir():
            raise GRPCError(Status.INVALID_ARGUMENT, f"{path} is a folder; remove it with recursive=True")
        elif target.is_file():
            target.unlink()
        else:
            raise GRPCError(Status.NOT_FOUND, f"No such file: {path}")


def describe(state: PlaneState, volume_id: str) -> api_pb2.VolumeMetadata:
    """What a client is told of a volume."""
    return api_pb2.VolumeMetadata(
        version=state.volume_versions[volume_id],  # type: ignore[arg-type]
        name=name_of(state, "volume", volume_id),
        creation_info=creation_info(state, volume_id),
    )


def _none_exist(files: Iterable[tuple[str, Path]]) -> None:
    for name, target in files:
        if target.exists():
            raise GRPCError(Status.ALREADY_EXISTS, f"{name}: already exists")


def _stamps(folder: Path, left_out: set[str] | None = None) -> dict[str, tuple[int, int]]:
    """The files below a folder with what tells one state of them from another.

    Args:
        folder: The folder.
        left_out: Takes the names of what is no file.
    """
    stamps: dict[str, tuple[int, int]] = {}
    for name, entry in _entries(str(folder), ""):
        try:
            status = entry.stat()
            name.encode()
            is_file = stat.S_ISREG(status.st_mode) and (
                not entry.is_symlink() or folder.resolve() in Path(entry).resolve().parents
            )
        except FileNotFoundError:
            if not entry.is_symlink():  # removed in the meantime
                continue
            is_file = False
        except (OSError, RuntimeError, UnicodeEncodeError):  # links in a circle; a name in another encoding
            is_file = False
        if is_file:
            stamps[name] = (status.st_mtime_ns, status.st_size)
        elif left_out is not None:
            left_out.add(name.encode(errors="backslashreplace").decode())
    return stamps


def _entries(folder: str, before: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All but folders below a folder, links to folders included, by their relative names."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:  # removed in the meantime
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path, f"{before}{entry.name}/")
        else:
            yield f"{before}{entry.name}", entry


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unique = hashlib.blake2b(str(source).encode(), digest_size=8).hexdigest()
    temporary = target.with_name(f".{target.name}.{unique}.tmp")
    try:
        shutil.copy2(source, temporary)
    except FileNotFoundError:  # removed in the meantime
        return
    temporary.replace(target)
