"""What Hydra's sweepers get back for each job."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

from hydra import version
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict, read_write

from mini.job import Outcome, State
from mini.launcher import supported
from mini.launcher.command import REPORTED
from mini.launcher.fast.run_job import copy_parts
from mini.launcher.overrides import as_typed

_FRAME = re.compile(r'^  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)


class LazyJobReturn(JobReturn):
    """What Hydra's `run_job` would have returned.

    The configs are composed when somebody asks for them, which few sweepers do. A failure that the user has been told
    of says nothing again when it is read.

    Args:
        config: Composes the job's config.
        outcome: What became of the job.
        cwd: Where the command was given.
        name: What Hydra calls the application.
        pick: Takes from what the task returned what the sweeper gets.
        is_recorded: Whether the value was found in a record. It is unpickled, which can run code, only for who wants
            it: not for Hydra's own sweeper, which reads it to see whether that raises.
    """

    def __init__(
        self,
        config: Callable[[], DictConfig],
        outcome: Outcome,
        cwd: str,
        name: str,
        pick: Callable[[Any], Any] = lambda value: value,
        *,
        is_recorded: bool = False,
    ) -> None:
        self._compose, self._outcome, self._cwd = config, outcome, cwd
        self._pick, self._is_recorded = pick, is_recorded
        self.task_name = name
        is_pruned = outcome.state is State.PRUNED  # no failure, and no value
        self.status = JobStatus.COMPLETED if outcome.ok or is_pruned else JobStatus.FAILED

    @functools.cached_property
    def _return_value(self) -> Any:
        """What the task returned, or the exception that stands for it."""
        if self._outcome.state is State.PRUNED:
            return None
        error = self._outcome.exception()
        if error is None:
            return self._pick(self._outcome.result())
        if self._outcome.failure is not None:
            error.__traceback__ = _traceback(self._outcome.failure.traceback)
        setattr(error, REPORTED, True)
        return error

    @functools.cached_property
    def _configs(self) -> tuple[DictConfig, DictConfig]:
        config = self._compose()
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = self._outcome.folder
        return copy_parts(config)

    @property
    def cfg(self) -> DictConfig:  # type: ignore[override]
        """The task's part of the job's config."""
        return self._configs[0]

    @property
    def hydra_cfg(self) -> DictConfig:  # type: ignore[override]
        """Hydra's part of the job's config."""
        return self._configs[1]

    @property
    def overrides(self) -> list[str]:  # type: ignore[override]
        """The job's overrides of the task's config, as typed."""
        return as_typed(self.hydra_cfg.hydra.overrides.task)

    @property
    def working_dir(self) -> str:  # type: ignore[override]
        """Where the task ran."""
        return str(self._outcome.folder) if _changes_directory(self.hydra_cfg) else self._cwd

    @property
    def return_value(self) -> Any:
        """What the task returned.

        Raises:
            Exception: What it raised; a `JobError` where it did not come to an end of its own.
        """
        if self.status is JobStatus.FAILED:
            raise self._return_value
        if self._is_recorded and supported.is_read_by_basic_sweeper(inspect.currentframe()):
            return None
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


def _traceback(text: str) -> TracebackType | None:
    """A traceback that prints like the last one of a text, which was formatted in another process."""
    restored = None
    for file, line, name in reversed(_FRAME.findall(text.rpartition("Traceback (most recent call last):")[2])):
        code = compile("raise LookupError", file, "exec").replace(co_name=name)
        frame = _frame(code)
        restored = TracebackType(restored, frame, frame.f_lasti, int(line))
    return restored


def _frame(code: CodeType) -> FrameType:
    """A frame of code that raises LookupError."""
    here = None
    try:
        exec(code, {})
    except LookupError as error:
        here = error.__traceback__
    if here is None or here.tb_next is None:
        raise ValueError("the code did not raise")
    return here.tb_next.tb_frame


def _changes_directory(config: DictConfig) -> bool:
    chosen = config.hydra.job.chdir
    if chosen is None:
        return hasattr(version, "base_at_least") and not version.base_at_least("1.2")  # Hydra 1.4 has one behaviour
    return bool(chosen)
