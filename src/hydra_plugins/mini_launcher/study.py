"""The sweeper of studies as Hydra sees it. Hydra imports this at every start, and what it needs later."""

from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from mini.launcher.study import StudyCommand

from mini.studies.options import defaults

_TARGET = "hydra_plugins.mini_launcher.study.StudySweeper"


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


_CONFIG: dict[str, Any] = {"_target_": _TARGET, "_recursive_": False, **defaults()}

# Open: a misspelt key is answered with the near misses, and the options of hydra-optuna-sweeper are understood.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="study",
    node=DictConfig(_CONFIG, flags={"struct": False}),
    provider="mini_launcher",
)
