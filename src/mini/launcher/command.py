"""What a command of a mini application says when its config is wrong, and when jobs failed.

Hydra finds out the mode by composing the config, and takes a config that does not compose for a single run. So a
misspelt key beside a sweep is answered with advice on `--multirun`, and every mistake with exit code 1, which is also
the code of a sweep with failed jobs. For applications with `mini` in their defaults list this module shows the real
mistake and leaves with 2; and a failed sweep, already reported, leaves with 1 without one job's traceback in between.

It takes the place of one private function of Hydra's. Where that has another signature than expected, Hydra's own way
stays.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from hydra._internal import utils
from hydra.core.default_element import ConfigDefault
from hydra.errors import CompactHydraException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

_PARAMETERS = ["run", "multirun", "mode", "hydra", "config_name", "task_function", "overrides"]


REPORTED = "_mini_reported"
"""The attribute of an exception that the user has already been told of."""


def install() -> None:
    """Answer for mini applications from now on. A second call does nothing."""
    run_app = getattr(utils, "_run_app", None)
    if run_app is None or hasattr(run_app, "__wrapped__"):
        return
    if list(inspect.signature(run_app).parameters) == _PARAMETERS:
        utils._run_app = _answering(run_app)


def refuse(error: BaseException, code: int = 2) -> NoReturn:
    """Say what is wrong and leave, with the exit code for wrong usage if nothing else is said."""
    text = str(error)
    if isinstance(error, MissingConfigException) and "'gpu/" in text:
        text += "\nA GPU of another name is asked for with gpu.name=NAME."
    if isinstance(error.__cause__, OmegaConfBaseException):
        text = f"{text}\n{error.__cause__}".strip()
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(code) from error


def _answering(run_app: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run_app)
    def _run_app(*, hydra: Any, config_name: str | None, overrides: list[str], **others: Any) -> None:
        if not _is_mini(hydra, config_name):
            run_app(hydra=hydra, config_name=config_name, overrides=overrides, **others)
            return
        if others["mode"] is None:
            _compose(hydra, config_name, overrides)
        hydra.multirun = functools.partial(_quietly, hydra.multirun)
        run_app(hydra=hydra, config_name=config_name, overrides=overrides, **others)

    return _run_app


def _is_mini(hydra: Any, config_name: str | None) -> bool:
    """Whether `mini` is in the defaults list of the application's primary config."""
    try:
        primary = hydra.config_loader.repository.load_config(config_name) if config_name else None
        return primary is not None and any(
            isinstance(default, ConfigDefault) and (default.path or "").lstrip("/") == "mini"
            for default in primary.defaults_list or ()
        )
    except Exception:  # noqa: BLE001 - then Hydra will meet the mistake, and say so
        return False


def _compose(hydra: Any, config_name: str | None, overrides: list[str]) -> None:
    """Meet the mistake that kept Hydra from finding out the mode."""
    try:
        hydra.compose_config(
            config_name=config_name,
            overrides=[*overrides, "hydra.mode=MULTIRUN"],
            with_log_configuration=False,
            run_mode=RunMode.MULTIRUN,
        )
    except (HydraException, OmegaConfBaseException) as error:
        refuse(error)


def _quietly(multirun: Callable[..., Any], **kwargs: Any) -> Any:
    try:
        return multirun(**kwargs)
    except Exception as error:
        if hasattr(error, REPORTED):
            raise SystemExit(1) from error
        if isinstance(error, CompactHydraException | OmegaConfBaseException):
            refuse(error)
        raise
