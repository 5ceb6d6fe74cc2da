"""Hydra's `run_job`, with fewer copies of the config and a quicker way to the same YAML."""

from __future__ import annotations

import functools
import os
import pickle
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core import utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import Container, DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper

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
    output_dir = str(Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)))
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(Path(output_dir).absolute())
    logging = OmegaConf.to_container(config.hydra.job_logging, resolve=True)  # it may speak of the task's part
    task_cfg, hydra_cfg = apart(config, keep=bool(callbacks.callbacks))
    HydraConfig.instance().cfg = hydra_cfg  # type: ignore[assignment]
    OmegaConf.set_readonly(config.hydra, True)
    chdir = bool(hydra_cfg.hydra.job.chdir)
    try:
        returned = JobReturn(
            overrides=OmegaConf.to_container(hydra_cfg.hydra.overrides.task),  # type: ignore[arg-type]
            cfg=task_cfg,
            hydra_cfg=hydra_cfg,
        )
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        if chdir:
            os.chdir(output_dir)
        returned.working_dir = output_dir if chdir else str(cwd)
        _configure_log(logging, hydra_cfg.hydra.verbose)
        if hydra_cfg.hydra.output_subdir is not None:
            folder = Path(hydra_cfg.hydra.runtime.output_dir, hydra_cfg.hydra.output_subdir)
            folder.mkdir(parents=True, exist_ok=True)
            for name, part in (
                ("config", task_cfg),
                ("hydra", hydra_cfg),
                ("overrides", hydra_cfg.hydra.overrides.task),
            ):
                text = to_yaml(part, template if name == "hydra" else None)
                Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        with env_override(hydra_cfg.hydra.job.env_set):
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


def to_yaml(config: DictConfig, template: Hashable | None = None) -> str:
    """As `OmegaConf.to_yaml`, byte for byte, and quicker.

    Args:
        config: What to write.
        template: Where `config` is Hydra's part of one: what of it does not differ between jobs of the same template is
            written out once.
    """
    node = config._get_node("hydra") if template is not None else None
    if not isinstance(node, DictConfig):
        return _dump(OmegaConf.to_container(config, resolve=False, enum_to_str=True))
    lines = ["hydra:\n"]
    for key in node:
        part = _parts.get((template, key))
        if part is None:
            part = _dump({"hydra": {key: _unresolved(node, str(key))}}).removeprefix("hydra:\n")
            if key not in _CHANGES:
                _parts[template, key] = part
        lines.append(part)
    return "".join(lines)


_parts: dict[tuple[Hashable, Any], str] = {}
_CHANGES = ("job", "overrides", "runtime", "sweep")  # from job to job
_PLAIN = re.compile(r"[!-~]*|[ -~]{0,30}")  # text that no emitter folds or escapes in a way of its own


def _unresolved(config: DictConfig, key: str) -> Any:
    node = config._get_node(key)
    if isinstance(node, Container) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    alone = OmegaConf.to_container(OmegaConf.masked_copy(config, key), resolve=False, enum_to_str=True)
    return alone[key]  # type: ignore[index,call-overload]


def _dump(container: Any) -> str:
    dumper = _Fast if _Fast is not None and _is_plain(container) else get_omega_conf_dumper()
    text: str = yaml.dump(container, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)
    return text


def _is_plain(value: Any) -> bool:
    """Whether libyaml writes a value as PyYAML does."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and 0 < len(key) < 60 for key in value) and all(
            _is_plain(part) for pair in value.items() for part in pair
        )
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, str) or _PLAIN.fullmatch(value) is not None


def _decides_chdir(config: DictConfig) -> bool:
    """Whether it is clear without Hydra 1.1 if a job changes directory."""
    return config.hydra.job.chdir is not None or version.base_at_least("1.2")


def apart(config: DictConfig, *, keep: bool = True) -> tuple[DictConfig, DictConfig]:
    """The task's part of a config, and Hydra's.

    Args:
        config: The whole.
        keep: Whether it must stay whole; else Hydra's part, which is much the larger, is not copied.
    """
    hydra_node = config._get_node("hydra")
    content = config.__dict__["_content"]
    del content["hydra"]
    task: DictConfig = pickle.loads(pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL))
    content["hydra"] = hydra_node
    own: DictConfig = pickle.loads(pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)) if keep else config
    with read_write(own), open_dict(own):
        for key in [key for key in own if key != "hydra"]:
            del own[key]
    OmegaConf.set_readonly(own.hydra, True)
    return task, own


def _fast_dumper() -> Any:
    stock = get_omega_conf_dumper()
    if not hasattr(yaml, "CDumper"):
        return None

    class Dumper(yaml.CDumper):  # type: ignore[misc]
        yaml_representers = stock.yaml_representers
        yaml_multi_representers = stock.yaml_multi_representers

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper


_Fast: Any = _fast_dumper()
