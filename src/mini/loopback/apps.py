"""Apps: ephemeral ones that end with their client, and deployed ones that stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.functions import layout
from mini.loopback.scheduler import Scheduler
from mini.loopback.state import App, PlaneState, Published, look_up

_CREATED = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)

_LOOK = 0.5  # seconds between two looks for clients that are gone


class Apps:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        scheduler: Ends the containers of an app that stops.
    """

    def __init__(self, state: PlaneState, scheduler: Scheduler) -> None:
        self.state, self.scheduler = state, scheduler

    async def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
        app = App(
            self.state.new_id("ap"),
            request.description,
            detached=request.app_state == api_pb2.APP_STATE_DETACHED,
            environment=self.state.environment(request.environment_name),
            tags=dict(request.tags),
        )
        # The client beats for what it runs until its end; what it deploys it only fills.
        app.ephemeral = request.app_state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_DETACHED)
        self.state.apps[app.id] = app
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=f"loopback://{app.id}")

    async def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:
        name, environment = request.app_name, self.state.environment(request.environment_name)
        app = self.state.apps.get(name) or self.state.apps.get(self.state.deployments.get((environment, name), ""))
        if app is not None and request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"App '{name}' already exists in environment '{environment}'")
        if app is None:
            if request.object_creation_type not in _CREATED:
                raise GRPCError(Status.NOT_FOUND, f"App '{name}' not found in environment '{environment}'")
            created = await self.AppCreate(api_pb2.AppCreateRequest(description=name, environment_name=environment))
            app = self.state.apps[created.app_id]
            self._deploy(app, name)
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=_metadata(app))

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        environment = self.state.environment(request.environment_name)
        app = self.state.apps.get(self.state.deployments.get((environment, request.name), ""))
        stopped = [
            one
            for one in self.state.apps.values()
            if one.deployed and one.stopped and (one.environment, one.name) == (environment, request.name)
        ]
        last = stopped[-1] if stopped and app is None else None
        answer = api_pb2.AppGetByDeploymentNameResponse(
            app_id=app.id if app else "", previous_app_id=last.id if last else "", environment_name=environment
        )
        found = app or last
        if found is not None:
            answer.lifecycle.CopyFrom(_lifecycle(found))
        return answer

    async def AppList(self, request: api_pb2.AppListRequest) -> api_pb2.AppListResponse:
        environment = self.state.environment(request.environment_name)
        apps = [app for app in self.state.apps.values() if app.environment == environment]
        return api_pb2.AppListResponse(
            apps=[
                api_pb2.AppListResponse.AppListItem(
                    app_id=app.id,
                    description=app.name,
                    name=app.name if app.deployed else "",
                    state=_lifecycle(app).app_state,
                    created_at=app.created,
                    stopped_at=app.stopped_at,
                    n_running_tasks=len(self.scheduler.running(app)),
                    metadata=_metadata(app),
                )
                for app in apps
            ]
        )

    async def AppDeploymentHistory(
        self, request: api_pb2.AppDeploymentHistoryRequest
    ) -> api_pb2.AppDeploymentHistoryResponse:
        app = look_up(self.state.apps, request.app_id, "App")
        history = [
            api_pb2.AppDeploymentHistory(
                app_id=app.id,
                version=one.version,
                deployed_at=one.time,
                deployed_by="loopback",
                client_version=one.request.client_version,
                tag=one.request.deployment_tag,
                commit_info=one.request.commit_info,
            )
            for one in reversed(app.published)
        ]
        return api_pb2.AppDeploymentHistoryResponse(
            app_deployment_histories=history, production_app_version=len(app.published)
        )

    async def AppGetTags(self, request: api_pb2.AppGetTagsRequest) -> api_pb2.AppGetTagsResponse:
        return api_pb2.AppGetTagsResponse(tags=look_up(self.state.apps, request.app_id, "App").tags)

    async def AppSetTags(self, request: api_pb2.AppSetTagsRequest) -> Empty:
        look_up(self.state.apps, request.app_id, "App").tags = dict(request.tags)
        return Empty()

    async def TaskList(self, request: api_pb2.TaskListRequest) -> api_pb2.TaskListResponse:
        environment = self.state.environment(request.environment_name)
        chosen = [
            (container, app)
            for app in self.state.apps.values()
            if (app.id == request.app_id if request.app_id else app.environment == environment)
            for container in self.scheduler.running(app)
        ]
        return api_pb2.TaskListResponse(
            tasks=[
                api_pb2.TaskStats(
                    task_id=container.task_id,
                    app_id=app.id,
                    app_description=app.name,
                    enqueued_at=container.started,
                    started_at=container.started,
                )
                for container, app in chosen
            ]
        )

    async def TaskGetInfo(self, request: api_pb2.TaskGetInfoRequest) -> api_pb2.TaskGetInfoResponse:
        container = look_up(self.scheduler.containers, request.task_id, "Container")
        info = api_pb2.TaskInfo(id=container.task_id, started_at=container.started)
        return api_pb2.TaskGetInfoResponse(app_id=container.function.app_id, info=info)

    async def ContainerStop(self, request: api_pb2.ContainerStopRequest) -> api_pb2.ContainerStopResponse:
        container = look_up(self.scheduler.containers, request.task_id, "Container")
        self.scheduler.preempt(container)
        return api_pb2.ContainerStopResponse()

    async def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest) -> api_pb2.AppGetLayoutResponse:
        return api_pb2.AppGetLayoutResponse(
            app_layout=layout(self.state, look_up(self.state.apps, request.app_id, "App"))
        )

    async def AppGetInfo(self, request: api_pb2.AppGetInfoRequest) -> api_pb2.AppGetInfoResponse:
        return api_pb2.AppGetInfoResponse(info=_metadata(look_up(self.state.apps, request.app_id, "App")))

    async def AppGetLifecycle(self, request: api_pb2.AppGetLifecycleRequest) -> api_pb2.AppGetLifecycleResponse:
        return api_pb2.AppGetLifecycleResponse(lifecycle=_lifecycle(look_up(self.state.apps, request.app_id, "App")))

    async def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
        app = look_up(self.state.apps, request.app_id, "App")
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        if request.tags:
            app.tags = dict(request.tags)
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            app.name = request.name
            self._deploy(app, request.name)
            app.published.append(Published(len(app.published) + 1, app.deployed_at, request))
        self.scheduler.published(app)
        return api_pb2.AppPublishResponse(url=f"loopback://{app.id}", deployed_at=app.deployed_at or time.time())

    async def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest) -> Empty:
        look_up(self.state.apps, request.app_id, "App").heard = time.monotonic()
        return Empty()

    async def end_the_silent(self) -> None:
        """End ephemeral apps whose client is gone, and detached ones that have nothing to do; for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            self._end_the_done()
            for app in silent(self.state.apps.values(), time.monotonic(), self.state.silence):
                self.scheduler.stop_app(app, why="its client is gone: no heartbeat came for too long")

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:
        app = self.state.apps.get(request.app_id)
        if app is not None and app.detached and request.reason == api_pb2.APP_DISCONNECT_REASON_ENTRYPOINT_COMPLETED:
            app.left = True  # it ends with its last call
            self._end_the_done()
        elif app is not None and not app.deployed:
            self.scheduler.stop_app(app)
        return Empty()

    def _end_the_done(self) -> None:
        for app in self.state.apps.values():
            if app.left and not (app.deployed or app.stopped) and not self.scheduler.busy(app):
                self.scheduler.stop_app(app)

    async def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:
        self.stop(request.app_id)
        return Empty()

    def stop(self, app_id: str, *, asking: str = "") -> None:
        """End an app: its containers go, and its name is free.

        Args:
            app_id: Its id.
            asking: The container that asks for it, which gets the answer before it goes.

        Raises:
            GRPCError: There is no such app.
        """
        app = look_up(self.state.apps, app_id, "App")
        for key in [key for key, deployed in self.state.deployments.items() if deployed == app.id]:
            del self.state.deployments[key]
        self.scheduler.stop_app(app, asking=asking)

    def _deploy(self, app: App, name: str) -> None:
        app.deployed, app.deployed_at = True, time.time()
        self.state.deployments[app.environment, name] = app.id


def silent(apps: Iterable[App], now: float, limit: float) -> list[App]:
    """The ephemeral apps whose client has not said for too long that it is there.

    Args:
        apps: All apps.
        now: In seconds of the clock that `App.heard` is of.
        limit: Seconds of silence.
    """
    return [
        app
        for app in apps
        if app.ephemeral and not (app.deployed or app.detached or app.stopped) and now - app.heard > limit
    ]


def _lifecycle(app: App) -> api_pb2.AppLifecycle:
    if app.stopped:
        state = api_pb2.APP_STATE_STOPPED
    elif app.deployed:
        state = api_pb2.APP_STATE_DEPLOYED
    else:
        state = api_pb2.APP_STATE_DETACHED if app.detached else api_pb2.APP_STATE_EPHEMERAL
    return api_pb2.AppLifecycle(
        app_state=state,
        created_at=app.created,
        deployed_at=app.deployed_at,
        stopped_at=app.stopped_at,
        version=len(app.published),
    )


def _metadata(app: App) -> api_pb2.AppHandleMetadata:
    return api_pb2.AppHandleMetadata(
        description=app.name,
        app_id=app.id,
        environment_name=app.environment,
        lifecycle=_lifecycle(app),
        functions=app.functions,
    )
