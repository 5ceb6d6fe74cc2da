"""The sweeper of studies as Hydra sees it. Hydra imports this at every start, and what it needs later."""

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from mini.launcher.study import StudyCommand


class StudySweeper(Sweeper):
    """Chooses trials by what came of the earlier ones. Its options are checked when the command is set up."""

    def __init__(self, **options: Any) -> None:
        self._command: StudyCommand | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the options and the run folder."""
        from mini.launcher.study import StudyCommand

        self.config, self.hydra_context = config, hydra_context
        self._command = StudyCommand(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study.

        Args:
            arguments: The overrides of the task's config.
        """
        assert self._command is not None, "Hydra calls setup before sweep"
        self._command.run(arguments)
