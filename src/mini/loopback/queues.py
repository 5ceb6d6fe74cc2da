"""Queues."""

from __future__ import annotations

import itertools
import time
from collections import deque

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.named import creation_info, forget, name_of, named, newest
from mini.loopback.state import PlaneState, QueueItem, Signal, look_up

LIMIT = 5000
"""Items that a partition holds, as documented."""


class Queues:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
    """

    def __init__(self, state: PlaneState) -> None:
        self.state = state
        self._numbers, self._changed = itertools.count(), Signal()

    def _partitions(self, queue_id: str) -> dict[bytes, deque[QueueItem]]:
        return look_up(self.state.queues, queue_id, "Queue")

    async def QueueGetOrCreate(self, request: api_pb2.QueueGetOrCreateRequest) -> api_pb2.QueueGetOrCreateResponse:
        queue_id, new = named(
            *(self.state, "queue", "qu", request.deployment_name, request.object_creation_type),
            request.environment_name,
        )
        if new:
            self.state.queues[queue_id] = {}
        return api_pb2.QueueGetOrCreateResponse(queue_id=queue_id, metadata=self._metadata(queue_id))

    async def QueueGetById(self, request: api_pb2.QueueGetByIdRequest) -> api_pb2.QueueGetByIdResponse:
        self._partitions(request.queue_id)
        return api_pb2.QueueGetByIdResponse(queue_id=request.queue_id, metadata=self._metadata(request.queue_id))

    async def QueueList(self, request: api_pb2.QueueListRequest) -> api_pb2.QueueListResponse:
        found = newest(self.state, "queue", request.environment_name, request.pagination)
        described = ((one, self._metadata(one), self._partitions(one)) for one in found)
        return api_pb2.QueueListResponse(
            environment_name=request.environment_name,
            queues=[
                api_pb2.QueueListResponse.QueueInfo(
                    name=metadata.name,
                    queue_id=one,
                    created_at=metadata.creation_info.created_at,
                    num_partitions=len(partitions),
                    total_size=sum(len(items) for items in partitions.values()),
                    metadata=metadata,
                )
                for one, metadata, partitions in described
            ],
        )

    def _metadata(self, queue_id: str) -> api_pb2.QueueMetadata:
        return api_pb2.QueueMetadata(
            name=name_of(self.state, "queue", queue_id), creation_info=creation_info(self.state, queue_id)
        )

    async def QueueDelete(self, request: api_pb2.QueueDeleteRequest) -> Empty:
        self._partitions(request.queue_id)
        del self.state.queues[request.queue_id]
        forget(self.state, "queue", request.queue_id)
        return Empty()

    async def QueueHeartbeat(self, request: api_pb2.QueueHeartbeatRequest) -> Empty:
        self._partitions(request.queue_id)
        return Empty()

    async def QueueClear(self, request: api_pb2.QueueClearRequest) -> Empty:
        partitions = self._partitions(request.queue_id)
        if request.all_partitions:
            partitions.clear()
        else:
            partitions.pop(request.partition_key, None)
        return Empty()

    async def QueueLen(self, request: api_pb2.QueueLenRequest) -> api_pb2.QueueLenResponse:
        partitions = self._partitions(request.queue_id)
        chosen = partitions.values() if request.total else [partitions.get(request.partition_key, deque())]
        return api_pb2.QueueLenResponse(len=sum(len(queue) for queue in chosen))

    async def QueuePut(self, request: api_pb2.QueuePutRequest) -> Empty:
        partition = self._partitions(request.queue_id).setdefault(request.partition_key, deque())
        if len(partition) + len(request.values) > LIMIT:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a partition of a queue holds {LIMIT:,} items")
        partition.extend((next(self._numbers), value) for value in request.values)
        self._changed.send()
        return Empty()

    async def QueueGet(self, request: api_pb2.QueueGetRequest) -> api_pb2.QueueGetResponse:
        deadline = time.monotonic() + request.timeout
        while True:
            queue = self._partitions(request.queue_id).setdefault(request.partition_key, deque())
            values = [queue.popleft()[1] for _ in range(min(request.n_values or 1, len(queue)))]
            left = deadline - time.monotonic()
            if values or left <= 0:
                return api_pb2.QueueGetResponse(values=values)
            await self._changed.wait(left)

    async def QueueNextItems(self, request: api_pb2.QueueNextItemsRequest) -> api_pb2.QueueNextItemsResponse:
        deadline, last = time.monotonic() + request.item_poll_timeout, int(request.last_entry_id or -1)
        while True:
            queue = self._partitions(request.queue_id).get(request.partition_key, ())
            items = [api_pb2.QueueItem(value=value, entry_id=str(n)) for n, value in queue if n > last]
            left = deadline - time.monotonic()
            if items or left <= 0:
                return api_pb2.QueueNextItemsResponse(items=items)
            await self._changed.wait(left)
