"""Modal's exceptions in this package's words: the one place that knows them."""

from __future__ import annotations

import re

from mini.errors import CloudError, ConnectionRefused, ImageError, MiniError, TokenError, UsageError, VolumeError
from mini.job import Failure, State

# What an exception of the client means when it is raised by a call of ours. A test holds this list to Modal's own.
CALLS: dict[str, tuple[type[MiniError], str]] = {
    "AlreadyExistsError": (CloudError, "that exists already"),
    "AuthError": (
        TokenError,
        "Modal refused the token; run `mini auth`, or correct MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
    ),
    "ClientClosed": (CloudError, "the connection was closed; make a new apparatus"),
    "ConflictError": (UsageError, "Modal does not take this combination"),
    "ConnectionError": (ConnectionRefused, "the connection to Modal was lost"),
    "DataLossError": (CloudError, "Modal lost data"),
    "DeserializationError": (CloudError, "a value could not be unpickled; do the versions here and there agree?"),
    "Error": (CloudError, "Modal failed"),
    "ExecTimeoutError": (CloudError, "a command took too long"),
    "ExecutionError": (CloudError, "Modal could not do it"),
    "FunctionTimeoutError": (CloudError, "a function took longer than its timeout"),
    "ImageBuildError": (ImageError, "the image could not be built"),
    "InteractiveTimeoutError": (CloudError, "a terminal took too long"),
    "InternalError": (CloudError, "Modal had an internal error; try again"),
    "InternalFailure": (CloudError, "Modal had an internal failure; try again"),
    "InvalidError": (UsageError, "Modal does not take this"),
    "LogsFetchError": (CloudError, "the logs could not be fetched"),
    "ModuleNotMountable": (UsageError, "a package under src/ cannot be shipped as it is"),
    "MountUploadTimeoutError": (CloudError, "uploading the source took too long; try again on a better line"),
    "NotFoundError": (CloudError, "Modal does not know it"),
    "OutputExpiredError": (CloudError, "the result is gone from Modal's memory (7 days); its record is on the volume"),
    "PermissionDeniedError": (TokenError, "this token may not do that"),
    "RemoteError": (CloudError, "something went wrong on Modal"),
    "RequestSizeError": (UsageError, "a value is too big to send; write it to the volume"),
    "ResourceExhaustedError": (CloudError, "a limit of Modal's was met; try again later, or with fewer jobs"),
    "SerializationError": (CloudError, "a value could not be pickled"),
    "ServiceError": (CloudError, "Modal's service had an error; try again"),
    "SnapshotCreationError": (CloudError, "a snapshot could not be made"),
    "TimeoutError": (CloudError, "Modal took too long"),
    "UnimplementedError": (CloudError, "the server does not know this call"),
    "VersionError": (UsageError, "this version of Modal's client is too old; update it"),
    "VolumeUploadTimeoutError": (VolumeError, "uploading to the volume took too long; try again on a better line"),
    "WorkspaceManagementError": (CloudError, "the workspace does not allow it"),
}


_OUT_OF_MEMORY = re.compile(r"out of memory|out-of-memory|\bOOM\b", re.IGNORECASE)
_NOT_AVAILABLE = re.compile(r"the '([\w.]+)' module is not available")  # as Modal's client puts it


def translate(error: BaseException, doing: str) -> BaseException:
    """An exception of the client as one of this package's.

    Args:
        error: What was raised.
        doing: What was being done, such as "open the volume sweep".

    Returns:
        The translation, or `error` itself if it is not one of Modal's.
    """
    if not type(error).__module__.startswith("modal."):
        return error
    kind, meaning = next(
        (CALLS[base.__name__] for base in type(error).__mro__ if base.__name__ in CALLS), CALLS["Error"]
    )
    detail = str(error) or str(error.__cause__ or "")
    return kind(f"cannot {doing}: {meaning} ({type(error).__name__}: {detail})")


def lost(error: BaseException, timeout: float | None) -> tuple[State, Failure]:
    """What became of a job whose call raised, instead of returning an outcome.

    Args:
        error: What Modal's client raised in place of the job's result.
        timeout: The function's timeout, in seconds.
    """
    name, text = type(error).__name__, str(error)
    if name == "FunctionTimeoutError":
        limit = f"more than {timeout:g} s" if timeout else "longer than allowed"
        return State.TIMEOUT, Failure("Timeout", f"it ran for {limit}, and was stopped")
    if name == "OutputExpiredError":
        return State.LOST, Failure("Expired", "its result is gone from Modal's memory; its record may be on the volume")
    # A container that was told to stop answers with an error without words.
    if "cancelled" in text.lower() or (name, text) == ("RemoteError", ""):
        return State.CANCELLED, Failure("Cancelled", "it was stopped before it finished")
    if _OUT_OF_MEMORY.search(text):
        return State.LOST, Failure(
            "OutOfMemory", f"its container ran out of memory; ask for more with memory= ({text})"
        )
    unknown = _NOT_AVAILABLE.search(text) if name == "DeserializationError" else None
    if isinstance(error, ImportError) or unknown:
        missing = unknown[1] if unknown else getattr(error, "name", None) or text
        return State.FAILED, Failure(
            name,
            f"the container could not import {missing}: {text}. It has the packages of the image, and the project's "
            "own under src/; add what is missing to pyproject.toml, or to image.pip",
        )
    if name == "AttemptFailed":
        return State.FAILED, Failure(name, text)
    return State.LOST, Failure("ContainerLost", f"its container was lost ({name}: {text})")
