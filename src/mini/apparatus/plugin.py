"""What an engine is to the rest of the package: one `Plugin`, found through the entry point `mini.apparatus`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mini.apparatus.base import Apparatus
    from mini.runs.folder import RunFolder


@dataclass(frozen=True)
class Seen:
    """What an engine says of a run.

    Args:
        driven: Whether it may still be going on.
        live: What its running jobs said last, by index.
    """

    driven: bool = False
    live: Mapping[int, Mapping[str, Any]] | None = None


class Attached(Protocol):
    """A run of an engine, seen by a process that did not begin it. Looking starts nothing that runs jobs."""

    def refresh(self) -> Seen:
        """Bring what is new into the run folder here: records, and the fate of jobs that will have none.

        The number of requests must not grow with the number of jobs.

        Raises:
            CloudError: The engine cannot be reached.
        """

    def log(self, job: int) -> str | None:
        """What a job has printed so far; None if that is in the run folder here."""

    def cancel(self) -> None:
        """Stop what runs, keep what is done, and record the rest as cancelled."""

    def pull(self, include: str | None) -> int:
        """Bring files home that are not here.

        Args:
            include: A pattern for paths relative to the run, such as `*/checkpoint.npz`; None for all.

        Returns:
            How many files match.
        """

    def release(self) -> None:
        """Remove what the run still holds on the engine's side, but for its files. The run must be over."""


class Elsewhere(Protocol):
    """The runs of the project on an engine, for machines that have no folder of them."""

    def names(self) -> list[str]:
        """Their names, the latest first."""

    def fetch(self, run: str | None) -> RunFolder:
        """What is known of a run, copied here.

        Args:
            run: Its name, or a unique beginning of it; None for the latest.

        Raises:
            NoSuchRun: There is none, or there are several.
        """


@dataclass(frozen=True)
class Plugin:
    """An engine.

    Args:
        kind: Its name in config: `apparatus=KIND`.
        summary: A line that says where jobs run.
        options: Its options, a frozen dataclass made with `mini.apparatus.options.option`.
        make: Makes an apparatus of a name and options; imports what the engine needs only when it is called.
        attach: Finds a run again, by what `Apparatus.detach` returned, or None for one whose client drives or drove it.
            None for an engine whose jobs end with their client and leave everything here.
        elsewhere: The runs that the engine keeps; None for an engine that keeps them here.
    """

    kind: str
    summary: str
    options: type[Any]
    make: Callable[[str, Any], Apparatus]
    attach: Callable[[RunFolder, Mapping[str, Any] | None], Attached] | None = None
    elsewhere: Callable[[], Elsewhere] | None = None

    def __post_init__(self) -> None:
        params = getattr(self.options, "__dataclass_params__", None)
        if params is None or not params.frozen:
            raise TypeError(f"the options of the engine {self.kind!r} must be a frozen dataclass")
