"""The short forms of our options: `apparatus.workers=4` stands for `hydra.launcher.apparatus.workers=4`.

Everything of ours lives under `hydra.launcher`, so that an application's config stays its own. What users type are the
short forms: groups (`apparatus=modal`, `gpu=a100,h100`) and values (`gpu.count=2`, `results.sort=-accuracy`), on the
command line and in the application's config files. A name that the application uses itself, for a group or a key, is
the application's; then the group is called `mini/NAME`, and a value has its long form.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mini.apparatus import options
from mini.apparatus.groups import Results

GROUPS = ("apparatus", "gpu", "image")
"""The config groups of ours."""

NAMES = (*GROUPS, "results")
"""What has a short form."""

PREFIX = "hydra.launcher."
"""Where it is."""

STUDY = "study"
"""The short form of `hydra.sweeper`, where that is a study."""

LONG_GROUPS = "mini/"
"""What a group of ours begins with where its short name is the application's."""

STUDY_SWEEPER = "hydra_plugins.mini_launcher.study.StudySweeper"
_LAUNCHER = "hydra_plugins.mini_launcher.launcher.ApparatusLauncher"


class LoadOnce:
    """The `load_config` of a source, which reads each file once for all who ask.

    Whether a name is the application's is asked of many configs, and Hydra loads most of them too. It makes new sources
    for each command and each `compose`, so that a file that has changed is read again.

    Args:
        load: The source's own.
    """

    def __init__(self, load: Callable[[str], ConfigResult]) -> None:
        self._load = load
        self._results: dict[str, ConfigResult] = {}

    def shared(self, config_path: str) -> ConfigResult:
        """What was loaded, to be read only."""
        if config_path not in self._results:
            self._results[config_path] = self._load(config_path)
        return self._results[config_path]

    def __call__(self, config_path: str) -> ConfigResult:
        """A copy, from which Hydra takes the defaults list."""
        return copy.deepcopy(self.shared(config_path))


class Ownership:
    """Whether a name is the application's, by the configs that Hydra finds.

    Args:
        sources: All of Hydra's config sources but ours, in order; each with a `LoadOnce`.
    """

    primary: str | None = None
    """The application's primary config, where that is known."""

    def __init__(self, sources: Iterable[Any]) -> None:
        self._sources = list(sources)
        self._answers: dict[tuple[str, str | None], bool] = {}
        self._included: dict[str | None, bool] = {}

    def is_applications(self, name: str) -> bool:
        """Whether the application has a group or a key of this name.

        A group whose configs go into ours (`# @package hydra.launcher.image`) only adds choices.
        """
        key = (name, Ownership.primary)
        if key not in self._answers:
            self._answers[key] = self._has_key(name) or any(self._has_group(source, name) for source in self._sources)
        return self._answers[key]

    def says(self, key: str) -> bool:
        """Whether a primary config of the application itself has a value under a dotted key."""
        found = (_load(source, config, "config", None) for source, config in self._primaries())
        return any(isinstance(one, DictConfig) and OmegaConf.select(one, key) is not None for one in found)

    def includes_mini(self) -> bool:
        """Whether `mini` is in the defaults list of a primary config, or of a config in that list."""
        if Ownership.primary not in self._included:
            waiting, seen = [config for _, config in self._primaries()], set()
            while waiting and "mini" not in seen:
                config = waiting.pop()
                if config not in seen:
                    seen.add(config)
                    waiting += [path for source in self._sources for path in _defaults(source, config)]
            self._included[Ownership.primary] = "mini" in seen
        return self._included[Ownership.primary]

    def _primaries(self) -> Iterator[tuple[Any, str]]:
        for source in self._sources:
            if source.available():
                names = source.list("", ObjectType.CONFIG) if Ownership.primary is None else [Ownership.primary]
                yield from ((source, name) for name in names if source.is_config(name))

    def _has_group(self, source: Any, name: str) -> bool:
        if not source.available() or not source.is_group(name):
            return False
        configs = source.list(name, ObjectType.CONFIG)
        packages = {_load(source, f"{name}/{config}", "header", {}).get("package") for config in configs}
        return packages != {PREFIX + name}

    def _has_key(self, name: str) -> bool:
        return any(name in (_load(source, config, "config", ()) or ()) for source, config in self._primaries())


def _defaults(source: Any, path: str) -> Iterator[str]:
    """The configs in the defaults list of one, by path."""
    if not source.available() or not source.is_config(path):
        return
    config = _load(source, path, "config", None)
    entries = OmegaConf.to_container(config).get("defaults") if isinstance(config, DictConfig) else None  # type: ignore[union-attr]
    for entry in entries or ():
        for group, choice in entry.items() if isinstance(entry, dict) else [("", entry)]:
            words = str(group).split("@")[0].split()  # `override /group@package`, `optional group`
            for name in choice if isinstance(choice, list) else [choice]:
                inner = posixpath.join(
                    "/", posixpath.dirname(path), words[-1] if words else "", str(name).split("@")[0]
                )
                yield inner.lstrip("/")


def _load(source: Any, path: str, part: str, otherwise: Any) -> Any:
    try:
        return getattr(source.load_config.shared(path), part)
    except (HydraException, OmegaConfBaseException, OSError, ValueError):
        return otherwise  # Hydra meets the mistake when it needs the config, and says so


def lengthened(overrides: list[Override], config: DictConfig) -> list[Override]:
    """Overrides of values, short forms of ours in their long form.

    Args:
        overrides: As parsed; they are not changed.
        config: What they are applied to.
    """
    if not is_ours(config):
        return overrides
    return [_lengthened(override, config) for override in overrides]


def _lengthened(override: Override, config: DictConfig) -> Override:
    if is_of_study(override, config):
        long = copy.copy(override)
        long.key_or_group = f"hydra.sweeper{override.key_or_group.removeprefix(STUDY)}"
        return long
    name = short_name(override)
    if name is None or name in config or override.is_add():
        return override
    long = copy.copy(override)
    long.key_or_group = PREFIX + override.key_or_group
    return long


def short_name(override: Override) -> str | None:
    """The name of ours that an override's key begins with; None where it does not."""
    name = override.key_or_group.split(".", 1)[0].split("[", 1)[0]
    return name if name in NAMES else None


def completions(word: str, config: Any, long: Callable[[Any, str], list[str]]) -> list[str]:
    """What of ours a word on the command line may become.

    Args:
        word: As far as it is typed, such as `apparatus.w`.
        config: As composed so far.
        long: Completes a word in its long form.
    """
    if not OmegaConf.is_dict(config) or not is_ours(config):
        return []
    prefixes = {name: PREFIX + name for name in NAMES}
    if is_study(config):
        prefixes[STUDY] = "hydra.sweeper"
    name, dot, rest = word.partition(".")
    if not dot:
        return [f"{one}." for one in prefixes if one.startswith(word) and one not in config]
    if name not in prefixes or name in config:
        return []
    found = long(config, f"{prefixes[name]}.{rest}")
    return [
        name + one.removeprefix(prefixes[name]) for one in found if not one.endswith(("_=", ".kind="))
    ]  # which nobody writes


def is_of_study(override: Override, config: DictConfig) -> bool:
    """Whether an override is an option of the study that a command is, such as `study.trials=40`.

    Args:
        override: As parsed.
        config: What it is applied to.
    """
    return override.key_or_group.startswith(f"{STUDY}.") and STUDY not in config and is_study(config)


def is_study(config: DictConfig) -> bool:
    """Whether the sweeper of a config is the one of studies."""
    return bool(OmegaConf.select(config, "hydra.sweeper._target_") == STUDY_SWEEPER)


def adopt(config: DictConfig, is_applications: Callable[[str], bool]) -> None:
    """Move what config files say in short form to where it belongs.

    Args:
        config: As composed from files; changed.
        is_applications: Whether a name is the application's.
    """
    if not is_ours(config):
        return
    with open_dict(config):
        results = DictConfig(options.defaults(Results), flags={"struct": False})  # the launcher refuses what is wrong
        results.merge_with(config.hydra.launcher.get("results") or {})
        config.hydra.launcher.results = results
    for name in NAMES:
        if name in config and OmegaConf.is_dict(config.get(name)) and not is_applications(name):
            with open_dict(config):
                given = config.pop(name)
                target = config.hydra.launcher
                target[name] = OmegaConf.merge(target[name], given) if OmegaConf.is_dict(target.get(name)) else given


def with_launcher(defaults: Sequence[Any]) -> list[Any]:
    """A defaults list without our groups where another launcher was chosen, whose config has no place for them.

    Args:
        defaults: As Hydra has worked them out, with `config_path` and `package`.
    """
    if any(default.config_path == "hydra/launcher/apparatus" for default in defaults):
        return list(defaults)
    ours = {PREFIX + group for group in GROUPS}
    return [default for default in defaults if default.package not in ours]


def is_ours(config: DictConfig) -> bool:
    """Whether the launcher of a config is ours."""
    return bool(OmegaConf.select(config, "hydra.launcher._target_") == _LAUNCHER)
