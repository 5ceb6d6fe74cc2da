"""What a command without a sweep does: one job, whatever sweeper the config has. Hydra imports this at every start."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SingleSweeper(Sweeper):
    """Runs one job through the launcher, and calls callbacks as for a single run."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the job.

        Args:
            arguments: The overrides of the task's config.

        Raises:
            Exception: Whatever the task raised.
        """
        assert self.config is not None
        assert self.hydra_context is not None
        callbacks, name = self.hydra_context.callbacks, self.config.hydra.job.config_name
        callbacks.on_run_start(config=self.config, config_name=name)
        returned: JobReturn = self._launcher.launch([arguments], 0)[0]
        callbacks.on_run_end(config=self.config, config_name=name, job_return=returned)
        if returned.status is not JobStatus.COMPLETED:
            _ = returned.return_value  # raises what the task raised
        return returned
