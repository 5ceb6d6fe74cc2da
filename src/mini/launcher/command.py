"""What a command of a mini application says when its config is wrong, and when jobs failed.

Hydra finds out the mode by composing the config, and takes a config that does not compose for a single run. So a
misspelt key beside a sweep is answered with advice on `--multirun`, and every mistake with exit code 1, which is also
the code of a sweep with failed jobs. For applications with `mini` in their defaults list this module shows the real
mistake and leaves with 2; and a failed sweep, already reported, leaves with 1 without one job's traceback in between.

Hydra 1.4 looks for `hydra.mode` in the primary config only, and would run an application with `mini` in its defaults
list as a single run, without a launcher. Here such an application is a multirun on any version.

Where Hydra's function has another signature than expected (`mini.launcher.supported`), its own way stays.
"""

from __future__ import annotations

import contextlib
import functools
import posixpath
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hydra.core.default_element import ConfigDefault
from hydra.errors import CompactHydraException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mini import fallbacks
from mini.launcher import plain, supported
from mini.launcher.short_forms import Ownership

Explain = Callable[[BaseException], str | None]
"""Finds other words for a mistake."""

REPORTED = "_mini_reported"
"""The attribute of an exception that the user has already been told of."""


def install() -> None:
    """Answer for mini applications from now on. A second call does nothing."""
    reason = supported.unchecked("command") or supported.wrap_run_app(_with_our_errors)
    if reason is not None:
        fallbacks.note("command", reason)


def refuse(error: BaseException, code: int = 2, said: str | None = None) -> NoReturn:
    """Say what is wrong and leave.

    Args:
        error: What is wrong.
        code: The exit code; that for wrong usage if nothing else is said.
        said: The same in other words.
    """
    text = said or str(error)
    if isinstance(error, MissingConfigException) and "'gpu/" in str(error):
        text += "\nA GPU of another name is asked for with gpu.name=NAME."
    if said is None and isinstance(error.__cause__, OmegaConfBaseException):
        text = f"{text}\n{error.__cause__}".strip()
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(code) from error


def _with_our_errors(run_app: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run_app)
    def _run_app(*, hydra: Any, config_name: str | None, overrides: list[str], **others: Any) -> None:
        Ownership.primary = config_name
        if not _is_mini(hydra, config_name):
            run_app(hydra=hydra, config_name=config_name, overrides=overrides, **others)
            return
        explain = _explaining(hydra, config_name, overrides)
        is_asked = others["multirun"] or plain.asks_for_sweeper(overrides) or _says_multirun(hydra, config_name)
        if others["mode"] is None:
            if supported.finds_mode_by_composing():
                _compose(hydra, config_name, overrides, explain)
            others.update(run=False, multirun=True)
        hydra.multirun = functools.partial(_reported_once, hydra.multirun, explain)
        if is_asked or others["mode"] is RunMode.RUN:
            run_app(hydra=hydra, config_name=config_name, overrides=overrides, **others)
            return
        hydra.compose_config = plain.composing(hydra.compose_config, list(overrides))
        with contextlib.nullcontext() if plain.has_sweep(overrides) else supported.no_multirun_callbacks():
            run_app(hydra=hydra, config_name=config_name, overrides=overrides, **others)

    return _run_app


def _says_multirun(hydra: Any, config_name: str | None) -> bool:
    """Whether the application's primary config itself asks for a multirun."""
    try:
        found = hydra.config_loader.repository.load_config(config_name)
        return found is not None and str(OmegaConf.select(found.config, "hydra.mode")).endswith("MULTIRUN")
    except (HydraException, OmegaConfBaseException):
        return False


def _is_mini(hydra: Any, config_name: str | None) -> bool:
    """Whether `mini` is in the defaults list of the application's primary config, or of a config in that list."""
    try:
        return config_name is not None and _includes_mini(hydra.config_loader.repository, config_name)
    except Exception:  # noqa: BLE001 - then Hydra will meet the mistake, and say so
        fallbacks.note("command", "a config in the defaults list cannot be read")
        return False


def _includes_mini(repository: Any, path: str) -> bool:
    config = repository.load_config(path)
    for default in (config.defaults_list if config is not None else None) or ():
        if not isinstance(default, ConfigDefault) or default.path in (None, "_self_"):
            continue
        included = posixpath.join("/", posixpath.dirname(path), default.path).lstrip("/")
        if included == "mini" or _includes_mini(repository, included):
            return True
    return False


def _explaining(hydra: Any, config_name: str | None, overrides: Sequence[str]) -> Explain:
    """What finds other words for a mistake in these overrides. Composes only once there is one."""
    load = functools.partial(
        hydra.compose_config, config_name=config_name, with_log_configuration=False, run_mode=RunMode.RUN
    )

    def compose(some: Sequence[str]) -> Any:
        return load(overrides=[text for text in some if not plain.has_sweep([text])])

    def explain(error: BaseException) -> str | None:
        from mini.launcher import near_misses  # only where there is a mistake

        return near_misses.explain(error, overrides, compose)

    return explain


def _compose(hydra: Any, config_name: str | None, overrides: list[str], explain: Explain) -> None:
    """Meet the mistake that kept Hydra from finding out the mode."""
    try:
        hydra.compose_config(
            config_name=config_name,
            overrides=[*overrides, "hydra.mode=MULTIRUN"],
            with_log_configuration=False,
            run_mode=RunMode.MULTIRUN,
        )
    except (HydraException, OmegaConfBaseException) as error:
        refuse(error, said=explain(error))


def _reported_once(multirun: Callable[..., Any], explain: Explain, **kwargs: Any) -> Any:
    try:
        return multirun(**kwargs)
    except Exception as error:
        if hasattr(error, REPORTED):
            raise SystemExit(1) from error
        if isinstance(error, CompactHydraException | OmegaConfBaseException | plain.RunDirError):
            refuse(error, said=explain(error))
        raise
