"""The connection to Modal: made within seconds or refused with the reason, and usable from a running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from mini.apparatus.modal.errors import translate
from mini.errors import ConnectionRefused, ImageError

HELLO = 3.0
"""Seconds a server has to answer a greeting."""

P = ParamSpec("P")
R = TypeVar("R")


def connect(url: str, token: tuple[str, str] | None, *, seconds: float = HELLO) -> Any:
    """A `modal.Client` that the server has greeted.

    Args:
        url: The server's address.
        token: Id and secret.
        seconds: How long to wait for its answer. Modal's own client waits for nearly a minute.

    Raises:
        TokenError: The token was refused.
        ConnectionRefused: The server takes connections and does not answer.
    """
    import modal
    from modal_proto import api_pb2

    client = modal.client.Client(url, api_pb2.CLIENT_TYPE_CLIENT, token)
    client.__enter__()  # type: ignore[no-untyped-call]
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def greet() -> None:
        try:
            client.hello()
            answers.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            answers.put(error)

    threading.Thread(target=greet, daemon=True).start()
    try:
        error = answers.get(timeout=seconds)
    except queue.Empty:
        raise ConnectionRefused(
            f"{url} accepts connections but did not answer within {seconds:.0f} s; is it Modal, and does the network "
            "let HTTP/2 through?"
        ) from None
    if error is not None:
        disconnect(client)
        raise translate(error, "reach Modal") from error
    return client


def disconnect(client: Any) -> None:
    """Close a client. The server may be gone; then there is nothing left to close."""
    with contextlib.suppress(Exception):
        client.__exit__(None, None, None)


def off_loop(function: Callable[P, R]) -> Callable[P, R]:
    """Let a blocking function be called where an event loop runs (a notebook), without Modal's client objecting.

    It then runs in a thread of its own while the caller waits.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*args, **kwargs)
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future.result()

    return call


@contextlib.contextmanager
def doing(what: str, client: Any = None) -> Iterator[None]:
    """Translate what Modal's client raises.

    Args:
        what: What is being done, such as "open an app on Modal".
        client: The client, to ask for the log of a build that failed.

    Raises:
        MiniError: As `modal_errors` says; for an image that could not be built, with the end of the build's log.
    """
    try:
        yield
    except Exception as error:
        translated = translate(error, what)
        if translated is error:
            raise
        if isinstance(translated, ImageError):
            translated = ImageError(f"{translated}\n{_build_log(error, client)}")
        raise translated from error


def _build_log(error: Any, client: Any) -> str:
    """The end of a build's log."""
    with contextlib.suppress(Exception):
        import modal

        entries = modal.Image.from_id(error.image_id, client=client).logs.tail(entries=20)
        return "".join(entry.message for entry in entries)
    return "its log is on Modal's dashboard"


def valid_name(name: str) -> str:
    """A name Modal takes: letters, digits, and - _ ., at most 64, with room for an ending."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:48] or "mini"
