"""Objects that are looked up by a name, made where they are missing, or have none."""

from __future__ import annotations

import time

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback.state import PlaneState

CREATE = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING

_LOOK_UP = api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED
_NEW = api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
_REPLACE = api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS


def named(state: PlaneState, kind: str, prefix: str, name: str, creation: int) -> tuple[str, bool]:
    """The id of a named or new object, and whether its content is to be made.

    Args:
        state: The control plane's.
        kind: What it is, such as "dict".
        prefix: Of its id.
        name: Its name; empty for an object without one.
        creation: Modal's `ObjectCreationType`.

    Raises:
        GRPCError: It is not there and shall not be made, or is there and shall not be.
    """
    known = state.named.get((kind, name)) if name else None
    if known is not None:
        if creation == _NEW:
            raise GRPCError(Status.ALREADY_EXISTS, f"{kind.capitalize()} '{name}' already exists in environment 'main'")
        return known, creation == _REPLACE
    if creation == _LOOK_UP:
        raise GRPCError(Status.NOT_FOUND, f"{kind.capitalize()} '{name}' not found in environment 'main'")
    new = state.new_id(prefix)
    if name:
        state.named[kind, name] = new
        state.created[new] = time.time()
    return new, True


def forget(state: PlaneState, kind: str, object_id: str) -> None:
    """Take an object's name away: it is deleted."""
    for key in [key for key, known in state.named.items() if key[0] == kind and known == object_id]:
        del state.named[key]
    state.created.pop(object_id, None)


def name_of(state: PlaneState, kind: str, object_id: str) -> str:
    """The name of an object; empty where it has none."""
    return next((key[1] for key, known in state.named.items() if key[0] == kind and known == object_id), "")
