"""Objects that are looked up by a name in an environment, made where they are missing, or have none."""

from __future__ import annotations

import time

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.state import PlaneState

CREATE = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING

_LOOK_UP = api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED
_NEW = api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
_REPLACE = api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS


def named(
    state: PlaneState, kind: str, prefix: str, name: str, creation: int, environment: str = ""
) -> tuple[str, bool]:
    """The id of a named or new object, and whether its content is to be made.

    Args:
        state: The control plane's.
        kind: What it is, such as "dict".
        prefix: Of its id.
        name: Its name; empty for an object without one.
        creation: Modal's `ObjectCreationType`.
        environment: As the client says it; empty for the default.

    Raises:
        GRPCError: It is not there and shall not be made, or is there and shall not be; or the environment is not there.
    """
    environment = state.environment(environment)
    known = state.named.get((kind, environment, name)) if name else None
    title = f"{kind.capitalize()} '{name}'"
    if known is not None:
        if creation == _NEW:
            raise GRPCError(Status.ALREADY_EXISTS, f"{title} already exists in environment '{environment}'")
        return known, creation == _REPLACE
    if creation == _LOOK_UP:
        raise GRPCError(Status.NOT_FOUND, f"{title} not found in environment '{environment}'")
    new = state.new_id(prefix)
    state.created[new] = time.time()
    if name:
        state.named[kind, environment, name] = new
    return new, True


def forget(state: PlaneState, kind: str, object_id: str) -> None:
    """Take an object's name away: it is deleted."""
    for key in [key for key, known in state.named.items() if key[0] == kind and known == object_id]:
        del state.named[key]
    state.created.pop(object_id, None)


def rename(state: PlaneState, kind: str, object_id: str, name: str) -> None:
    """Give an object another name in its environment.

    Raises:
        GRPCError: Another one has it, or this one has no name.
    """
    old = _key(state, kind, object_id)
    if old is None:
        raise GRPCError(Status.FAILED_PRECONDITION, f"{kind.capitalize()} '{object_id}' has no name")
    new = (kind, old[1], name)
    if new in state.named:
        raise GRPCError(Status.ALREADY_EXISTS, f"{kind.capitalize()} '{name}' already exists in '{old[1]}'")
    state.named[new] = state.named.pop(old)


def name_of(state: PlaneState, kind: str, object_id: str) -> str:
    """The name of an object; empty where it has none."""
    key = _key(state, kind, object_id)
    return key[2] if key is not None else ""


def newest(state: PlaneState, kind: str, environment: str, page: api_pb2.ListPagination) -> list[str]:
    """The ids of the named objects of a kind, the newest first, as a client pages through them.

    Raises:
        GRPCError: There is no such environment.
    """
    environment, before = state.environment(environment), page.created_before or float("inf")
    ids = [known for (of, where, _), known in state.named.items() if (of, where) == (kind, environment)]
    earlier = sorted((state.created[one], one) for one in ids if state.created[one] < before)
    return [one for _, one in reversed(earlier)][: page.max_objects or None]


def creation_info(state: PlaneState, object_id: str) -> api_pb2.CreationInfo:
    """When an object was made, and by whom."""
    return api_pb2.CreationInfo(created_at=state.created.get(object_id, 0.0), created_by="loopback")


def _key(state: PlaneState, kind: str, object_id: str) -> tuple[str, str, str] | None:
    return next((key for key, known in state.named.items() if key[0] == kind and known == object_id), None)
