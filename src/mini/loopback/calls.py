"""Function calls and their inputs, as a client makes them, and what comes back."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.scheduler import Scheduler
from mini.loopback.state import FunctionCall, Input, PlaneState, look_up

_RESULT = api_pb2.GenericResult
_STREAM = 55.0  # seconds a generator's stream is open before the client asks again


class Calls:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        scheduler: Takes the inputs.
    """

    def __init__(self, state: PlaneState, scheduler: Scheduler) -> None:
        self.state, self.scheduler = state, scheduler

    async def FunctionMap(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        function = look_up(self.state.functions, request.function_id, "Function")
        app = self.state.apps[function.app_id]
        if app.stopped:
            raise GRPCError(Status.NOT_FOUND, f"App '{app.name}' ({app.id}) is stopped")
        policy = function.created.retry_policy
        call = FunctionCall(
            *(self.state.new_id("fc"), function, request.function_call_type, request.function_call_invocation_type),
            parent=request.parent_input_id,
        )
        self.state.calls[call.id] = call
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            retry_policy=policy,
            sync_client_retries_enabled=True,  # of a call that is waited for, the client makes the retries
            max_inputs_outstanding=1000,
            pipelined_inputs=self._put(call, request.pipelined_inputs),
        )

    async def FunctionPutInputs(self, request: api_pb2.FunctionPutInputsRequest) -> api_pb2.FunctionPutInputsResponse:
        return api_pb2.FunctionPutInputsResponse(inputs=self._put(self._call(request.function_call_id), request.inputs))

    async def FunctionRetryInputs(
        self, request: api_pb2.FunctionRetryInputsRequest
    ) -> api_pb2.FunctionRetryInputsResponse:
        call = self._call(request.function_call_jwt)
        for again in request.inputs:
            item = look_up(call.inputs, _input_id(again.input_jwt), "Input")
            item.retry_count, item.output = again.retry_count or item.retry_count + 1, None
            self.scheduler.enqueue(item)
        return api_pb2.FunctionRetryInputsResponse(input_jwts=[again.input_jwt for again in request.inputs])

    async def FunctionFinishInputs(self, _: api_pb2.FunctionFinishInputsRequest) -> Empty:
        return Empty()

    async def FunctionCallFromId(
        self, request: api_pb2.FunctionCallFromIdRequest
    ) -> api_pb2.FunctionCallFromIdResponse:
        call = self._call(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.id,
            num_inputs=len(call.inputs),
            metadata=api_pb2.FunctionCallHandleMetadata(app_id=call.function.app_id, function_id=call.function.id),
        )

    async def FunctionCallGetInfo(
        self, request: api_pb2.FunctionCallGetInfoRequest
    ) -> api_pb2.FunctionCallGetInfoResponse:
        call = self._call(request.function_call_id)
        counts = Counter(
            _RESULT.GENERIC_STATUS_UNSPECIFIED if i.output is None else i.output.result.status
            for i in call.inputs.values()
        )
        pending = counts.pop(_RESULT.GENERIC_STATUS_UNSPECIFIED, 0)
        succeeded = counts.pop(_RESULT.GENERIC_STATUS_SUCCESS, 0)
        timeout = counts.pop(_RESULT.GENERIC_STATUS_TIMEOUT, 0)
        cancelled = counts.pop(_RESULT.GENERIC_STATUS_TERMINATED, 0)
        return api_pb2.FunctionCallGetInfoResponse(
            info=api_pb2.FunctionCallInfo(
                function_call_id=call.id,
                created_at=call.created,
                pending_inputs=api_pb2.InputCategoryInfo(total=pending),
                succeeded_inputs=api_pb2.InputCategoryInfo(total=succeeded),
                timeout_inputs=api_pb2.InputCategoryInfo(total=timeout),
                cancelled_inputs=api_pb2.InputCategoryInfo(total=cancelled),
                failed_inputs=api_pb2.InputCategoryInfo(total=counts.total()),
                total_inputs=len(call.inputs),
            )
        )

    async def FunctionGetCallGraph(
        self, request: api_pb2.FunctionGetCallGraphRequest
    ) -> api_pb2.FunctionGetCallGraphResponse:
        root = self._call(request.function_call_id)
        while root.parent:
            root = look_up(self.state.inputs, root.parent, "Input").call
        graph, calls = api_pb2.FunctionGetCallGraphResponse(), [root]
        while calls:
            call = calls.pop()
            definition = call.function.created
            graph.function_calls.add(
                function_call_id=call.id,
                parent_input_id=call.parent,
                function_name=definition.function_name,
                module_name=definition.module_name,
            )
            for item in call.inputs.values():
                status = item.output.result.status if item.output is not None else _RESULT.GENERIC_STATUS_UNSPECIFIED
                graph.inputs.add(input_id=item.id, status=status, function_call_id=call.id, task_id=item.task_id or "")
            calls += [one for one in self.state.calls.values() if one.parent in call.inputs]
        return graph

    async def FunctionGetCurrentStats(self, request: api_pb2.FunctionGetCurrentStatsRequest) -> api_pb2.FunctionStats:
        function = look_up(self.state.functions, request.function_id, "Function")
        return api_pb2.FunctionStats(
            backlog=len(function.queue),
            num_total_tasks=len(function.tasks),
            num_running_inputs=sum(len(self.scheduler.containers[one].current) for one in function.tasks),
        )

    async def FunctionUpdateSchedulingParams(
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        function = look_up(self.state.functions, request.function_id, "Function")
        settings = function.created.autoscaler_settings
        settings.MergeFrom(request.settings)
        self.scheduler.rescale(function)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=settings)

    async def FunctionGetSchedulingParams(
        self, request: api_pb2.FunctionGetSchedulingParamsRequest
    ) -> api_pb2.FunctionGetSchedulingParamsResponse:
        settings = look_up(self.state.functions, request.function_id, "Function").created.autoscaler_settings
        return api_pb2.FunctionGetSchedulingParamsResponse(
            autoscaler_configuration=api_pb2.AutoscalerConfiguration(settings=settings)
        )

    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest) -> Empty:
        call = self._call(request.function_call_id)
        call.cancelled = True
        for item in call.inputs.values():
            self.scheduler.cancel(item, terminate=request.terminate_containers)
        return Empty()

    async def FunctionGetOutputs(
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        call = self._call(request.function_call_id)
        if self.state.faults.expire:
            return api_pb2.FunctionGetOutputsResponse(last_entry_id="0-0", num_unfinished_inputs=0)
        by_index = request.HasField("start_idx") or request.HasField("end_idx")
        seen = int(request.last_entry_id.split("-")[0] or 0)
        deadline = time.monotonic() + request.timeout
        while True:
            if by_index:  # of several attempts the last
                latest = {o.idx: o for o in call.outputs if request.start_idx <= o.idx <= request.end_idx}
                chosen = list(latest.values())
            else:
                chosen = call.outputs[seen : seen + (request.max_values or 200)]
            left = deadline - time.monotonic()
            if chosen or left <= 0:
                break
            await call.changed.wait(left)
        return api_pb2.FunctionGetOutputsResponse(
            outputs=chosen,
            last_entry_id=f"{seen + len(chosen)}-0",
            num_unfinished_inputs=sum(item.output is None for item in call.inputs.values()),
        )

    async def FunctionCallGetDataOut(
        self, request: api_pb2.FunctionCallGetDataRequest
    ) -> AsyncIterator[api_pb2.DataChunk]:
        call = self._call(request.function_call_id)
        seen, deadline = request.last_index, time.monotonic() + _STREAM
        while True:
            fresh = [chunk for chunk in call.yielded if chunk.index > seen]
            for chunk in fresh:
                seen = chunk.index
                yield chunk
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if not any(chunk.index > seen for chunk in call.yielded):
                await call.changed.wait(left)

    def _call(self, call_id: str) -> FunctionCall:
        return look_up(self.state.calls, call_id, "Function call")

    def _put(
        self, call: FunctionCall, items: Iterable[api_pb2.FunctionPutInputsItem]
    ) -> list[api_pb2.FunctionPutInputsResponseItem]:
        answers = []
        for item in items:
            new = Input(self.state.new_id("in"), item.idx, call, item.input)
            call.inputs[new.id] = self.state.inputs[new.id] = new
            answers.append(api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=new.id, input_jwt=_jwt(new)))
            self.scheduler.enqueue(new)
        return answers


def _jwt(item: Input) -> str:
    """An unsigned token of an input; Modal's client reads the index out of it."""
    parts = [{"alg": "none"}, {"idx": item.idx, "input_id": item.id}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), ""])


def _input_id(jwt: str) -> str:
    """The input a token is of.

    Raises:
        GRPCError: It is no such token.
    """
    try:
        payload = jwt.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["input_id"])
    except (IndexError, ValueError, KeyError, TypeError):
        raise GRPCError(Status.INVALID_ARGUMENT, "that is no token of an input") from None
