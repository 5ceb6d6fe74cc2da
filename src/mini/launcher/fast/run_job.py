"""Hydra's `run_job`, with fewer copies of the config and a quicker way to the same YAML."""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, ValueNode, open_dict, read_write

from mini.launcher.fast.yaml import to_yaml

try:
    from hydra._internal.logging_config import configure_logging
except ImportError:  # before Hydra 1.3.6 it is Python's own
    from logging.config import dictConfig as configure_logging

_CHECKED = ("1.3.",)


def run_job(
    task_function: TaskFunction,
    config: DictConfig,
    callbacks: Callbacks,
    template: Hashable | None = None,
    note: Callable[[DictConfig], None] = lambda config: None,
) -> JobReturn:
    """Run one job of a multirun.

    Args:
        task_function: The application's.
        config: The job's; it is changed.
        callbacks: Hydra's.
        template: What the config was composed from, if it was.
        note: Called with the task's part of the config, before the task is.

    Returns:
        As Hydra's own `run_job`; `hydra_cfg` is what `HydraConfig` has, and not a copy of it.
    """
    if not hydra.__version__.startswith(_CHECKED) or not _decides_chdir(config):
        return utils.run_job(
            task_function=_preceded(task_function, note),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            # run_job uses the callbacks only; composing is done.
            hydra_context=HydraContext(config_loader=None, callbacks=callbacks),  # type: ignore[arg-type]
        )
    cwd, before = Path.cwd(), HydraConfig.instance().cfg
    # For ${hydra:…} in the names of the folders.
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    sweep = config.hydra.sweep
    output_dir = str(Path(str(sweep.dir), str(sweep.subdir)))
    _set_output_dir(config.hydra.runtime, str(Path(output_dir).absolute()))
    logging = OmegaConf.to_container(config.hydra.job_logging, resolve=True)  # it may speak of the task's part
    task_cfg, hydra_cfg = apart(config) if callbacks.callbacks else take_apart(config)
    HydraConfig.instance().cfg = hydra_cfg  # type: ignore[assignment]
    own = hydra_cfg.hydra
    if callbacks.callbacks:
        OmegaConf.set_readonly(config.hydra, True)
    chdir = bool(own.job.chdir)
    try:
        returned = JobReturn(
            overrides=OmegaConf.to_container(own.overrides.task),  # type: ignore[arg-type]
            cfg=task_cfg,
            hydra_cfg=hydra_cfg,
        )
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        if chdir:
            os.chdir(output_dir)
        returned.working_dir = output_dir if chdir else str(cwd)
        _configure_log(logging, own.verbose)
        if own.output_subdir is not None:
            folder = Path(own.runtime.output_dir, own.output_subdir)
            folder.mkdir(parents=True, exist_ok=True)
            for name, part in (
                ("config", task_cfg),
                ("hydra", hydra_cfg),
                ("overrides", own.overrides.task),
            ):
                text = to_yaml(part, template if name == "hydra" else None)
                Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        with env_override(own.job.env_set):
            note(task_cfg)
            callbacks.on_job_start(config=config, task_function=task_function)
            try:
                returned.return_value = task_function(task_cfg)
                returned.status = JobStatus.COMPLETED
            except Exception as error:  # noqa: BLE001 - it is the job's
                returned.return_value, returned.status = error, JobStatus.FAILED
        returned.task_name = JobRuntime.instance().get("name")
        utils._flush_loggers()
        callbacks.on_job_end(config=config, job_return=returned)
        return returned
    finally:
        HydraConfig.instance().cfg = before
        if chdir:
            os.chdir(cwd)


def _preceded(task_function: TaskFunction, note: Callable[[DictConfig], None]) -> TaskFunction:
    @functools.wraps(task_function)
    def both(config: Any) -> Any:
        note(config)
        return task_function(config)

    return both


def _configure_log(plain: Any, verbose: Any) -> None:
    """As Hydra's `configure_log`, without making a config of a dict that it would make a dict again."""
    if plain is not None and plain["root"] is not None:
        configure_logging(plain)
        plain = {"root": None}
        if verbose is False:
            return
    configure_log(plain if plain is None else OmegaConf.create(plain), verbose)  # type: ignore[arg-type]


def _decides_chdir(config: DictConfig) -> bool:
    """Whether it is clear without Hydra 1.1 if a job changes directory."""
    return config.hydra.job.chdir is not None or version.base_at_least("1.2")


def apart(config: DictConfig) -> tuple[DictConfig, DictConfig]:
    """The task's part of a config, and Hydra's, as copies."""
    hydra_node = config._get_node("hydra")
    content = config.__dict__["_content"]
    del content["hydra"]
    task: DictConfig = pickle.loads(pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL))
    content["hydra"] = hydra_node
    own: DictConfig = pickle.loads(pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL))
    with read_write(own), open_dict(own):
        for key in [key for key in own if key != "hydra"]:
            del own[key]
    OmegaConf.set_readonly(own.hydra, True)
    return task, own


def take_apart(config: DictConfig) -> tuple[DictConfig, DictConfig]:
    """As `apart`, without copies: nobody may use the config itself afterwards."""
    content = config.__dict__["_content"]
    whole = dict(content)
    content.clear()
    parts = tuple(pickle.loads(pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)) for _ in range(2))
    task, own = parts
    for key, node in whole.items():
        part = own if key == "hydra" else task
        part.__dict__["_content"][key] = node
        node._set_parent(part)
    OmegaConf.set_readonly(own.hydra, True)
    return task, own


def _set_output_dir(runtime: DictConfig, path: str) -> None:
    node = runtime._get_node("output_dir")
    if isinstance(node, ValueNode):
        node._val = node.validate_and_convert(path)
        return
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = path
