"""Mounts, images, secrets, dicts, queues and blobs: objects that are looked up by name or made of content."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.state import State

BUILDER = "2025.06"
"""The image builder version of the one environment there is; it must be one that the client knows."""

TOKEN = ("ak-loopback", "as-loopback")
"""A token the control plane accepts; any other that is not empty will do as well."""

_CREATE = (
    api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING,
    api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
    api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS,
    api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP,
    api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL,
)


class Objects:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        blob_url: Where blobs are served.
    """

    def __init__(self, state: State, blob_url: str) -> None:
        self.state, self.blob_url = state, blob_url

    def _named(self, kind: str, prefix: str, name: str, creation: int) -> tuple[str, bool]:
        """The id of a named or new object, and whether it is new."""
        known = self.state.named.get((kind, name)) if name else None
        if known is not None:
            return known, False
        if creation not in _CREATE:
            raise GRPCError(Status.NOT_FOUND, f"{kind.capitalize()} '{name}' not found in environment 'main'")
        new = self.state.new_id(prefix)
        if name:
            self.state.named[kind, name] = new
        return new, True

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

    async def TokenFlowCreate(self, request: api_pb2.TokenFlowCreateRequest) -> api_pb2.TokenFlowCreateResponse:
        return api_pb2.TokenFlowCreateResponse(
            token_flow_id=self.state.new_id("tf"), web_url=f"{self.blob_url}/token", code="loopback", wait_secret="-"
        )

    async def TokenFlowWait(self, _: api_pb2.TokenFlowWaitRequest) -> api_pb2.TokenFlowWaitResponse:
        return api_pb2.TokenFlowWaitResponse(token_id=TOKEN[0], token_secret=TOKEN[1], workspace_username="loopback")

    async def WorkspaceNameLookup(self, _: Empty) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="loopback", username="loopback")

    # Mounts.

    async def MountGetOrCreate(self, request: api_pb2.MountGetOrCreateRequest) -> api_pb2.MountGetOrCreateResponse:
        if request.deployment_name:  # Modal's own mounts: its client, which is installed here already
            mount_id, new = self._named("mount", "mo", request.deployment_name, _CREATE[0])
            if new:
                self.state.mounts[mount_id] = []
        else:
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
        missing = [sha for sha in request.sha256_hex_hashes if not self.state.file("files", sha).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: api_pb2.MountPutFileRequest) -> api_pb2.MountPutFileResponse:
        file = self.state.file("files", request.sha256_hex)
        if request.WhichOneof("data_oneof") == "data":
            file.write_bytes(request.data)
        elif request.data_blob_id:
            file.write_bytes(self.state.file("blobs", request.data_blob_id).read_bytes())
        return api_pb2.MountPutFileResponse(exists=file.exists())

    # Images.

    async def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:
        image_id = f"im-{hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()[:22]}"
        self.state.images[image_id] = request.image
        status = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        if self.state.faults.build_log is not None:
            status = api_pb2.GenericResult.GENERIC_STATUS_UNSPECIFIED  # "still building": the client joins
            self.state.failed_builds[image_id] = self.state.faults.build_log
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            result=api_pb2.GenericResult(status=status),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
        )

    async def ImageJoinStreaming(
        self, request: api_pb2.ImageJoinStreamingRequest
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        log = self.state.failed_builds.get(request.image_id, "")
        if log:
            data = api_pb2.TaskLogs(data=log, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT)
            yield api_pb2.ImageJoinStreamingResponse(task_logs=[data], entry_id="1-0")
        failure = api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception="the build failed"
        )
        yield api_pb2.ImageJoinStreamingResponse(result=failure, entry_id="2-0", eof=True)

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

    async def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest) -> api_pb2.AppFetchLogsResponse:
        if request.app_id in self.state.failed_builds:
            lines = self.state.failed_builds[request.app_id].splitlines(keepends=True)
            items = [api_pb2.TaskLogs(data=line, timestamp=time.time()) for line in lines]
        else:
            items = self.state.apps[request.app_id].logs
        return api_pb2.AppFetchLogsResponse(batches=[api_pb2.TaskLogsBatch(items=items[-(request.limit or 1000) :])])

    # Secrets.

    async def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest) -> api_pb2.SecretGetOrCreateResponse:
        secret_id, _ = self._named("secret", "st", request.deployment_name, request.object_creation_type)
        if request.env_dict:
            self.state.secrets[secret_id] = dict(request.env_dict)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id)

    # Dicts.

    async def DictGetOrCreate(self, request: api_pb2.DictGetOrCreateRequest) -> api_pb2.DictGetOrCreateResponse:
        dict_id, new = self._named("dict", "di", request.deployment_name, request.object_creation_type)
        if new:
            self.state.dicts[dict_id] = {entry.key: entry.value for entry in request.data}
        return api_pb2.DictGetOrCreateResponse(
            dict_id=dict_id, metadata=api_pb2.DictMetadata(name=request.deployment_name)
        )

    async def DictUpdate(self, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:
        entries, created = self.state.dicts[request.dict_id], False
        for update in request.updates:
            if not (request.if_not_exists and update.key in entries):
                created = created or update.key not in entries
                entries[update.key] = update.value
        return api_pb2.DictUpdateResponse(created=created)

    async def DictGet(self, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:
        value = self.state.dicts[request.dict_id].get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictPop(self, request: api_pb2.DictPopRequest) -> api_pb2.DictPopResponse:
        value = self.state.dicts[request.dict_id].pop(request.key, None)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def DictLen(self, request: api_pb2.DictLenRequest) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=len(self.state.dicts[request.dict_id]))

    async def DictContents(self, request: api_pb2.DictContentsRequest) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in list(self.state.dicts[request.dict_id].items()):
            yield api_pb2.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")

    # Queues.

    async def QueueGetOrCreate(self, request: api_pb2.QueueGetOrCreateRequest) -> api_pb2.QueueGetOrCreateResponse:
        queue_id, new = self._named("queue", "qu", request.deployment_name, request.object_creation_type)
        if new:
            self.state.queues[queue_id] = {}
        return api_pb2.QueueGetOrCreateResponse(queue_id=queue_id)

    async def QueuePut(self, request: api_pb2.QueuePutRequest) -> Empty:
        self.state.queues[request.queue_id].setdefault(request.partition_key, deque()).extend(request.values)
        return Empty()

    async def QueueGet(self, request: api_pb2.QueueGetRequest) -> api_pb2.QueueGetResponse:
        queue = self.state.queues[request.queue_id].setdefault(request.partition_key, deque())
        values = [queue.popleft() for _ in range(min(request.n_values or 1, len(queue)))]
        return api_pb2.QueueGetResponse(values=values)

    # Blobs.

    async def BlobCreate(self, request: api_pb2.BlobCreateRequest) -> api_pb2.BlobCreateResponse:
        blob_id = self.state.new_id("bl")
        url = f"{self.blob_url}/blobs/{blob_id}"
        return api_pb2.BlobCreateResponse(
            blob_id=blob_id,
            upload_url=url,
            blob_ids=[blob_id],
            upload_urls=api_pb2.UploadUrlList(items=[url]),
        )

    async def BlobGet(self, request: api_pb2.BlobGetRequest) -> api_pb2.BlobGetResponse:
        return api_pb2.BlobGetResponse(download_url=f"{self.blob_url}/blobs/{request.blob_id}")
