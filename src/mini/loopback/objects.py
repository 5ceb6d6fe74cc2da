"""Mounts and blobs."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.files import FileServer
from mini.loopback.named import CREATE, named
from mini.loopback.state import PlaneState, look_up


class Objects:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        files: Serves the blobs.
    """

    def __init__(self, state: PlaneState, files: FileServer) -> None:
        self.state, self.files = state, files

    async def MountGetOrCreate(self, request: api_pb2.MountGetOrCreateRequest) -> api_pb2.MountGetOrCreateResponse:
        if request.deployment_name:  # Modal's own mounts: its client, which is installed here already
            mount_id, new = named(self.state, "mount", "mo", request.deployment_name, CREATE)
            if new:
                self.state.mounts[mount_id] = []
        else:
            for file in request.files:
                if ".." in PurePosixPath(file.filename).parts or "\0" in file.filename:
                    raise GRPCError(Status.INVALID_ARGUMENT, f"{file.filename!r} leaves the container's folder")
            mount_id = self.state.new_id("mo")
            self.state.mounts[mount_id] = list(request.files)
        content = hashlib.sha256(
            b"".join(f.filename.encode() + f.sha256_hex.encode() for f in request.files)
        ).hexdigest()
        return api_pb2.MountGetOrCreateResponse(
            mount_id=mount_id, handle_metadata=api_pb2.MountHandleMetadata(content_checksum_sha256_hex=content)
        )

    async def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [sha for sha in request.sha256_hex_hashes if not self.state.content("files", sha).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: api_pb2.MountPutFileRequest) -> api_pb2.MountPutFileResponse:
        file = self.state.content("files", request.sha256_hex)
        if request.WhichOneof("data_oneof") == "data":
            file.write_bytes(request.data)
        elif request.data_blob_id:
            file.write_bytes(look_up(self.state.blobs, request.data_blob_id, "Blob").read_bytes())
        return api_pb2.MountPutFileResponse(exists=file.exists())

    # Blobs.

    async def BlobCreate(self, request: api_pb2.BlobCreateRequest) -> api_pb2.BlobCreateResponse:
        blob_id = self.state.new_id("bl")
        self.state.blobs[blob_id] = self.state.path("blobs", blob_id)
        url = self.files.upload_url(self.state.blobs[blob_id])
        return api_pb2.BlobCreateResponse(
            blob_id=blob_id,
            upload_url=url,
            blob_ids=[blob_id],
            upload_urls=api_pb2.UploadUrlList(items=[url]),
        )

    async def BlobGet(self, request: api_pb2.BlobGetRequest) -> api_pb2.BlobGetResponse:
        path = look_up(self.state.blobs, request.blob_id, "Blob")
        return api_pb2.BlobGetResponse(download_url=self.files.download_url(path))
