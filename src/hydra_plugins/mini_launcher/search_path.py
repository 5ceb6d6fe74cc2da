"""Puts the packaged config groups on the search path of every Hydra application."""

import os
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from hydra_plugins.mini_launcher.configs import MiniConfigSource
from mini import project
from mini.launcher import command, supported
from mini.runs.run_id import run_id


class MiniSearchPath(SearchPathPlugin):
    """Adds `mini.conf`, behind the application's own configs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the package's configs."""
        command.install()
        supported.install_short_forms(MiniConfigSource)
        search_path.append("mini", "mini://")
        if not OmegaConf.has_resolver("mini.run_id"):
            # Cached in the config, so that a worker resolves the same.
            supported.register_resolver("mini.run_id", run_id, use_cache=True)
            supported.register_resolver("mini.outputs", _outputs, use_cache=True)
            supported.register_resolver("mini.best", _best, use_cache=True)


def _outputs() -> str:
    """Where the project's runs are, from here."""
    return os.path.relpath(project.outputs())


def _best(run: str, metric: str, column: str) -> Any:
    """What the best job of a run was given."""
    from mini.launcher import stages  # imports more than a command needs that has no stages

    return stages.value_of_best(str(run), str(metric), str(column))
