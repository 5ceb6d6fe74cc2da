"""A Hydra callback that sends notices, whatever the launcher: `mini.launcher.callback.Notify`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mini import notify
from mini.runs import status
from mini.runs.folder import RunFolder

_MARK = ".notified"


class Notify(Callback):
    """Tells of the end of a run or a sweep, and of its first failed job.

    Before 1.4 Hydra calls nobody at the end of a sweep whose sweeper raised, as Hydra's own does when a job has failed:
    then the failure is all that is told.

    Args:
        how: The fields of `mini.notify.Notify`: `desktop`, `webhook`, `command`, `events`.

    Raises:
        OptionError: A field is unknown, or its value impossible.
    """

    def __init__(self, **how: Any) -> None:
        self._notify = notify.parse(OmegaConf.create(how))
        self._began = time.time()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the failures of an earlier try in the same folder."""
        (Path(str(config.hydra.sweep.dir)) / _MARK).unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Tell of the first failure of all the jobs of the sweep, whichever process it is in."""
        if job_return.status is not JobStatus.FAILED:
            return
        folder = _folder(config)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(folder / _MARK, os.O_CREAT | os.O_EXCL, 0o644))
            number = OmegaConf.select(config, "hydra.job.num")
            which = f"job {number} of " if isinstance(number, int) else ""
            self._tell("failure", folder, f"{which}{folder.name} failed", number if isinstance(number, int) else None)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell of the end of a single run."""
        self._end(_folder(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell of the end of a sweep."""
        self._end(Path(str(config.hydra.sweep.dir)))

    def _end(self, folder: Path) -> None:
        (folder / _MARK).unlink(missing_ok=True)
        self._tell("end", folder, f"{folder.name} is over")

    def _tell(self, event: str, folder: Path, text: str, job: int | None = None) -> None:
        if self._notify is None or event not in self._notify.events:
            return
        run = RunFolder(folder)
        counts = status.read_status(run).counts if run.has_run() else {}
        if counts:
            text = f"{text}: " + ", ".join(f"{count} {state}" for state, count in counts.items())
        seconds = round(time.time() - self._began, 3)
        notice = notify.Notice(event, folder.name, text, dict(counts), str(folder.absolute()), seconds, job)
        for problem in notify.send(self._notify, notice):
            print(f"warning: {problem}", file=sys.stderr)


def _folder(config: DictConfig) -> Path:
    is_sweep = str(OmegaConf.select(config, "hydra.mode")).endswith("MULTIRUN")
    return Path(str(config.hydra.sweep.dir if is_sweep else config.hydra.run.dir))
