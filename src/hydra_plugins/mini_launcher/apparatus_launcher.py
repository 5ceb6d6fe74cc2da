"""The launcher as Hydra sees it. Hydra imports this module at every start, so what it needs is imported when it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.mini_launcher._sweep import Sweep


@dataclass
class ApparatusLauncherConf:
    """`hydra/launcher=apparatus`.

    Args:
        apparatus: Where the jobs run of an application that has no group `apparatus` in its config.
    """

    _target_: str = "hydra_plugins.mini_launcher.apparatus_launcher.ApparatusLauncher"
    apparatus: str = "local"


ConfigStore.instance().store(
    group="hydra/launcher", name="apparatus", node=ApparatusLauncherConf, provider="mini_launcher"
)


class ApparatusLauncher(Launcher):
    """Runs the jobs of a multirun wherever their config says."""

    def __init__(self, apparatus: str = "local") -> None:
        self._default = apparatus
        self._sweep: Sweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember the application, and refuse a run folder that is in use, before the sweeper writes to it."""
        from hydra_plugins.mini_launcher._sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self._default)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch of jobs to its end."""
        assert self._sweep is not None, "Hydra calls setup before launch"
        return self._sweep.launch(job_overrides, initial_job_idx)
