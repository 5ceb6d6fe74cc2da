"""Apps, functions and their calls: the queue, the containers that work it off, and what comes back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.server import Server
from modal_proto import api_pb2

from mini.loopback import containers
from mini.loopback.containers import Container
from mini.loopback.state import App, Call, Function, Input, State
from mini.loopback.volumes import View, Volumes

_RESULT = api_pb2.GenericResult
_LOSSES = 8  # how often an input is given to another container after its own died; Modal's own limit
_IDLE = 60.0  # seconds a container waits for an input, where the function says nothing
_HEARTBEAT = 5.0  # seconds a heartbeat waits for something to cancel


class Calls:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        volumes: Those of the same control plane.
        serve: Makes a server for one container, to listen on a socket of its own.
        cores: How many containers run at once where a function sets no limit.
    """

    def __init__(self, state: State, volumes: Volumes, serve: Callable[[Container], Server], cores: int) -> None:
        self.state, self.volumes, self.serve, self.cores = state, volumes, serve, cores
        self.containers: dict[str, Container] = {}
        self._given = 0
        self._background: set[asyncio.Task[Any]] = set()

    # Apps.

    async def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
        app = App(self.state.new_id("ap"), request.description)
        self.state.apps[app.id] = app
        return api_pb2.AppCreateResponse(app_id=app.id)

    async def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:
        app_id = self.state.deployments.get(request.app_name)
        if app_id is None:
            app_id = (await self.AppCreate(api_pb2.AppCreateRequest(description=request.app_name))).app_id
            self.state.deployments[request.app_name] = app_id
        return api_pb2.AppGetOrCreateResponse(app_id=app_id)

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self.state.deployments.get(request.name, ""))

    async def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:
        return api_pb2.AppGetLayoutResponse(app_layout=self._layout(self.state.apps[request.app_id]))

    async def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
        app = self.state.apps[request.app_id]
        app.functions = dict(request.function_ids)
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            app.deployed = True
            self.state.deployments[request.name] = app.id
        return api_pb2.AppPublishResponse(url=f"loopback://{app.id}", deployed_at=time.time())

    async def AppHeartbeat(self, _: api_pb2.AppHeartbeatRequest) -> Empty:
        return Empty()

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:
        app = self.state.apps.get(request.app_id)
        if app is not None and not app.deployed:
            self._stop_app(app)
        return Empty()

    async def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:
        self._stop_app(self.state.apps[request.app_id])
        return Empty()

    async def AppGetLogs(self, request: api_pb2.AppGetLogsRequest) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        app = self.state.apps[request.app_id]
        seen = int(request.last_entry_id.split("-")[0] or 0) if request.last_entry_id else 0
        deadline = time.monotonic() + (request.timeout or 55)
        while time.monotonic() < deadline:
            if len(app.logs) > seen:
                batch = app.logs[seen:]
                seen = len(app.logs)
                yield api_pb2.TaskLogsBatch(entry_id=f"{seen}-0", items=batch)
            if app.stopped:
                yield api_pb2.TaskLogsBatch(entry_id=f"{seen}-0", app_done=True)
                return
            await asyncio.sleep(0.1)

    def _stop_app(self, app: App) -> None:
        app.stopped = True
        for function in self.state.functions.values():
            if function.app_id == app.id:
                function.queue.clear()
                for task_id in list(function.tasks):
                    self.containers[task_id].stopping = True
                    self.containers[task_id].kill()

    # Functions.

    async def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest) -> api_pb2.FunctionPrecreateResponse:
        function = Function(
            request.existing_function_id or self.state.new_id("fu"), request.app_id, request.function_name
        )
        self.state.functions[function.id] = function
        return api_pb2.FunctionPrecreateResponse(function_id=function.id, handle_metadata=self._metadata(function))

    async def FunctionCreate(self, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:
        function = self.state.functions.get(request.existing_function_id)
        if function is None:
            function = Function(self.state.new_id("fu"), request.app_id, "")
            self.state.functions[function.id] = function
        # With a choice of GPUs the definitions are a ranked list; the first is as good as any here.
        ranked = [ranked.function for ranked in request.function_data.ranked_functions]
        definition = api_pb2.Function()
        definition.CopyFrom(ranked[0] if ranked else request.function)
        function.definition, function.requested, function.name = definition, request, definition.function_name
        data = api_pb2.FunctionData()
        if ranked:
            data.CopyFrom(request.function_data)
        else:
            data.CopyFrom(_data(definition))
            data.ranked_functions.add(rank=0, function=definition)
        return api_pb2.FunctionCreateResponse(
            function_id=function.id,
            function=definition,
            function_data=data,
            handle_metadata=self._metadata(function),
        )

    async def FunctionGet(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
        app = self.state.apps.get(self.state.deployments.get(request.app_name, ""))
        if app is None or request.object_tag not in app.functions:
            raise GRPCError(Status.NOT_FOUND, f"Function '{request.app_name}/{request.object_tag}' not found")
        function = self.state.functions[app.functions[request.object_tag]]
        assert function.definition is not None
        data = _data(function.definition)
        data.ranked_functions.add(rank=0, function=function.definition)
        return api_pb2.FunctionGetResponse(
            function_id=function.id, handle_metadata=self._metadata(function), function=data
        )

    def _metadata(self, function: Function) -> api_pb2.FunctionHandleMetadata:
        return api_pb2.FunctionHandleMetadata(
            function_name=function.name,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            app_id=function.app_id,
            supported_input_formats=[api_pb2.DATA_FORMAT_PICKLE],
            supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE],
        )

    def _layout(self, app: App) -> api_pb2.AppLayout:
        own = [function for function in self.state.functions.values() if function.app_id == app.id]
        return api_pb2.AppLayout(
            function_ids={function.name: function.id for function in own},
            objects=[
                api_pb2.Object(object_id=function.id, function_handle_metadata=self._metadata(function))
                for function in own
            ],
        )

    # Calls, as a client makes them.

    async def FunctionMap(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        function = self.state.functions[request.function_id]
        call = Call(
            self.state.new_id("fc"), function, request.function_call_type, request.function_call_invocation_type
        )
        self.state.calls[call.id] = call
        assert function.definition is not None
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            retry_policy=function.definition.retry_policy,
            sync_client_retries_enabled=True,  # of a call that is waited for, the client makes the retries
            max_inputs_outstanding=1000,
            pipelined_inputs=self._put(call, request.pipelined_inputs),
        )

    async def FunctionPutInputs(self, request: api_pb2.FunctionPutInputsRequest) -> api_pb2.FunctionPutInputsResponse:
        return api_pb2.FunctionPutInputsResponse(
            inputs=self._put(self.state.calls[request.function_call_id], request.inputs)
        )

    async def FunctionRetryInputs(
        self, request: api_pb2.FunctionRetryInputsRequest
    ) -> api_pb2.FunctionRetryInputsResponse:
        call = self._call(request.function_call_jwt)
        for again in request.inputs:
            item = call.inputs[_input_id(again.input_jwt)]
            item.retry_count, item.output = again.retry_count or item.retry_count + 1, None
            self._enqueue(item)
        return api_pb2.FunctionRetryInputsResponse(input_jwts=[again.input_jwt for again in request.inputs])

    async def FunctionFinishInputs(self, _: api_pb2.FunctionFinishInputsRequest) -> Empty:
        return Empty()

    async def FunctionCallFromId(
        self, request: api_pb2.FunctionCallFromIdRequest
    ) -> api_pb2.FunctionCallFromIdResponse:
        call = self._call(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=len(call.inputs))

    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest) -> Empty:
        call = self._call(request.function_call_id)
        call.cancelled = True
        for item in call.inputs.values():
            if item.output is not None:
                continue
            if item.task_id is None:
                with contextlib.suppress(ValueError):
                    call.function.queue.remove(item)
                self._finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_TERMINATED, exception="Input was cancelled"))
            else:
                container = self.containers[item.task_id]
                container.to_cancel.append(item.id)
                container.cancel.set()
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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call.changed.wait(), left)
        return api_pb2.FunctionGetOutputsResponse(
            outputs=chosen,
            last_entry_id=f"{seen + len(chosen)}-0",
            num_unfinished_inputs=sum(item.output is None for item in call.inputs.values()),
        )

    def _call(self, call_id: str) -> Call:
        if call_id not in self.state.calls:
            raise GRPCError(Status.NOT_FOUND, f"Function call '{call_id}' not found")
        return self.state.calls[call_id]

    def _put(self, call: Call, items: Any) -> list[api_pb2.FunctionPutInputsResponseItem]:
        answers = []
        for item in items:
            new = Input(self.state.new_id("in"), item.idx, call, item.input)
            call.inputs[new.id] = self.state.inputs[new.id] = new
            answers.append(api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=new.id, input_jwt=_jwt(new)))
            self._enqueue(new)
        return answers

    def _enqueue(self, item: Input, *, first: bool = False) -> None:
        function = item.call.function
        item.task_id = None
        while function.waiting:
            waiting = function.waiting.pop()
            if not waiting.done():
                waiting.set_result(item)
                return
        (function.queue.appendleft if first else function.queue.append)(item)
        self._scale(function)

    # Containers.

    def _scale(self, function: Function) -> None:
        definition = function.definition
        assert definition is not None
        cap = definition.concurrency_limit or self.cores
        while function.queue and len(function.tasks) < min(cap, len(function.queue) + len(self._busy(function))):
            self._start(function)

    def _busy(self, function: Function) -> list[str]:
        return [task_id for task_id in function.tasks if self.containers[task_id].current]

    def _start(self, function: Function) -> None:
        task_id = self.state.new_id("ta")
        container = Container(task_id, function, self.state.folder / "containers" / task_id, {})
        self.containers[task_id] = container
        function.tasks.add(task_id)
        self._spawn(self._run(container))

    async def _run(self, container: Container) -> None:
        """A container's life, from its files to the settling of what it had in hand."""
        try:
            await self._start_process(container)
            assert container.process is not None
            app = self.state.apps[container.function.app_id]

            async def emit(text: str) -> None:
                app.logs.append(
                    api_pb2.TaskLogs(
                        data=text,
                        file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT,
                        timestamp=time.time(),
                    )
                )

            assert container.process.stdout is not None
            await containers.pump(container.process.stdout, emit)
            code = await container.process.wait()
            if code == 0:  # Modal commits at a container's orderly end
                for view in container.views.values():
                    view.commit()
        finally:
            container.function.tasks.discard(container.task_id)
            if container.server is not None:
                container.server.close()
            self._settle(container)

    async def _start_process(self, container: Container) -> None:
        function, root = container.function, container.root
        definition = function.definition
        assert definition is not None
        (root / "root").mkdir(parents=True)
        containers.lay_out(self.state, function, root)
        mounts = {}
        for mount in definition.volume_mounts:
            path = root / mount.mount_path.lstrip("/")
            view = View(self.volumes.path(mount.volume_id), path, read_only=mount.read_only)
            container.views[mount.volume_id] = view
            mounts[mount.mount_path] = path
        app = self.state.apps[function.app_id]
        arguments = root / "arguments"
        arguments.write_bytes(
            api_pb2.ContainerArguments(
                task_id=container.task_id,
                function_id=function.id,
                app_id=app.id,
                function_def=definition,
                app_layout=self._layout(app),
                environment_name="main",
            ).SerializeToString()
        )
        socket = self.state.file("sockets", container.task_id[-6:])
        container.server = self.serve(container)
        await container.server.start(path=str(socket))
        command = containers.command(root, mounts)
        if self.state.faults.startup_exit is not None:
            command = ["sh", "-c", f"exit {self.state.faults.startup_exit}"]
        container.process = await asyncio.create_subprocess_exec(
            *command,
            env=containers.environment(self.state, function, root, arguments, socket),
            cwd=root / "root",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    def _settle(self, container: Container) -> None:
        """Decide on the inputs of a container that is gone."""
        function = container.function
        app = self.state.apps[function.app_id]
        if container.failure is not None and not container.current and function.queue:
            # It failed before it asked for an input: so will the next one.
            while function.queue:
                self._finish(function.queue.popleft(), container.failure)
            return
        for item in list(container.current.values()):
            item.losses += 1
            if app.stopped or item.call.cancelled:
                self._finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_TERMINATED, exception="Input was cancelled"))
            elif item.losses > _LOSSES:
                why = f"Input aborted - exceeded limit of {_LOSSES} retries: the container exited"
                self._finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception=why))
            else:
                self._enqueue(item, first=True)
        container.current.clear()
        if function.queue and not app.stopped:
            if container.process is None or (self.state.faults.startup_exit is not None):
                for item in list(function.queue):
                    item.losses += 1
                    if item.losses > _LOSSES:
                        function.queue.remove(item)
                        why = f"Function failed to start: {_LOSSES} containers exited before they were ready"
                        self._finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_INIT_FAILURE, exception=why))
            self._scale(function)

    def _finish(self, item: Input, result: api_pb2.GenericResult, **fields: Any) -> None:
        if item.output is not None:
            return
        item.output = api_pb2.FunctionGetOutputsItem(
            result=result,
            idx=item.idx,
            input_id=item.id,
            task_id=item.task_id or "",
            input_started_at=item.started,
            output_created_at=time.time(),
            retry_count=item.retry_count,
            **{"data_format": api_pb2.DATA_FORMAT_PICKLE, **fields},
        )
        item.call.outputs.append(item.output)
        item.call.notify()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End every container."""
        for container in self.containers.values():
            container.stopping = True
            container.kill()
        for app in self.state.apps.values():
            app.stopped = True
        if self._background:
            await asyncio.wait(self._background, timeout=10)


class ContainerCalls:
    """Handlers of what one container asks.

    Args:
        calls: The control plane's.
        container: Who asks.
    """

    def __init__(self, calls: Calls, container: Container) -> None:
        self.calls, self.container, self.state = calls, container, calls.state

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

    async def FunctionGetInputs(self, _: api_pb2.FunctionGetInputsRequest) -> api_pb2.FunctionGetInputsResponse:
        item = await self._next()
        if item is None:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        item.task_id, item.started = self.container.task_id, time.time()
        self.container.current[item.id] = item
        self._watch(item)
        self.calls._given += 1
        every = self.state.faults.kill_every
        if every and self.calls._given % every == 0:
            asyncio.get_running_loop().call_later(0.01, self.container.kill)
        if self.state.faults.out_of_memory:
            why = f"Container {self.container.task_id} was killed: it ran out of memory (OOM)"
            self.container.current.pop(item.id)
            self.calls._finish(item, _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception=why))
            self.container.kill()
        return api_pb2.FunctionGetInputsResponse(
            inputs=[
                api_pb2.FunctionGetInputsItem(
                    input_id=item.id,
                    input=item.proto,
                    function_call_id=item.call.id,
                    function_call_invocation_type=item.call.invocation,  # type: ignore[arg-type]
                    retry_count=item.retry_count,
                    function_map_idx=item.idx,
                    attempt_token=f"{item.id}-{item.retry_count}",
                )
            ]
        )

    async def _next(self) -> Input | None:
        function = self.container.function
        if self.container.stopping:
            return None
        if function.queue:
            return function.queue.popleft()
        assert function.definition is not None
        idle = function.definition.task_idle_timeout_secs or _IDLE
        waiting: asyncio.Future[Input | None] = asyncio.get_running_loop().create_future()
        function.waiting.add(waiting)
        try:
            return await asyncio.wait_for(waiting, idle)
        except TimeoutError:
            self.container.stopping = True
            return None
        finally:
            function.waiting.discard(waiting)

    def _watch(self, item: Input) -> None:
        """Stop an attempt that runs for longer than the function allows."""
        definition = self.container.function.definition
        assert definition is not None
        started = item.started

        def expire() -> None:
            if item.output is None and item.started == started and item.id in self.container.current:
                del self.container.current[item.id]
                why = f"Task's current input {item.id} hit its timeout of {definition.timeout_secs}s"
                self._fail_or_retry(item, _RESULT(status=_RESULT.GENERIC_STATUS_TIMEOUT, exception=why))
                self.container.kill()

        asyncio.get_running_loop().call_later(definition.timeout_secs or 300, expire)

    def _fail_or_retry(self, item: Input, result: api_pb2.GenericResult, **fields: Any) -> None:
        assert self.container.function.definition is not None
        policy = self.container.function.definition.retry_policy
        again = (
            result.status in (_RESULT.GENERIC_STATUS_FAILURE, _RESULT.GENERIC_STATUS_TIMEOUT)
            and item.call.invocation == api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
        )
        if again and item.retry_count < policy.retries and not item.call.cancelled:
            item.retry_count += 1
            delay = min(
                policy.initial_delay_ms * max(1.0, policy.backoff_coefficient) ** (item.retry_count - 1),
                policy.max_delay_ms or 1000,
            )
            asyncio.get_running_loop().call_later(delay / 1000, self.calls._enqueue, item)
        else:
            self.calls._finish(item, result, **fields)

    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:
        for output in request.outputs:
            item = self.container.current.pop(output.input_id, None)
            if item is not None:
                self._fail_or_retry(item, output.result, data_format=output.data_format)
        return Empty()

    async def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:
        self.container.failure = request.result
        return Empty()

    async def VolumeCommit(self, request: api_pb2.VolumeCommitRequest) -> api_pb2.VolumeCommitResponse:
        self.container.views[request.volume_id].commit()
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest) -> Empty:
        self.container.views[request.volume_id].reload()
        return Empty()


def _jwt(item: Input) -> str:
    """An unsigned token of an input; Modal's client reads the index out of it."""
    parts = [{"alg": "none"}, {"idx": item.idx, "input_id": item.id}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), ""])


def _input_id(jwt: str) -> str:
    payload = jwt.split(".")[1]
    input_id: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["input_id"]
    return input_id


def _data(definition: api_pb2.Function) -> api_pb2.FunctionData:
    """The part of a definition that does not depend on the GPU."""
    shared = {field.name for field in api_pb2.FunctionData.DESCRIPTOR.fields} - {"ranked_functions"}
    data = api_pb2.FunctionData()
    for field, value in definition.ListFields():
        if field.name in shared:
            target = getattr(data, field.name)
            if hasattr(target, "MergeFrom"):
                target.MergeFrom(value)
            else:
                setattr(data, field.name, value)
    return data


def socket_folder_is_short(folder: Path) -> bool:
    """Whether a unix socket fits there: its path may have about a hundred characters."""
    return len(str(folder)) < 70
