"""Images: each layer's definition is kept, and a function that runs in a build is run; in sandboxes all is built."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.containers import Container
from mini.loopback.environments import BUILDER
from mini.loopback.layers import Builder, BuildFailed
from mini.loopback.sandbox import remove
from mini.loopback.scheduler import Scheduler
from mini.loopback.state import FunctionCall, Input, PlaneState, look_up

_RESULT = api_pb2.GenericResult
_SHORT_BUILD = 5.0  # seconds a client waits for an image before it follows the build
_STREAM = 50.0  # seconds a build is followed before the client asks again


class Images:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        scheduler: Runs the functions of builds.
        builder: Builds images; None where nothing of them is built but what functions leave.
    """

    def __init__(self, state: PlaneState, scheduler: Scheduler, builder: Builder | None = None) -> None:
        self.state, self.scheduler, self.builder = state, scheduler, builder
        self._builds: dict[str, Input] = {}
        self._finishing: dict[str, asyncio.Task[None]] = {}

    async def ImageGetOrCreate(self, request: api_pb2.ImageGetOrCreateRequest) -> api_pb2.ImageGetOrCreateResponse:
        image_id = f"im-{hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()[:22]}"
        known = image_id in self.state.images and not request.force_build
        self.state.images[image_id] = request.image
        status = _RESULT.GENERIC_STATUS_SUCCESS
        if self.state.faults.build_log is not None:
            status = _RESULT.GENERIC_STATUS_UNSPECIFIED  # "still building": the client joins
            self.state.failed_builds[image_id] = self.state.faults.build_log
        elif request.build_function_id:
            self.state.failed_builds.pop(image_id, None)
            build = self._builds.get(image_id) if known else None
            if build is None or (build.output is not None and not _succeeded(build)):
                self._begin(image_id, request)
            status = _RESULT.GENERIC_STATUS_UNSPECIFIED
        elif self.builder is not None:
            self.state.failed_builds.pop(image_id, None)
            building = self.builder.begin(image_id, anew=True)
            await asyncio.wait([building], timeout=_SHORT_BUILD)
            if not building.done() or building.exception() is not None:
                status = _RESULT.GENERIC_STATUS_UNSPECIFIED
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            result=_RESULT(status=status),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
        )

    async def ImageJoinStreaming(
        self, request: api_pb2.ImageJoinStreamingRequest
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        image_id = request.image_id
        look_up(self.state.images, image_id, "Image")
        building = self._building(image_id)
        if building is not None:
            await asyncio.wait([building], timeout=min(request.timeout or _STREAM, _STREAM))
            if not building.done():
                return  # the client asks again
            error = building.exception()
            if error is not None:
                said = str(error) if isinstance(error, BuildFailed) else f"{type(error).__name__}: {error}\n"
                self.state.failed_builds[image_id] = said
        build = self._builds.get(image_id)
        log, result = "", _RESULT(status=_RESULT.GENERIC_STATUS_SUCCESS)
        if image_id in self.state.failed_builds:
            log = self.state.failed_builds[image_id]
            result = _RESULT(status=_RESULT.GENERIC_STATUS_FAILURE, exception="the build failed")
        elif build is not None:
            assert build.output is not None
            log, result = self._log_of(build), build.output.result
        if log:
            data = api_pb2.TaskLogs(data=log, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT)
            yield api_pb2.ImageJoinStreamingResponse(task_logs=[data], entry_id="1-0")
        yield api_pb2.ImageJoinStreamingResponse(
            result=result, entry_id="2-0", eof=True, metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER)
        )

    async def ImageFromId(self, request: api_pb2.ImageFromIdRequest) -> api_pb2.ImageFromIdResponse:
        if request.image_id not in self.state.images:
            raise GRPCError(Status.NOT_FOUND, f"Image '{request.image_id}' not found")
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

    def _building(self, image_id: str) -> asyncio.Task[Any] | None:
        """What is to be waited for until an image is there, or has failed."""
        if image_id in self.state.failed_builds:
            return None
        if image_id in self._finishing or self.builder is None:
            return self._finishing.get(image_id)
        return self.builder.begin(image_id)

    def _begin(self, image_id: str, request: api_pb2.ImageGetOrCreateRequest) -> None:
        """Run the function of a build, and keep what it leaves."""
        function = look_up(self.state.functions, request.build_function_id, "Function")
        call = FunctionCall(
            *(self.state.new_id("fc"), function, api_pb2.FUNCTION_CALL_TYPE_UNARY),
            invocation=api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
        )
        build = Input(self.state.new_id("in"), 0, call, request.image.build_function.input)
        self.state.calls[call.id], self.state.inputs[build.id] = call, build
        call.inputs[build.id] = self._builds[image_id] = build
        self._finishing[image_id] = asyncio.ensure_future(self._finish(image_id, build))
        self.scheduler.enqueue(build)

    async def _finish(self, image_id: str, build: Input) -> None:
        while build.output is None:
            await build.call.changed.wait(_STREAM)
        container = self.scheduler.containers.get(build.output.task_id)
        if container is None:
            return
        if _succeeded(build):
            target = self.state.path("layers", image_id)
            if self.builder is not None:
                await asyncio.to_thread(_keep_written, container, target)
            else:
                await asyncio.to_thread(_keep, container, target, set(self._mounted(container)))
        container.stop()
        if self.builder is not None and _succeeded(build):
            await self.builder.begin(image_id, anew=True)

    def _mounted(self, container: Container) -> list[Path]:
        """What a container was given: none of it is the layer's."""
        given = [container.root / name for name in ("arguments", "newroot")]
        given += [view.path for view in container.views.values()]
        for mount_id in container.function.created.mount_ids:
            given += [container.root / file.filename.lstrip("/") for file in self.state.mounts.get(mount_id, ())]
        return given

    def _log_of(self, build: Input) -> str:
        logs = self.state.apps[build.call.function.app_id].logs
        return "".join(line.text for line in logs if line.function_id == build.call.function.id)


def _succeeded(build: Input) -> bool:
    return build.output is not None and build.output.result.status == _RESULT.GENERIC_STATUS_SUCCESS


def _keep(container: Container, target: Path, given: set[Path]) -> None:
    """Copy what a build's container has written below its own folder."""

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(folder, name) in given or name == "__pycache__"}

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(container.root, target, ignore=ignore, symlinks=True)


def _keep_written(container: Container, target: Path) -> None:
    """Copy what a build's container with a root of its own has written, with the marks of what it removed."""
    remove(target)
    subprocess.run(["cp", "-a", container.root / "written", target], check=True, capture_output=True)
