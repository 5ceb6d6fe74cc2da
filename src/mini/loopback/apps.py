"""Apps: ephemeral ones that end with their client, and deployed ones that stay."""

from __future__ import annotations

import time

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.functions import layout
from mini.loopback.scheduler import Scheduler
from mini.loopback.state import App, PlaneState, look_up

_CREATED = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)


class Apps:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        scheduler: Ends the containers of an app that stops.
    """

    def __init__(self, state: PlaneState, scheduler: Scheduler) -> None:
        self.state, self.scheduler = state, scheduler

    async def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
        app = App(self.state.new_id("ap"), request.description)
        app.detached = request.app_state == api_pb2.APP_STATE_DETACHED
        self.state.apps[app.id] = app
        return api_pb2.AppCreateResponse(app_id=app.id)

    async def AppGetOrCreate(self, request: api_pb2.AppGetOrCreateRequest) -> api_pb2.AppGetOrCreateResponse:
        name = request.app_name
        app = self.state.apps.get(name) or self.state.apps.get(self.state.deployments.get(name, ""))
        if app is None:
            if request.object_creation_type not in _CREATED:
                raise GRPCError(Status.NOT_FOUND, f"App '{name}' not found in environment 'main'")
            created = await self.AppCreate(api_pb2.AppCreateRequest(description=name))
            app = self.state.apps[created.app_id]
            self._deploy(app, name)
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=_metadata(app))

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self.state.deployments.get(request.name, ""))

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
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            self._deploy(app, request.name)
        return api_pb2.AppPublishResponse(url=f"loopback://{app.id}", deployed_at=app.deployed_at or time.time())

    async def AppHeartbeat(self, _: api_pb2.AppHeartbeatRequest) -> Empty:
        return Empty()

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:
        app = self.state.apps.get(request.app_id)
        left = app is not None and app.detached and request.reason == api_pb2.APP_DISCONNECT_REASON_ENTRYPOINT_COMPLETED
        if app is not None and not app.deployed and not left:
            self.scheduler.stop_app(app)
        return Empty()

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
        for name in [name for name, deployed in self.state.deployments.items() if deployed == app.id]:
            del self.state.deployments[name]
        self.scheduler.stop_app(app, asking=asking)

    def _deploy(self, app: App, name: str) -> None:
        app.deployed, app.deployed_at = True, time.time()
        self.state.deployments[name] = app.id


def _lifecycle(app: App) -> api_pb2.AppLifecycle:
    if app.stopped:
        state = api_pb2.APP_STATE_STOPPED
    elif app.deployed:
        state = api_pb2.APP_STATE_DEPLOYED
    else:
        state = api_pb2.APP_STATE_DETACHED if app.detached else api_pb2.APP_STATE_EPHEMERAL
    return api_pb2.AppLifecycle(
        app_state=state, created_at=app.created, deployed_at=app.deployed_at, stopped_at=app.stopped_at
    )


def _metadata(app: App) -> api_pb2.AppHandleMetadata:
    return api_pb2.AppHandleMetadata(
        description=app.name,
        app_id=app.id,
        environment_name="main",
        lifecycle=_lifecycle(app),
        functions=app.functions,
    )
