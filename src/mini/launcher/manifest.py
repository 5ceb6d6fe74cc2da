"""What `run.json` says of a command, so that it can be given again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from mini.apparatus.base import Apparatus
from mini.launcher import short_forms
from mini.launcher.asked import lasting, program
from mini.launcher.overrides import as_typed
from mini.runs import manifest


def describe(
    task_function: TaskFunction, config: DictConfig, apparatus: Iterable[Apparatus], jobs: int
) -> dict[str, Any]:
    """What `run.json` says of a command.

    Args:
        task_function: The application's.
        config: Of the command as a whole.
        apparatus: Where its jobs run.
        jobs: How many there are, as far as is known.
    """
    given = config.hydra.overrides
    engines: dict[str, list[dict[str, Any]]] = {}
    for one in apparatus:
        engines.setdefault(one.kind, []).append(one.manifest())
    task = task_name(task_function)
    # What a further try needs to sweep what the config says.
    sweeps = OmegaConf.select(config, "hydra.sweeper.params") or short_forms.is_study(config)
    return {
        **manifest.describe(task, jobs, engines),
        "program": program(),
        "overrides_all": [
            *as_typed(given.task),
            *lasting(as_typed(given.hydra)),
            *(["hydra.mode=MULTIRUN"] if sweeps else []),
        ],
        "overrides": as_typed(given.task),
        "sort": OmegaConf.select(config, "hydra.launcher.results.sort"),
        "after": OmegaConf.select(config, "hydra.launcher.after"),
    }


def task_name(task_function: TaskFunction) -> str:
    """What `run.json` calls the application's function."""
    return f"{task_function.__module__}.{getattr(task_function, '__qualname__', '')}"
