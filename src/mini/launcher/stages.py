"""Stages: a sweep that begins when another run is over, and with what was best there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mini import project
from mini.apparatus.handle import Run
from mini.combine.best import best
from mini.errors import UsageError, did_you_mean
from mini.runs import lookup
from mini.runs.status import RunState

_RESOLVER = "${mini.best:"


def begin(config: DictConfig, home: Path) -> None:
    """Wait for the run that `hydra.launcher.after` names, and look up now what the config says with `mini.best`.

    So each job has the same value, also where the other run's folder is not.

    Args:
        config: Of the command as a whole.
        home: Where runs are.

    Raises:
        UsageError: The other run will not end, or nothing of it is done.
    """
    after = config.hydra.launcher.get("after")
    if after is not None:
        _wait(Run(lookup.find(home, str(after))))
    for path in _places(OmegaConf.to_container(config, resolve=False), ()):
        try:
            OmegaConf.select(config, path)
        except OmegaConfBaseException as error:
            cause = error.__cause__
            raise UsageError(str(cause) if isinstance(cause, UsageError) else str(error)) from error


def value_of_best(run: str, metric: str, column: str) -> Any:
    """What the best job of a run was given: `${mini.best:RUN,accuracy,optimizer.lr}`.

    Args:
        run: The run, or a beginning of its name.
        metric: As for `best`.
        column: A key of the config, or a column of the table.

    Raises:
        UsageError: The run is not over, or has no such job or column.
    """
    opened = Run(lookup.find(project.outputs(), run))
    if opened.status().state is RunState.RUNNING:
        raise UsageError(f"{opened.id} is still running; hydra.launcher.after={opened.id} waits for it")
    rows = best(opened.folder, 1, metric)
    if not rows:
        raise UsageError(f"no job of {opened.id} is done, and none is the best")
    for name in (f"config.{column}", column, f"overrides.{column}"):
        if name in rows[0]:
            return rows[0][name]
    names = [name.removeprefix("config.") for name in rows[0]]
    raise UsageError(f"the jobs of {opened.id} have no {column!r}; {did_you_mean(column, names)}")


def _wait(run: Run) -> None:
    if run.status().state is RunState.RUNNING:
        print(f"waiting for {run.id} to end", file=sys.stderr)
    ended = run.wait()
    if ended.state is RunState.STOPPED:
        raise UsageError(f"nobody runs {run.id}, and it is not finished; `mini retry {run.id}` runs what is not done")
    if not ended.counts.get("done"):
        raise UsageError(f"no job of {run.id} is done, and there is nothing to go on from")


def _places(node: Any, path: tuple[str, ...]) -> Iterator[str]:
    """The keys of values that ask for the best of a run."""
    if isinstance(node, dict):
        for key, value in node.items():
            if path != ("hydra", "overrides"):
                yield from _places(value, (*path, str(key)))
    elif isinstance(node, str) and _RESOLVER in node:
        yield ".".join(path)
