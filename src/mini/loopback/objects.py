"""Environments, tokens, mounts, images, secrets and blobs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback import local_data
from mini.loopback.files import FileServer
from mini.loopback.layers import Builder, BuildFailed
from mini.loopback.named import CREATE, named
from mini.loopback.state import PlaneState, look_up

BUILDER = "2025.06"
"""The image builder version of the one environment there is; it must be one that the client knows."""


_SHORT_BUILD = 5.0  # seconds a client waits for an image before it follows the build
_LOOK = 50.0  # seconds a client follows a build before it asks again


class Objects:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        files: Serves the blobs.
        builder: Builds images; None where nothing of them is built.
        sign_in: Whether whoever asks for a token gets this control plane's: for tests of signing in, as it lets
            everybody in who reaches its port.
    """

    def __init__(
        self, state: PlaneState, files: FileServer, builder: Builder | None = None, *, sign_in: bool = False
    ) -> None:
        self.state, self.files, self.builder, self.sign_in = state, files, builder, sign_in

    async def ClientHello(self, _: Empty) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = request.deployment_name or "main"
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=f"en-{name}",
            metadata=api_pb2.EnvironmentMetadata(
                name=name, settings=api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
            ),
        )

    # Tokens.

    async def TokenFlowCreate(self, _: api_pb2.TokenFlowCreateRequest) -> api_pb2.TokenFlowCreateResponse:
        self._may_sign_in()
        return api_pb2.TokenFlowCreateResponse(
            token_flow_id=self.state.new_id("tf"), web_url="http://127.0.0.1/", code="loopback", wait_secret="-"
        )

    async def TokenFlowWait(self, _: api_pb2.TokenFlowWaitRequest) -> api_pb2.TokenFlowWaitResponse:
        self._may_sign_in()
        token_id, secret = self.state.token
        return api_pb2.TokenFlowWaitResponse(token_id=token_id, token_secret=secret, workspace_username="loopback")

    def _may_sign_in(self) -> None:
        if not self.sign_in:
            raise GRPCError(
                Status.PERMISSION_DENIED, "the control plane on loopback gives its token only to who started it"
            )

    async def WorkspaceNameLookup(self, _: Empty) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="loopback", username="loopback")

    # Mounts.

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

    # Images.

    async def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:
        image_id = f"im-{hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()[:22]}"
        self.state.images[image_id] = request.image
        status = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        if self.state.faults.build_log is not None:
            status = api_pb2.GenericResult.GENERIC_STATUS_UNSPECIFIED  # "still building": the client joins
            self.state.failed_builds[image_id] = self.state.faults.build_log
        elif self.builder is not None:
            await asyncio.wait([self.builder.begin(image_id, anew=True)], timeout=_SHORT_BUILD)
            if not await self._is_built(image_id):
                status = api_pb2.GenericResult.GENERIC_STATUS_UNSPECIFIED
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            result=api_pb2.GenericResult(status=status),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
        )

    async def ImageJoinStreaming(
        self, request: api_pb2.ImageJoinStreamingRequest
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        if self.builder is not None and request.image_id in self.state.images and self.state.faults.build_log is None:
            build = self.builder.begin(request.image_id)
            await asyncio.wait([build], timeout=min(request.timeout or _LOOK, _LOOK))
            if not build.done():
                return  # the client asks again
            if await self._is_built(request.image_id):
                success = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
                yield api_pb2.ImageJoinStreamingResponse(
                    result=success,
                    entry_id="1-0",
                    eof=True,
                    metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
                )
                return
        log = self.state.failed_builds.get(request.image_id, "")
        if log:
            data = api_pb2.TaskLogs(data=log, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT)
            yield api_pb2.ImageJoinStreamingResponse(task_logs=[data], entry_id="1-0")
        failure = api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception="the build failed"
        )
        yield api_pb2.ImageJoinStreamingResponse(result=failure, entry_id="2-0", eof=True)

    async def _is_built(self, image_id: str) -> bool:
        """Whether an image is there; the log of one whose build failed is kept."""
        assert self.builder is not None
        build = self.builder.begin(image_id)
        if not build.done():
            return False
        error = build.exception()
        if error is None:
            return True
        said = str(error) if isinstance(error, BuildFailed) else f"{type(error).__name__}: {error}\n"
        self.state.failed_builds[image_id] = said
        return False

    async def ImageFromId(self, request: api_pb2.ImageFromIdRequest) -> api_pb2.ImageFromIdResponse:
        return api_pb2.ImageFromIdResponse(
            image_id=request.image_id, metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER)
        )

    async def ImageBuildChainGet(
        self, request: api_pb2.ImageBuildChainGetRequest
    ) -> api_pb2.ImageBuildChainGetResponse:
        step = api_pb2.ImageBuildStep(image_id=request.image_id, builder_app_id=request.image_id)
        step.started_at.GetCurrentTime()
        step.finished_at.GetCurrentTime()
        return api_pb2.ImageBuildChainGetResponse(build_steps=[step])

    # Secrets.

    async def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest) -> api_pb2.SecretGetOrCreateResponse:
        name, creation = request.deployment_name, request.object_creation_type
        if name and ("secret", name) not in self.state.named and not request.env_dict:
            try:
                found = local_data.secret(self.state.data, name)
            except ValueError as error:
                raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from None
            if found is not None:
                request, creation = api_pb2.SecretGetOrCreateRequest(deployment_name=name, env_dict=found), CREATE
            elif self.state.data is not None and creation != CREATE:
                where = self.state.data / local_data.SECRETS / f"{name}.env"
                raise GRPCError(
                    Status.NOT_FOUND,
                    f"Secret '{name}' not found; here its variables come from {where}, as lines NAME=value",
                )
        secret_id, _ = named(self.state, "secret", "st", name, creation)
        if request.env_dict:
            self.state.secrets[secret_id] = dict(request.env_dict)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id)

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
