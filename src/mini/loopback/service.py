"""The gRPC service: who may call, what is answered, and what goes wrong on request."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from mini.loopback.state import PlaneState

_TOKEN_FLOW = ("TokenFlowCreate", "TokenFlowWait")  # whoever asks for a token has none; the handlers refuse by default

# What is not offered, by how the names of its calls begin, so that a program that needs it hears what it is; of several
# that fit the longest counts.
_NOT_OFFERED = {
    "sandboxes": ("AuthToken", "PersistentSandbox", "Sandbox"),
    "clusters": ("Cluster", "TaskCluster"),
    "web endpoints": ("Curl", "Domain", "Flash", "FunctionGetFlash"),
    "servers": ("ContainerServer", "Endpoint", "Server"),
    "memory snapshots": ("ContainerCheckpoint",),
    "shells in containers": ("ContainerExec", "ContainerFilesystem", "FunctionStartPty", "TaskGetCommandRouter"),
    "network file systems": ("SharedVolume",),
    "tunnels": ("Tunnel",),
    "proxies": ("Proxy",),
    "proxy tokens": ("WebhookToken",),
    "named images": ("ImageDelete", "ImageGetByTag", "ImageList", "ImageName", "ImagePublish", "ImageTag"),
    "earlier versions of an app": ("AppPromote", "AppRollback", "AppRollover"),
    "streams into functions": ("FunctionCallGetDataIn",),
    "the input plane": ("Attempt", "Map"),
    "statistics": (
        *("AppGetTimeRange", "FunctionCallCount", "FunctionCallFetch", "FunctionCallList", "FunctionGetMetrics"),
        *("FunctionGetTimeRange", "FunctionListVariants", "Metrics", "TaskCurrent"),
    ),
    "workspaces": ("AuditLog", "ServiceUser", "Template", "Token", "UserGroup", "Workspace"),
    "settings of environments": ("EnvironmentBilling", "EnvironmentGet", "EnvironmentRole", "EnvironmentSet"),
    "names that change": ("EnvironmentUpdate",),
    "calls of other clients than Modal's for Python": (
        *("AppDeploy", "AppGetObjects", "AppLookup", "AppSetObjects", "ContainerLog", "ContainerReload"),
        *("FunctionAsync", "FunctionBlob", "FunctionGetSerialized", "VolumeGetFile"),
    ),
}


Around = Callable[[str], AbstractContextManager[None]]
"""Makes what a call is answered in, from the call's name."""


def not_offered(name: str) -> str | None:
    """What a call belongs to that is not offered here; None where that is not known.

    Args:
        name: Of the call.
    """
    fitting = [
        (len(start), what) for what, starts in _NOT_OFFERED.items() for start in starts if name.startswith(start)
    ]
    return max(fitting)[1] if fitting else None


def calls() -> list[str]:
    """The names of all calls that the installed client may make, from its own description of the service."""
    from modal_proto.api_grpc import ModalClientBase

    return sorted(ModalClientBase.__abstractmethods__)


def quiet() -> None:
    """Let grpclib not tell of each caller that went; errors of handlers it still tells."""
    logging.getLogger("grpclib").setLevel(logging.WARNING)
    logging.getLogger("grpclib.server").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # A caller that goes while its answer is under way: the same as one that goes while it waits.
    return record.msg != "Failed to handle cancellation"


class Service:
    """Answers with the methods of several objects: the first that has one of a call's name.

    Args:
        state: The control plane's.
        handlers: The objects.
        inside: For callers that are a container, whose socket nobody else reaches: what each of its calls is made in.
            None for all others, which send the token.
    """

    def __init__(self, state: PlaneState, *handlers: object, inside: Around | None = None) -> None:
        self._state, self._handlers, self._inside = state, handlers, inside is not None
        self._around: Around = inside or (lambda _: contextlib.nullcontext())

    def __mapping__(self) -> dict[str, Handler]:
        from modal_proto.api_grpc import ModalClientBase

        # Every call the client may make is there.
        template = type("Template", (ModalClientBase,), dict.fromkeys(ModalClientBase.__abstractmethods__))
        described: dict[str, Handler] = template().__mapping__()
        return {
            path: Handler(self._answer(path.rsplit("/", 1)[1], h.cardinality), *h[1:]) for path, h in described.items()
        }

    def _answer(self, name: str, cardinality: Cardinality) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        handler = next((getattr(h, name) for h in self._handlers if hasattr(h, name)), None)

        async def answer(stream: Stream[Any, Any]) -> None:
            if not self._inside:
                self._admit(stream.metadata or {}, name)
            request = await stream.recv_message()
            self._state.requests[name] += 1
            self._state.bytes_in[name] += request.ByteSize() if request is not None else 0
            if not self._inside:
                await self._disturb(name)
            if handler is None:
                raise GRPCError(Status.UNIMPLEMENTED, _unknown(name))
            with self._around(name):
                if cardinality is Cardinality.UNARY_STREAM:
                    items: AsyncIterator[Any] = handler(request)
                    async for item in items:
                        await stream.send_message(item)
                else:
                    await stream.send_message(await handler(request))

        return answer

    def _admit(self, metadata: Any, name: str) -> None:
        """Let only those in who have the token.

        Raises:
            GRPCError: The caller has not, or is a web page.
        """
        if "origin" in metadata:
            raise GRPCError(Status.PERMISSION_DENIED, "the control plane on loopback serves no web page")
        if name in _TOKEN_FLOW:
            return
        sent = [str(metadata.get(key, "")).encode() for key in ("x-modal-token-id", "x-modal-token-secret")]
        known = [word.encode() for word in self._state.token]
        right = [hmac.compare_digest(one, other) for one, other in zip(sent, known, strict=True)]
        if self._state.faults.refuse_token or not all(right):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is invalid")

    async def _disturb(self, name: str) -> None:
        faults = self._state.faults
        if faults.delay:
            await asyncio.sleep(faults.delay)
        if faults.drop_first:
            faults.drop_first -= 1
            raise GRPCError(Status.UNAVAILABLE, "the connection was dropped")
        refusal = faults.refuse.get(name)
        if refusal is not None and refusal.times != 0:
            refusal.times = None if refusal.times is None else refusal.times - 1
            raise GRPCError(refusal.status, f"{name} is refused, as the control plane on loopback was asked to")


def _unknown(name: str) -> str:
    what = not_offered(name)
    return f"the control plane on loopback does not know {name}" + (f": it does not offer {what}" if what else "")
