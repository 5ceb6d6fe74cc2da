"""Hydra's singletons in a worker: what a job of the basic launcher finds there, it finds here too.

Most are made again when they are first asked for: a worker that does not compose must not pay for finding all plugins.
"""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mini import project
from mini.launcher import supported
from mini.launcher.supported import ConfigLoaderImpl, Hydra
from mini.worker import main_module

_FROM_PLUGINS = ("hydra.", "hydra_plugins.")  # they store their configs themselves, when they are imported
_FILE = "file://"
_IN_PROJECT = "\0"  # between a folder's path and that in its project: in no path

_is_client = False


class _LazyHydra(Hydra):
    """A Hydra that finds its configs and plugins when something is composed."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        self._search_path = search_path

    @functools.cached_property
    def config_loader(self) -> ConfigLoaderImpl:  # type: ignore[override]
        supported.load_plugins()
        return ConfigLoaderImpl(config_search_path=self._search_path)


@dataclass(frozen=True)
class Singletons:
    """What a worker needs to have Hydra's singletons as the client has them.

    Args:
        search_path: Where configs are found.
        stored: The configs that the application has stored, each pickled with its place in the store.
    """

    search_path: ConfigSearchPath | None
    stored: Mapping[tuple[str, ...], bytes] = field(default_factory=dict, repr=False)

    def restore(self) -> None:
        """Let this process have them, whatever the job before did with them. The client has them already."""
        hydra = GlobalHydra.instance()
        if _is_client or self.search_path is None or isinstance(hydra.hydra, _LazyHydra):
            return
        hydra.clear()
        store = ConfigStore.instance()
        for (*groups, name), data in self.stored.items():
            folder = store.repo
            for group in groups:
                folder = folder.setdefault(group, {})
            folder[name] = pickle.loads(data)
        hydra.initialize(_LazyHydra(_found_here(self.search_path)))


def capture() -> Singletons:
    """This process's singletons."""
    global _is_client
    _is_client = True
    hydra = GlobalHydra.instance().hydra
    if hydra is None:
        return Singletons(None)
    stored = {}
    for place, node in _nodes(ConfigStore.instance().repo):
        kind = OmegaConf.get_type(node.node)
        if node.provider != "hydra" and not f"{getattr(kind, '__module__', '')}.".startswith(_FROM_PLUGINS):
            stored[place] = main_module.dumps(node)
    return Singletons(_movable(hydra.config_loader.get_search_path()), stored)


def _movable(search_path: ConfigSearchPath) -> ConfigSearchPath:
    """A search path whose folders in the project are found where the project is."""
    moved, root = copy.deepcopy(search_path), project.root()
    for element in moved.get_path():
        folder = Path(element.path.removeprefix(_FILE)).absolute()
        if element.path.startswith(_FILE) and folder.is_relative_to(root):
            element.path = f"{_FILE}{folder}{_IN_PROJECT}{folder.relative_to(root)}"
    return moved


def _found_here(search_path: ConfigSearchPath) -> ConfigSearchPath:
    found = copy.deepcopy(search_path)
    for element in found.get_path():
        folder, _, inner = element.path.removeprefix(_FILE).partition(_IN_PROJECT)
        if inner:
            element.path = _FILE + (folder if Path(folder).is_dir() else str(Path(inner).absolute()))
    return found


def _nodes(folder: Mapping[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], ConfigNode]]:
    for name, entry in folder.items():
        if isinstance(entry, ConfigNode):
            yield (*above, name), entry
        else:
            yield from _nodes(entry, *above, name)
