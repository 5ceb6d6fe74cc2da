"""What is private in Hydra and OmegaConf is used here, and in `nodes`, and nowhere else.

Each step below gives exactly what Hydra gives, which `tests/launcher` compares on the versions named. On any other
version Hydra's or OmegaConf's own way is taken, which is slower; `mini.fallbacks` counts it.

| step                                     | hydra-core | omegaconf | on other versions                              |
|------------------------------------------|------------|-----------|------------------------------------------------|
| `compose`: jobs from templates, and their validation (`fast.compose`, `fast.validation`) | 1.3, 1.4 | 2.3, 2.4 | Hydra composes each job from its files, twice |
| `run_job`: one job, with fewer copies (`fast.run_job`)    | 1.3  | 2.3       | `hydra.core.utils.run_job`                     |
| `yaml`: the three files of a job (`fast.yaml`)            | any  | 2.3       | `OmegaConf.to_yaml`                            |
| `grammar`: parse trees are kept (`fast.grammar`)          | any  | 2.3, 2.4  | OmegaConf parses an interpolation at each use  |
| `command`: errors of a command (`command`)                | 1.3, 1.4 | any   | Hydra's own messages and exit codes            |

Reading and moving the nodes of a config (`nodes`), which several of these need, was checked on OmegaConf 2.3 and 2.4: all that
`pyproject.toml` allows. Hydra 1.4 has a `run_job` of its own kind (an execution policy, a job's failure handed to
callbacks), and OmegaConf 2.4 writes YAML with libyaml itself: there the general way is the right one.
"""  # noqa: E501 - a table

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import hydra
import omegaconf
from hydra import version
from hydra._internal import config_loader_impl
from hydra._internal import utils as hydra_utils
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core import utils as hydra_core_utils
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.completion_plugin import CompletionPlugin
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper
from omegaconf.basecontainer import BaseContainer

from mini.launcher import nodes, plain, short_forms

try:
    from hydra._internal.logging_config import configure_logging
except ImportError:  # before Hydra 1.3.6 it is Python's own
    from logging.config import dictConfig as configure_logging

__all__ = ["Callbacks", "ConfigLoaderImpl", "Hydra", "configure_logging"]

_CHECKED: dict[str, tuple[frozenset[str] | None, frozenset[str] | None]] = {
    "compose": (frozenset({"1.3", "1.4"}), frozenset({"2.3", "2.4"})),
    "run_job": (frozenset({"1.3"}), frozenset({"2.3"})),
    "yaml": (None, frozenset({"2.3"})),
    "grammar": (None, frozenset({"2.3", "2.4"})),
    "command": (frozenset({"1.3", "1.4"}), None),
}
"""The versions of hydra-core and of omegaconf each step was checked on; None for any."""


def unchecked(step: str) -> str | None:
    """Say why a step may not be used with the installed versions.

    Args:
        step: A name of the table at the top of this module.

    Returns:
        The reason, as `mini.fallbacks.note` takes it; None if the step was checked on them.
    """
    for name, installed, versions in zip(
        ("hydra-core", "omegaconf"), (hydra.__version__, omegaconf.__version__), _CHECKED[step], strict=True
    ):
        if versions is not None and ".".join(installed.split(".")[:2]) not in versions:
            return f"not checked on {name} {installed}"
    return None


def yaml_dumper() -> Any:
    """The class that `OmegaConf.to_yaml` writes with."""
    return get_omega_conf_dumper()


# Resolvers.

_EVERYWHERE = frozenset(
    {"now", "hydra", "python_version", "hydra_override_dirname", "hydra_deprecated_override_dirname"}
)
"""The resolvers that `hydra.core.utils.setup_globals` registers."""


def register_resolver(
    name: str, resolver: Callable[..., Any], *, use_cache: bool = False, replace: bool = False
) -> None:
    """Register a resolver, by the method that the installed OmegaConf does not warn of.

    Args:
        name: What interpolations call it.
        resolver: What they get.
        use_cache: Whether a config keeps what the resolver gave.
        replace: Whether it may take the place of another one.

    Raises:
        ValueError: There is one of that name already.
    """
    # `register_resolver` is the old way in OmegaConf 2.3, and the one way in 2.4.
    is_new = "use_cache" in inspect.signature(OmegaConf.register_resolver).parameters
    register: Any = OmegaConf.register_resolver if is_new else OmegaConf.register_new_resolver
    register(name, resolver, use_cache=use_cache, replace=replace)


def user_resolvers() -> dict[str, Callable[..., Any]]:
    """The resolvers registered in this process that a fresh one would not have, by name, as OmegaConf keeps them."""
    return {
        name: resolver
        for name, resolver in BaseContainer._resolvers.items()
        if not name.startswith("oc.") and name not in _EVERYWHERE
    }


def add_resolvers(resolvers: Mapping[str, Callable[..., Any]]) -> None:
    """Register what `user_resolvers` gave in another process, but for names that are taken here."""
    for name, resolver in resolvers.items():
        BaseContainer._resolvers.setdefault(name, resolver)


# Composing.


def is_hydras_loader(loader: Any) -> bool:
    """Whether a config loader is Hydra's, and not a subclass or one of somebody else's."""
    return type(loader) is ConfigLoaderImpl


def repository(loader: ConfigLoaderImpl, master: DictConfig) -> Any:
    """The configs a sweep is composed from, those of `hydra.searchpath` among them."""
    overrides: Any = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
    return loader._parse_overrides_and_create_caching_repo(master.hydra.job.config_name, overrides)[1]


def chooses_group(configs: Any, override: Override) -> bool:
    """Whether an override changes the defaults list, and not a value, as Hydra's `Overrides` tells them apart."""
    if getattr(override, "is_value_path", False):  # Hydra 1.4
        return False
    is_group: bool = configs.group_exists(override.key_or_group)
    if override.is_delete() and hasattr(override, "is_value_path"):
        return is_group or bool(configs.config_exists(override.key_or_group))
    return is_group and not isinstance(override.value(), dict)


def validate_job_overrides(overrides: list[Override]) -> None:
    """Refuse what one job's overrides may not contain, such as a sweep.

    Raises:
        ConfigCompositionException: In Hydra's words.
    """
    ConfigLoaderImpl.validate_sweep_overrides_legal(overrides, run_mode=RunMode.RUN, from_shell=True)


def apply_overrides(config: DictConfig, overrides: list[Override]) -> None:
    """Set the values of overrides on a config.

    Raises:
        ConfigCompositionException: In Hydra's words, for a value that cannot be set.
    """
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def set_task_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Note a job's overrides in Hydra's part of its config, as composing does.

    The nodes are set directly: through the config that costs more than all the rest.
    """
    job = nodes.descend(config, "hydra", "job")
    nodes.assign_list(
        nodes.descend(config, "hydra", "overrides", "task"), [override.input_line for override in overrides]
    )
    dirname = getattr(config_loader_impl, "get_overrides_dirname", None)
    if dirname is None:  # since Hydra 1.4 it is an interpolation
        return
    naming = nodes.descend(job, "config", "override_dirname")
    text = dirname(
        overrides=list(overrides),
        kv_sep=naming.kv_sep,
        item_sep=naming.item_sep,
        exclude_keys=naming.exclude_keys,
    )
    nodes.assign(nodes.child(job, "override_dirname"), text)


# Short forms.


def install_short_forms(own_source: type[Any]) -> None:
    """Let Hydra understand the short forms of our options wherever it composes a config. A second call does nothing.

    Args:
        own_source: The class of our config source, which is told of the others.
    """
    if hasattr(ConfigLoaderImpl._apply_overrides_to_config, "__wrapped__"):
        return
    apply, compose = ConfigLoaderImpl._apply_overrides_to_config, ConfigLoaderImpl._compose_config_from_defaults_list
    initialize = ConfigRepository.initialize_sources

    @functools.wraps(apply)
    def apply_long(overrides: list[Override], cfg: DictConfig) -> None:
        apply(short_forms.lengthened(overrides, cfg), cfg)

    @functools.wraps(compose)
    def compose_and_adopt(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        if "defaults" in kwargs:
            kwargs["defaults"] = short_forms.with_launcher(kwargs["defaults"])
        config = compose(self, *args, **kwargs)
        short_forms.adopt(config, own_source.ownership.is_applications)
        return config

    @functools.wraps(initialize)
    def initialize_and_tell(self: ConfigRepository, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        others = [
            source
            for source in self.sources
            if type(source).__name__ != own_source.__name__ and source.provider != "hydra"
        ]
        for source in others:
            vars(source)["load_config"] = short_forms.LoadOnce(source.load_config)
        own_source.ownership = short_forms.Ownership(others)

    matches = CompletionPlugin._get_matches

    @functools.wraps(matches)
    def matches_of_short_forms(config: Any, word: str) -> list[str]:
        return [*matches(config, word), *short_forms.completions(word, config, matches)]

    CompletionPlugin._get_matches = staticmethod(matches_of_short_forms)  # type: ignore[method-assign]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply_long)  # type: ignore[method-assign]
    ConfigLoaderImpl._compose_config_from_defaults_list = compose_and_adopt  # type: ignore[method-assign]
    ConfigRepository.initialize_sources = initialize_and_tell  # type: ignore[method-assign]
    _let_jobs_choose_ours()


def _let_jobs_choose_ours() -> None:
    """Let the jobs of a sweep differ in what of ours is under `hydra.launcher`, which Hydra refuses from 1.4 on."""
    check = getattr(ConfigLoaderImpl, "_ensure_sweep_config_controller_unchanged", None)
    if check is None:
        return

    @functools.wraps(check)
    def check_the_rest(master_config: DictConfig, sweep_config: DictConfig) -> None:
        if not (short_forms.is_ours(master_config) and short_forms.is_ours(sweep_config)):
            check(master_config, sweep_config)
            return
        masters, jobs = (
            nodes.content(nodes.descend(config, "hydra", "launcher")) for config in (master_config, sweep_config)
        )
        chosen = {name: jobs[name] for name in short_forms.NAMES if name in jobs and name in masters}
        jobs.update({name: masters[name] for name in chosen})
        # The options of a study are the command's alone, and no job has those in short form; and a command without
        # `-m` has another sweeper than its config says.
        masters_own, own = (nodes.content(nodes.descend(config, "hydra")) for config in (master_config, sweep_config))
        is_another = short_forms.is_study(master_config) or plain.is_changed(master_config, sweep_config)
        swapped = {"sweeper": own["sweeper"]} if is_another else {}
        own.update({name: masters_own[name] for name in swapped})
        try:
            check(master_config, sweep_config)
        finally:
            jobs.update(chosen)
            own.update(swapped)

    ConfigLoaderImpl._ensure_sweep_config_controller_unchanged = staticmethod(check_the_rest)  # type: ignore[attr-defined]


# Running a job.


@contextlib.contextmanager
def no_multirun_callbacks() -> Iterator[None]:
    """Let Hydra call no callback for the begin and end of a multirun: the command is a single run."""
    before = Callbacks.on_multirun_start, Callbacks.on_multirun_end
    Callbacks.on_multirun_start = Callbacks.on_multirun_end = lambda self, *args, **kwargs: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Callbacks.on_multirun_start, Callbacks.on_multirun_end = before  # type: ignore[method-assign]


def load_plugins() -> None:
    """Let this process know all plugins, and let those that change search paths do so once, as a command does."""
    hydra_utils.create_config_search_path(None)


def context_of_job(callbacks: Callbacks, execution_whitelist: Any) -> HydraContext:
    """The context `hydra.core.utils.run_job` takes where composing is done.

    Args:
        callbacks: Hydra's.
        execution_whitelist: That of the client's context, from Hydra 1.4 on.
    """
    more = {} if execution_whitelist is None else {"execution_whitelist": execution_whitelist}
    return HydraContext(config_loader=None, callbacks=callbacks, **more)  # type: ignore[arg-type]


def execution_whitelist(context: HydraContext) -> Any:
    """What configs may call, from Hydra 1.4 on; None before, and where the application sets no limit."""
    return getattr(context, "execution_whitelist", None)


def configure_log(log_config: Any, verbose: Any, whitelist: Any) -> None:
    """Hydra's `configure_log`, with the execution whitelist from Hydra 1.4 on."""
    more = {} if whitelist is None else {"execution_whitelist": whitelist}
    hydra_core_utils.configure_log(log_config, verbose, **more)


def flush_loggers() -> None:
    """Flush all handlers of Python's logging, as Hydra does after a job."""
    hydra_core_utils._flush_loggers()


def returned_or_raised(job_return: JobReturn) -> Any:
    """What a task returned, or the exception it raised; the property would print before it raises."""
    return job_return._return_value


def is_read_by_basic_sweeper(frame: FrameType | None) -> bool:
    """Whether Hydra's own sweeper called: it reads each value, and makes nothing of it.

    Args:
        frame: Of the property that is read.
    """
    caller = frame.f_back if frame is not None else None
    return caller is not None and caller.f_globals.get("__name__") == BasicSweeper.__module__


def detach_job_return(error: BaseException) -> None:
    """Take from an exception the `JobReturn` that Hydra 1.4 hangs on it for its caller; it cannot be pickled."""
    take = getattr(hydra_core_utils, "_take_job_return_handoff", None)
    if take is not None:
        take(error)


def version_base() -> Any:
    """The version of Hydra whose behaviour the application asked for, for `set_version_base` in another process."""
    return version.getbase()


def set_version_base(base: Any) -> None:
    """Take over a version base.

    `hydra.version.setbase` takes text, and warns of old versions where the client has done so already.
    """
    if isinstance(base, str) or hasattr(base, "major"):  # and not the mark for an unspecified one
        version.VersionBase.instance().setbase(base)


# The command.

_RUN_APP = ("run", "multirun", "mode", "hydra", "config_name", "task_function", "overrides")
_RUN_APP_MORE = ("parsed_overrides",)


def wrap_run_app(wrap: Callable[[Callable[..., None]], Callable[..., None]]) -> str | None:
    """Put a function of ours around the one of Hydra's that runs an application. A second call does nothing.

    Args:
        wrap: Takes Hydra's function, and gives one with the same keyword arguments.

    Returns:
        Why it was not done, if this Hydra's function is not the one expected.
    """
    run_app = getattr(hydra_utils, "_run_app", None)
    if run_app is None:
        return f"hydra-core {hydra.__version__} has no _run_app"
    if hasattr(run_app, "__wrapped__"):
        return None
    parameters = tuple(inspect.signature(run_app).parameters)
    if parameters not in (_RUN_APP, _RUN_APP + _RUN_APP_MORE):
        return f"_run_app of hydra-core {hydra.__version__} has other parameters"
    hydra_utils._run_app = wrap(run_app)
    return None


def finds_mode_by_composing() -> bool:
    """Whether Hydra finds `hydra.mode` in any config, as before 1.4, and not only in the primary one."""
    return tuple(inspect.signature(inspect.unwrap(hydra_utils._run_app)).parameters) == _RUN_APP
