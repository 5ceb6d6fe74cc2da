"""Secrets."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback import local_data
from mini.loopback.named import CREATE, creation_info, forget, name_of, named, newest
from mini.loopback.state import PlaneState, look_up


class Secrets:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
    """

    def __init__(self, state: PlaneState) -> None:
        self.state = state

    async def SecretGetOrCreate(self, request: api_pb2.SecretGetOrCreateRequest) -> api_pb2.SecretGetOrCreateResponse:
        name, creation, given = request.deployment_name, request.object_creation_type, dict(request.env_dict)
        environment = self.state.environment(request.environment_name)
        if name and not given and ("secret", environment, name) not in self.state.named:
            found = self._local(name, needed=creation != CREATE)
            if found is not None:
                given, creation = found, CREATE
        secret_id, new = named(self.state, "secret", "st", name, creation, environment)
        if new:
            self.state.secrets[secret_id] = given
        values = self._values(secret_id)
        missing = [key for key in request.required_keys if key not in values]
        if missing:
            raise GRPCError(
                Status.NOT_FOUND, f"Secret '{request.deployment_name}' is missing key(s): {', '.join(missing)}"
            )
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id, metadata=self._metadata(secret_id))

    async def SecretGetInfo(self, request: api_pb2.SecretGetInfoRequest) -> api_pb2.SecretGetInfoResponse:
        return api_pb2.SecretGetInfoResponse(metadata=self._metadata(request.secret_id))

    async def SecretList(self, request: api_pb2.SecretListRequest) -> api_pb2.SecretListResponse:
        found = newest(self.state, "secret", request.environment_name, request.pagination)
        return api_pb2.SecretListResponse(
            environment_name=request.environment_name,
            items=[
                api_pb2.SecretListItem(
                    label=(metadata := self._metadata(one)).name,
                    secret_id=one,
                    created_at=metadata.creation_info.created_at,
                    environment_name=request.environment_name,
                    metadata=metadata,
                )
                for one in found
            ],
        )

    async def SecretUpdate(self, request: api_pb2.SecretUpdateRequest) -> Empty:
        values = self._values(request.secret_id)
        for update in request.updates:
            if update.HasField("value"):
                values[update.key] = update.value
            else:
                values.pop(update.key, None)
        return Empty()

    async def SecretDelete(self, request: api_pb2.SecretDeleteRequest) -> Empty:
        self._values(request.secret_id)
        del self.state.secrets[request.secret_id]
        forget(self.state, "secret", request.secret_id)
        return Empty()

    def _local(self, name: str, *, needed: bool) -> dict[str, str] | None:
        """The variables that a named secret has in a file of this machine, if there is a folder of such files."""
        try:
            found = local_data.secret(self.state.data, name)
        except ValueError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from None
        if found is None and needed and self.state.data is not None:
            where = self.state.data / local_data.SECRETS / f"{name}.env"
            raise GRPCError(
                Status.NOT_FOUND,
                f"Secret '{name}' not found; here its variables come from {where}, as lines NAME=value",
            )
        return found

    def _values(self, secret_id: str) -> dict[str, str]:
        return look_up(self.state.secrets, secret_id, "Secret")

    def _metadata(self, secret_id: str) -> api_pb2.SecretMetadata:
        return api_pb2.SecretMetadata(
            name=name_of(self.state, "secret", secret_id),
            creation_info=creation_info(self.state, secret_id),
            keys=sorted(self._values(secret_id)),
        )
