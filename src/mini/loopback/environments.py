"""Environments, which keep apps and objects of the same names apart, and who the client is."""

from __future__ import annotations

import time

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.state import MAIN, PlaneState

BUILDER = "2025.06"
"""The image builder version of every environment; it must be one that the client knows."""

_CREATED = (api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING, api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)


class Environments:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
        sign_in: Whether whoever asks for a token gets this control plane's: for tests of signing in, as it lets
            everybody in who reaches its port.
    """

    def __init__(self, state: PlaneState, *, sign_in: bool = False) -> None:
        self.state, self.sign_in = state, sign_in

    async def ClientHello(self, _: Empty) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = request.deployment_name or MAIN
        if request.object_creation_type in _CREATED and name not in self.state.environments:
            self.state.environments[name] = time.time()
        self.state.environment(name)
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=f"en-{name}",
            metadata=api_pb2.EnvironmentMetadata(
                name=name, settings=api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
            ),
        )

    async def EnvironmentCreate(self, request: api_pb2.EnvironmentCreateRequest) -> Empty:
        if request.name in self.state.environments:
            raise GRPCError(Status.ALREADY_EXISTS, f"Environment '{request.name}' already exists")
        self.state.environments[request.name] = time.time()
        return Empty()

    async def EnvironmentList(self, _: Empty) -> api_pb2.EnvironmentListResponse:
        return api_pb2.EnvironmentListResponse(
            items=[
                api_pb2.EnvironmentListItem(
                    name=name, environment_id=f"en-{name}", created_at=created, default=name == MAIN
                )
                for name, created in self.state.environments.items()
            ]
        )

    async def EnvironmentDelete(self, request: api_pb2.EnvironmentDeleteRequest) -> Empty:
        name = self.state.environment(request.name)
        if name == MAIN:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Environment '{MAIN}' is the default and stays")
        if any(app.environment == name and not app.stopped for app in self.state.apps.values()):
            raise GRPCError(Status.FAILED_PRECONDITION, f"Environment '{name}' has apps that run; stop them first")
        del self.state.environments[name]
        for key in [key for key in self.state.named if key[1] == name]:
            del self.state.named[key]
        return Empty()

    # Hints after an unknown name: there are none.

    async def ObjectSuggest(self, _: api_pb2.ObjectSuggestRequest) -> api_pb2.ObjectSuggestResponse:
        return api_pb2.ObjectSuggestResponse()

    async def CliCommandSuggest(self, _: api_pb2.CliCommandSuggestRequest) -> api_pb2.CliCommandSuggestResponse:
        return api_pb2.CliCommandSuggestResponse()

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

    async def TokenInfoGet(self, _: api_pb2.TokenInfoGetRequest) -> api_pb2.TokenInfoGetResponse:
        return api_pb2.TokenInfoGetResponse(
            token_id=self.state.token[0],
            workspace_id="ac-loopback",
            workspace_name="loopback",
            user_identity=api_pb2.UserIdentity(user_id="us-loopback", username="loopback"),
        )

    async def WorkspaceNameLookup(self, _: Empty) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="loopback", username="loopback")
