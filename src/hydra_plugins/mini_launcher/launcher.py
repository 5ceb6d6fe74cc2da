"""The launcher as Hydra sees it. Hydra imports this module at every start: what it needs is imported when it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from mini.launcher.sweep import Sweep


class IfExists(Enum):
    """What is done with a run folder that exists already."""

    refuse = "refuse"
    set_aside = "set_aside"


class Reuse(Enum):
    """Which results `resume` takes over, by where they were made."""

    same_place = "same_place"
    anywhere = "anywhere"


class Stale(Enum):
    """What is done with results that other code made."""

    rerun = "rerun"
    warn = "warn"
    keep = "keep"


@dataclass
class ApparatusLauncherConf:
    """`hydra/launcher=apparatus`.

    Args:
        apparatus: Where the jobs run: the group `apparatus`, or only the name of an engine.
        gpu: The group `gpu`.
        image: The group `image`.
        results: How the table is shown.
        if_exists: What is done with a run folder that exists already: `refuse` it, or `set_aside`: rename it.
        resume: A run, or `latest`; jobs that are done there, with the same config, are taken over and not run again.
        reuse: With `resume`: take over only results that were made in the `same_place`, which is the engine and the
            GPU, or `anywhere`; so a sweep that was begun here can be finished on Modal.
        stale: With `resume`: what is done with results of other code. Code is the task's module and what it imports of
            the project, `uv.lock`, and `data`. `rerun`: the jobs run again, and it is said which file changed; `warn`:
            they are taken over, and it is said; `keep`: they are taken over.
        data: Paths of files and folders that jobs read; a change of them is a change of the code.
        explain: With `resume`: run nothing, and say why this job would run again, or not (`mini explain`).
        only: With `resume`: of what is not done, run this job alone.
        move: With `resume`: what is not done runs on this engine instead, with the options that it has by default or in
            the config, and what is done anywhere is taken over (`mini retry --apparatus`).
        max_failures: Stop when so many jobs have failed.
        budget: Stop after this time, such as `90m`, `2h` or `1d`; a number is seconds.
        detach: Begin the run and leave it: it goes on when this command is over.
        after: A run that this one waits for; `${mini.best:RUN,accuracy,optimizer.lr}` is what its best job was given.
        objective: What of a returned mapping the sweeper gets: a key, or a list of keys.
        notify: Who is told of the end of the run and of its first failure: `desktop`, the address of a webhook, or a
            mapping with `desktop`, `webhook`, `command` and `events`.
        ask_above: Ask on a terminal before a sweep starts that may cost more than so many dollars.
    """

    _target_: str = "hydra_plugins.mini_launcher.launcher.ApparatusLauncher"
    apparatus: Any = "local"
    gpu: Any = None
    image: Any = None
    results: Any = None
    if_exists: IfExists = IfExists.refuse
    resume: str | None = None
    reuse: Reuse = Reuse.same_place
    stale: Stale = Stale.rerun
    data: Any = None
    explain: int | None = None
    only: int | None = None
    move: str | None = None
    max_failures: int | None = None
    budget: Any = None
    detach: bool = False
    after: str | None = None
    objective: Any = None
    notify: Any = None
    ask_above: Any = None


ConfigStore.instance().store(
    group="hydra/launcher", name="apparatus", node=ApparatusLauncherConf, provider="mini_launcher"
)


class ApparatusLauncher(Launcher):
    """Runs the jobs of a multirun wherever their config says."""

    def __init__(
        self,
        apparatus: Any = "local",
        gpu: Any = None,
        image: Any = None,
        results: Any = None,
        if_exists: IfExists = IfExists.refuse,
        resume: str | None = None,
        reuse: Reuse = Reuse.same_place,
        stale: Stale = Stale.rerun,
        data: Any = None,
        explain: int | None = None,
        only: int | None = None,
        move: str | None = None,
        max_failures: int | None = None,
        budget: Any = None,
        detach: bool = False,
        after: str | None = None,
        objective: Any = None,
        notify: Any = None,
        ask_above: Any = None,
    ) -> None:
        self._if_exists = if_exists
        self._more = {"resume": resume, "explain": explain, "max_failures": max_failures, "budget": budget}
        self._more |= {"detach": detach, "objective": objective, "notify": notify, "ask_above": ask_above}
        self._policy: dict[str, Any] = {
            "anywhere": reuse.name == Reuse.anywhere.name or move is not None,
            "stale": stale.name,
            "only": only,
        }
        self._sweep: Sweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember the application, and refuse a run folder that is in use, before the sweeper writes to it."""
        from mini.launcher.resume import Policy
        from mini.launcher.sweep import Sweep

        # By name: Hydra may have imported this module twice, and then there are two such enums.
        set_aside = self._if_exists.name == IfExists.set_aside.name
        policy = Policy(**self._policy)
        self._sweep = Sweep(hydra_context, task_function, config, set_aside=set_aside, policy=policy, **self._more)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch of jobs to its end."""
        assert self._sweep is not None, "Hydra calls setup before launch"
        return self._sweep.launch(job_overrides, initial_job_idx)
