"""The config groups `apparatus`, `gpu` and `image`, `mini`, which brings them, and the sweeper `study`.

They are made from the options dataclasses. Hydra imports this module at every start: an engine, and what a study
needs, is loaded when its config is asked for.
"""

import builtins
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from mini.apparatus import options, registry
from mini.apparatus.groups import OFFERED, Gpu, Image
from mini.launcher.short_forms import GROUPS, LONG_GROUPS, PREFIX, STUDY_SWEEPER, Ownership

_DEFAULTS = {"apparatus": "local", "gpu": "none", "image": "auto"}
_CHOICES = {"apparatus": registry.OWN, "gpu": ("none", *OFFERED), "image": ("auto",)}

_SWEEPERS = "hydra/sweeper"
_LONG = LONG_GROUPS.rstrip("/")

_FOOTER = """Where jobs run: apparatus=NAME, gpu=NAME, image=NAME, and their options in short form, such as
apparatus.workers=4, gpu.count=2, image.apt=[ffmpeg] and results.sort=-accuracy, for what is
hydra.launcher.apparatus.workers=4 in full (--cfg hydra -p hydra.launcher shows all). A name that this
application uses itself is its own: then ours has the full form, and a group is mini/NAME.

Powered by Hydra (https://hydra.cc)
Use --hydra-help to view Hydra specific help
"""


class MiniConfigSource(ConfigSource):
    """Configs such as `apparatus/modal`, `gpu/a100` and `hydra/sweeper/study`; its place on the search path is `mini://`."""

    ownership = Ownership(())
    """Which names are the application's; told by `mini.launcher.supported` when Hydra has found its sources."""

    @staticmethod
    def scheme() -> str:
        """The scheme of its place on the search path."""
        return "mini"

    def available(self) -> bool:
        """It always is."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether this is one of the groups."""
        path = config_path.strip("/")
        return path in ("", _SWEEPERS) or (path == _LONG and bool(self._long())) or self._group(path) is not None

    def is_config(self, config_path: str) -> bool:
        """Whether a group has this choice."""
        path, _, name = config_path.strip("/").removesuffix(".yaml").rpartition("/")
        if not path:
            return name == "mini"
        if path == _SWEEPERS:
            return name == "study"
        group = self._group(path)
        # Only for a name that is not of this package what is installed is looked through.
        return group is not None and (name in _CHOICES[group] or (group == "apparatus" and name in registry.kinds()))

    def load_config(self, config_path: str) -> ConfigResult:
        """The options of a choice, with their defaults.

        Hydra refuses a key that a config does not have without naming those it has; these configs are open to it, and
        the launcher refuses.
        """
        path, _, name = config_path.strip("/").removesuffix(".yaml").rpartition("/")
        group = self._group(path)
        if path == _SWEEPERS:
            package, config = "hydra.sweeper", _open(_study())
        elif group is None:
            package, config = "_global_", self._root()
        else:
            package, config = PREFIX + group, _open(_values(group, name))
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header={"package": package})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The groups, or the choices of one."""
        path = config_path.strip("/")
        if path == "":
            groups = [group for group in GROUPS if self._group(group)] + ([_LONG] if self._long() else [])
            configs = [] if results_filter is ObjectType.GROUP else ["mini"]
            return sorted({*configs, *([] if results_filter is ObjectType.CONFIG else groups)})
        if path == _SWEEPERS:
            return [] if results_filter is ObjectType.GROUP else ["study"]
        if path == _LONG:
            return [] if results_filter is ObjectType.CONFIG else self._long()
        group = self._group(path)
        if group is None or results_filter is ObjectType.GROUP:
            return []
        return sorted(registry.kinds() if group == "apparatus" else _CHOICES[group])

    def _group(self, path: str) -> str | None:
        """The group of ours that is found under a name: the short one, unless that is the application's.

        An application without `mini` has none: all names are its own.
        """
        path = path.strip("/")
        if path.removeprefix(LONG_GROUPS) not in GROUPS or not self.ownership.includes_mini():
            return None
        name = path.removeprefix(LONG_GROUPS)
        return name if path.startswith(LONG_GROUPS) == self.ownership.is_applications(name) else None

    def _long(self) -> "builtins.list[str]":
        """The groups of ours whose short name is the application's."""
        return [group for group in GROUPS if self._group(LONG_GROUPS + group)]

    def _root(self) -> DictConfig:
        """The config `mini`: one line in an application's defaults list, and its jobs run wherever `apparatus` says."""
        groups = [
            {LONG_GROUPS + group if self.ownership.is_applications(group) else group: choice}
            for group, choice in _DEFAULTS.items()
        ]
        root: dict[str, Any] = {
            "defaults": [*groups, {"override /hydra/launcher": "apparatus"}, "_self_"],
            "hydra": {
                "mode": "MULTIRUN",  # Hydra calls a launcher in this mode only; a run without a sweep is one of one job
                "sweep": {"dir": "${mini.outputs:}/${mini.run_id:}", "subdir": "${hydra.job.num}"},
            },
        }
        if not self.ownership.says("hydra.help.footer"):
            root["hydra"]["help"] = {"footer": _FOOTER}
        return OmegaConf.create(root)


def _open(values: dict[str, Any]) -> DictConfig:
    return DictConfig(values, flags={"struct": False})


def _study() -> dict[str, Any]:
    from mini.studies.options import defaults

    return {"_target_": STUDY_SWEEPER, "_recursive_": False, **defaults()}


def _values(group: str, name: str) -> dict[str, Any]:
    if group == "apparatus":
        return {"kind": name, **options.defaults(registry.find(name).options)}
    if group == "gpu":
        return {**options.defaults(Gpu), "name": None if name == "none" else name.upper()}
    return options.defaults(Image)
