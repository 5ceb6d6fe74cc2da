"""Dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from mini.loopback.named import creation_info, forget, name_of, named, newest
from mini.loopback.state import PlaneState, look_up


class Dicts:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
    """

    def __init__(self, state: PlaneState) -> None:
        self.state = state

    def _entries(self, dict_id: str) -> dict[bytes, bytes]:
        return look_up(self.state.dicts, dict_id, "Dict")

    async def DictGetOrCreate(self, request: api_pb2.DictGetOrCreateRequest) -> api_pb2.DictGetOrCreateResponse:
        dict_id, new = named(
            *(self.state, "dict", "di", request.deployment_name, request.object_creation_type),
            request.environment_name,
        )
        if new:
            self.state.dicts[dict_id] = {entry.key: entry.value for entry in request.data}
        return api_pb2.DictGetOrCreateResponse(dict_id=dict_id, metadata=self._metadata(dict_id))

    async def DictGetById(self, request: api_pb2.DictGetByIdRequest) -> api_pb2.DictGetByIdResponse:
        self._entries(request.dict_id)
        return api_pb2.DictGetByIdResponse(dict_id=request.dict_id, metadata=self._metadata(request.dict_id))

    async def DictList(self, request: api_pb2.DictListRequest) -> api_pb2.DictListResponse:
        found = newest(self.state, "dict", request.environment_name, request.pagination)
        described = ((one, self._metadata(one)) for one in found)
        return api_pb2.DictListResponse(
            dicts=[
                api_pb2.DictListResponse.DictInfo(name=metadata.name, dict_id=one, metadata=metadata)
                for one, metadata in described
            ]
        )

    def _metadata(self, dict_id: str) -> api_pb2.DictMetadata:
        return api_pb2.DictMetadata(
            name=name_of(self.state, "dict", dict_id), creation_info=creation_info(self.state, dict_id)
        )

    async def DictDelete(self, request: api_pb2.DictDeleteRequest) -> Empty:
        self._entries(request.dict_id)
        del self.state.dicts[request.dict_id]
        forget(self.state, "dict", request.dict_id)
        return Empty()

    async def DictHeartbeat(self, request: api_pb2.DictHeartbeatRequest) -> Empty:
        self._entries(request.dict_id)
        return Empty()

    async def DictClear(self, request: api_pb2.DictClearRequest) -> Empty:
        self._entries(request.dict_id).clear()
        return Empty()

    async def DictUpdate(self, request: api_pb2.DictUpdateRequest) -> api_pb2.DictUpdateResponse:
        entries, created = self._entries(request.dict_id), False
        for update in request.updates:
            if not (request.if_not_exists and update.key in entries):
                created = created or update.key not in entries
                entries[update.key] = update.value
        return api_pb2.DictUpdateResponse(created=created)

    async def DictGet(self, request: api_pb2.DictGetRequest) -> api_pb2.DictGetResponse:
        value = self._entries(request.dict_id).get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictContains(self, request: api_pb2.DictContainsRequest) -> api_pb2.DictContainsResponse:
        return api_pb2.DictContainsResponse(found=request.key in self._entries(request.dict_id))

    async def DictPop(self, request: api_pb2.DictPopRequest) -> api_pb2.DictPopResponse:
        value = self._entries(request.dict_id).pop(request.key, None)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def DictLen(self, request: api_pb2.DictLenRequest) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=len(self._entries(request.dict_id)))

    async def DictContents(self, request: api_pb2.DictContentsRequest) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in list(self._entries(request.dict_id).items()):
            yield api_pb2.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")
