"""A command without `-m`: it runs what its overrides say, and never what a config would sweep.

Hydra sweeps `hydra.sweeper.params`, and calls the sweeper of a config at all, only in a multirun. Here each command is
a multirun, as Hydra calls a launcher in no other; one that nobody asked to sweep is a single run all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mini.launcher.overrides import parse

SINGLE = "hydra_plugins.mini_launcher.single.SingleSweeper"
"""The sweeper of a single run."""

_HYDRAS_RUN_DIR = "outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}"


class RunDirError(Exception):
    """`hydra.run.dir` is given, and not used."""


def asks_for_sweeper(overrides: Sequence[str]) -> bool:
    """Whether a command says something of the sweeper or the mode, which is for a multirun."""
    said = [override.lstrip("+~") for override in overrides]
    return any(one.startswith(("hydra/sweeper=", "hydra.sweeper.", "hydra.mode=MULTIRUN", "study.")) for one in said)


def has_sweep(overrides: Sequence[str]) -> bool:
    """Whether an override has several values."""
    try:
        return any(parse(override).is_sweep_override() for override in overrides)
    except HydraException:
        return True  # Hydra says what is wrong with it


def composing(compose: Callable[..., DictConfig], overrides: Sequence[str]) -> Callable[..., DictConfig]:
    """Put a function around the one that composes the config of a command without `-m`.

    Args:
        compose: Hydra's `compose_config`.
        overrides: The command's.
    """
    is_single = not has_sweep(overrides)

    def composed(*args: Any, **kwargs: Any) -> DictConfig:
        config = compose(*args, **kwargs)
        if kwargs.get("run_mode") is RunMode.MULTIRUN:
            with read_write(config), open_dict(config):
                _without_params(config, overrides)
                if is_single:
                    config.hydra.sweeper = {"_target_": SINGLE}
                    _use_run_dir(config, overrides)
        return config

    return composed


def is_changed(command: DictConfig, job: DictConfig) -> bool:
    """Whether `composing` gave a command another sweeper than its config says, which a job's config still has."""
    given, written = command.hydra.sweeper, job.hydra.sweeper
    return given.get("_target_") == SINGLE or bool(written.get("params") and not given.get("params"))


def _without_params(config: DictConfig, overrides: Sequence[str]) -> None:
    params = config.hydra.sweeper.get("params")
    if params:
        print(f"hydra.sweeper.params is swept with -m only: {', '.join(map(str, params))}", file=sys.stderr)
        config.hydra.sweeper.params = {}


def _use_run_dir(config: DictConfig, overrides: Sequence[str]) -> None:
    """Let the run's folder be where the application's config has its single runs.

    Raises:
        RunDirError: The command says it.
    """
    if any(override.lstrip("+").startswith("hydra.run.dir=") for override in overrides):
        raise RunDirError(
            "hydra.run.dir is not used: the run's folder is hydra.sweep.dir, and its job's is hydra.sweep.subdir in "
            "it; give hydra.sweep.dir=FOLDER"
        )
    written = OmegaConf.to_container(config.hydra.run, resolve=False)
    is_hydras = isinstance(written, dict) and written.get("dir") == _HYDRAS_RUN_DIR
    if is_hydras or any(override.lstrip("+").startswith("hydra.sweep.dir=") for override in overrides):
        return
    config.hydra.sweep.dir = "${hydra.run.dir}"
    config.hydra.overrides.hydra.append("hydra.sweep.dir=${hydra.run.dir}")  # the job is composed anew
