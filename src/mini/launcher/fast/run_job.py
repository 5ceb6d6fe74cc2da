"""Hydra's `run_job`, with fewer copies of the config and a quicker way to the same YAML."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, env_override
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf, ValueNode, open_dict, read_write

from mini import fallbacks
from mini.launcher import nodes, supported
from mini.launcher.fast.copying import copied
from mini.launcher.fast.yaml import to_yaml
from mini.launcher.supported import Callbacks


def run_job(
    task_function: TaskFunction,
    config: DictConfig,
    callbacks: Callbacks,
    template: Hashable | None = None,
    before_task: Callable[[DictConfig], None] = lambda config: None,
    execution_whitelist: Any = None,
) -> JobReturn:
    """Run one job of a multirun.

    Args:
        task_function: The application's.
        config: The job's; it is changed.
        callbacks: Hydra's.
        template: What the config was composed from, if it was.
        before_task: Called with the task's part of the config, before the task is.
        execution_whitelist: What configs may call, from Hydra 1.4 on.

    Returns:
        As Hydra's own `run_job`; `hydra_cfg` is what `HydraConfig` has, and not a copy of it.
    """
    reason = supported.unchecked("run_job")
    if reason is None and not _decides_chdir(config):
        reason = "Hydra 1.1 decides whether to change directory"
    if reason is not None:
        fallbacks.note("run_job", reason)
        try:
            return utils.run_job(
                task_function=_preceded(task_function, before_task),
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=supported.context_of_job(callbacks, execution_whitelist),
            )
        except BaseException as error:
            supported.detach_job_return(error)
            raise
    cwd, before = Path.cwd(), HydraConfig.instance().cfg
    # For ${hydra:…} in the names of the folders.
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    sweep = config.hydra.sweep
    output_dir = str(Path(str(sweep.dir), str(sweep.subdir)))
    _set_output_dir(config.hydra.runtime, str(Path(output_dir).absolute()))
    logging = OmegaConf.to_container(config.hydra.job_logging, resolve=True)  # it may speak of the task's part
    task_cfg, hydra_cfg = copy_parts(config) if callbacks.callbacks else move_parts(config)
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
            before_task(task_cfg)
            callbacks.on_job_start(config=config, task_function=task_function)
            try:
                returned.return_value = task_function(task_cfg)
                returned.status = JobStatus.COMPLETED
            except Exception as error:  # noqa: BLE001 - it is the job's
                returned.return_value, returned.status = error, JobStatus.FAILED
        returned.task_name = JobRuntime.instance().get("name")
        supported.flush_loggers()
        callbacks.on_job_end(config=config, job_return=returned)
        return returned
    finally:
        HydraConfig.instance().cfg = before
        if chdir:
            os.chdir(cwd)


def _preceded(task_function: TaskFunction, before_task: Callable[[DictConfig], None]) -> TaskFunction:
    @functools.wraps(task_function)
    def both(config: Any) -> Any:
        before_task(config)
        return task_function(config)

    return both


def _configure_log(plain: Any, verbose: Any) -> None:
    """As Hydra's `configure_log`, without making a config of a dict that it would make a dict again."""
    if plain is not None and plain["root"] is not None:
        supported.configure_logging(plain)
        plain = {"root": None}
        if verbose is False:
            return
    utils.configure_log(plain if plain is None else OmegaConf.create(plain), verbose)  # type: ignore[arg-type]


def _decides_chdir(config: DictConfig) -> bool:
    """Whether it is clear without Hydra 1.1 if a job changes directory."""
    return config.hydra.job.chdir is not None or version.base_at_least("1.2")


def copy_parts(config: DictConfig) -> tuple[DictConfig, DictConfig]:
    """The task's part of a config, and Hydra's, as copies."""
    content = nodes.content(config)
    hydra_node = content.pop("hydra")
    task: DictConfig = copied(config)
    content["hydra"] = hydra_node
    own: DictConfig = copied(config)
    with read_write(own), open_dict(own):
        for key in [key for key in own if key != "hydra"]:
            del own[key]
    OmegaConf.set_readonly(own.hydra, True)
    return task, own


def move_parts(config: DictConfig) -> tuple[DictConfig, DictConfig]:
    """As `copy_parts`, without copies: the config itself is empty afterwards."""
    content = nodes.content(config)
    whole = dict(content)
    content.clear()
    parts = tuple(copied(config) for _ in range(2))
    task, own = parts
    for key, node in whole.items():
        part = own if key == "hydra" else task
        nodes.content(part)[key] = node
        nodes.set_parent(node, part)
    OmegaConf.set_readonly(own.hydra, True)
    return task, own


def _set_output_dir(runtime: DictConfig, path: str) -> None:
    node = nodes.child(runtime, "output_dir")
    if isinstance(node, ValueNode):
        nodes.assign(node, path)
        return
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = path
