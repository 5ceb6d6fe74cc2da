"""What one container asks of the control plane, over a socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.apps import Apps
from mini.loopback.containers import Container
from mini.loopback.scheduler import Scheduler
from mini.loopback.state import Input, PlaneState, look_up
from mini.loopback.volumes import View

_HEARTBEAT = 5.0  # seconds a heartbeat waits for something to cancel
_WAITS = ("FunctionGetOutputs", "FunctionCallGetDataOut", "QueueGet", "QueueNextItems")


class ContainerRequests:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        scheduler: Has the inputs.
        apps: To stop one.
        container: Who asks.
    """

    def __init__(self, state: PlaneState, scheduler: Scheduler, apps: Apps, container: Container) -> None:
        self.state, self.scheduler, self.apps, self.container = state, scheduler, apps, container

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        """What a call of the container is answered in: while it waits for others it takes no core from them."""
        if name not in _WAITS:
            yield
            return
        self.container.waits += 1
        self.scheduler.rescale(self.container.function)
        try:
            yield
        finally:
            self.container.waits -= 1

    async def ContainerHello(self, _: Empty) -> Empty:
        return Empty()

    async def ContainerHeartbeat(self, _: api_pb2.ContainerHeartbeatRequest) -> api_pb2.ContainerHeartbeatResponse:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.container.cancel.wait(), _HEARTBEAT)
        self.container.cancel.clear()
        ids, self.container.to_cancel = self.container.to_cancel, []
        if not ids:
            return api_pb2.ContainerHeartbeatResponse()
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=api_pb2.CancelInputEvent(input_ids=ids))

    async def ContainerStop(self, _: api_pb2.ContainerStopRequest) -> api_pb2.ContainerStopResponse:
        self.container.stop()
        return api_pb2.ContainerStopResponse()

    async def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:
        self.apps.stop(request.app_id, asking=self.container.task_id)
        return Empty()

    async def FunctionGetInputs(self, request: api_pb2.FunctionGetInputsRequest) -> api_pb2.FunctionGetInputsResponse:
        item = await self.scheduler.next_input(self.container)
        if item is None:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        items = [item]
        # A batch is what comes in its time; the next input after it is the next batch's.
        deadline = asyncio.get_running_loop().time() + request.batch_linger_ms / 1000
        while len(items) < request.batch_max_size:
            if self.container.function.queue and not self.container.stopping:
                following = await self.scheduler.next_input(self.container)
                items += [] if following is None else [following]
            elif asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)
            else:
                break
        return api_pb2.FunctionGetInputsResponse(inputs=[_given(item) for item in items])

    async def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)

    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:
        self.scheduler.measure(self.container)
        for output in request.outputs:
            item = self.container.current.pop(output.input_id, None)
            if item is not None:
                self.scheduler.fail_or_retry(item, output.result, data_format=output.data_format)
        return Empty()

    async def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest) -> Empty:
        if request.attempt_token:  # as `_given` makes it
            call = look_up(self.state.inputs, request.attempt_token.rsplit("-", 1)[0], "Input").call
        else:
            call = look_up(self.state.calls, request.function_call_id, "Function call")
        call.yielded.extend(request.data_chunks)
        call.changed.send()
        return Empty()

    async def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:
        self.container.failure = request.result
        return Empty()

    async def VolumeCommit(self, request: api_pb2.VolumeCommitRequest) -> api_pb2.VolumeCommitResponse:
        self._view(request.volume_id).commit()
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest) -> Empty:
        self._view(request.volume_id).reload()
        return Empty()

    def _view(self, volume_id: str) -> View:
        if volume_id not in self.container.views:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Volume '{volume_id}' is not mounted in this container")
        return self.container.views[volume_id]


def _given(item: Input) -> api_pb2.FunctionGetInputsItem:
    return api_pb2.FunctionGetInputsItem(
        input_id=item.id,
        input=item.proto,
        function_call_id=item.call.id,
        function_call_invocation_type=item.call.invocation,  # type: ignore[arg-type]
        retry_count=item.retry_count,
        function_map_idx=item.idx,
        attempt_token=f"{item.id}-{item.retry_count}",
    )
