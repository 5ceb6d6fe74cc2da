"""The config groups `apparatus`, `gpu` and `image`, made from the options dataclasses.

Hydra imports this module at every start: an engine is loaded when its config is asked for.
"""

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

from mini.apparatus import options, registry
from mini.apparatus.groups import OFFERED, Gpu, Image


class EngineConfigSource(ConfigSource):
    """Configs such as `apparatus/modal` and `gpu/a100`; its place on the search path is `mini://`."""

    @staticmethod
    def scheme() -> str:
        """The scheme of its place on the search path."""
        return "mini"

    def available(self) -> bool:
        """It always is."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether this is one of the groups."""
        return config_path.strip("/") in ("", *_GROUPS)

    def is_config(self, config_path: str) -> bool:
        """Whether a group has this choice."""
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        return group in _GROUPS and (name in _FIXED.get(group, ()) or (group == "apparatus" and name in _engines(name)))

    def load_config(self, config_path: str) -> ConfigResult:
        """The options of a choice, with their defaults.

        Hydra refuses a key that a config does not have without naming those it has; these configs are open to it, and
        the launcher refuses.
        """
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=DictConfig(_values(group, name), flags={"struct": False}),
            header={"package": None},
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The groups, or the choices of one."""
        group = config_path.strip("/")
        if group == "":
            return [] if results_filter is ObjectType.CONFIG else sorted(_GROUPS)
        if group not in _GROUPS or results_filter is ObjectType.GROUP:
            return []
        return sorted(registry.kinds() if group == "apparatus" else _FIXED[group])


_GROUPS = ("apparatus", "gpu", "image")
_FIXED = {"gpu": ("none", *OFFERED), "image": ("auto",), "apparatus": registry.OWN}


def _engines(name: str) -> list[str]:
    """The engines, if one is asked for that is not of this package: only then what is installed is looked through."""
    return registry.kinds() if name else []


def _values(group: str, name: str) -> dict[str, object]:
    if group == "apparatus":
        return {"kind": name, **options.defaults(registry.find(name).options)}
    if group == "gpu":
        return {**options.defaults(Gpu), "name": None if name == "none" else name.upper()}
    return options.defaults(Image)
