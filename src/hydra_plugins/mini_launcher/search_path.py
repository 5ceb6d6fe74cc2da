"""Puts the packaged config groups on the search path of every Hydra application."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from mini.launcher import command, supported
from mini.runs.run_id import run_id


class MiniSearchPath(SearchPathPlugin):
    """Adds `mini.conf`, behind the application's own configs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the package's configs."""
        command.install()
        search_path.append("mini", "pkg://mini.conf")
        if not OmegaConf.has_resolver("mini.run_id"):
            # Cached in the config, so that a worker resolves the same.
            supported.register_resolver("mini.run_id", run_id, use_cache=True)


# Hydra refuses an unknown key without naming the valid ones. These groups are open to it, and the launcher refuses.
for _group in ("apparatus", "gpu", "image"):
    ConfigStore.instance().store(
        group=_group, name="_open", node=DictConfig({}, flags={"struct": False}), provider="mini"
    )
