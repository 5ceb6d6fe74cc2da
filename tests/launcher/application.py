"""A foreign Hydra application, for the tests of what a job sees and what a command says."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

OmegaConf.register_new_resolver("thrice", lambda x: 3 * int(x), replace=True)


class Recorder(Callback):
    """Writes down what it is told."""

    def __init__(self, path: str) -> None:
        self.path = path

    def _note(self, line: str) -> None:
        with Path(self.path).open("a") as file:
            file.write(line + "\n")

    def on_job_start(self, config: DictConfig, *, task_function: Any, **kwargs: Any) -> None:
        self._note(f"start {config.x}")

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self._note(f"end {config.x} {job_return.status.name}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._note("over")


@hydra.main(version_base="1.3", config_path=str(Path(__file__).parent / "conf"), config_name="config")
def main(config: DictConfig) -> Any:
    logging.getLogger("application").info("x is %s", config.x)
    hydra_config = HydraConfig.get()
    if "leave" in config:
        Path(config.leave).write_text("left")
    match config.do:
        case "raise":
            if config.x == 1:
                raise ValueError(f"x is {config.x}")
        case "exit":
            sys.exit(5)
        case "interrupt":
            import time

            (Path(hydra_config.sweep.dir).absolute() / f"began-{config.x}").touch()
            if config.x > 1:
                time.sleep(60)
        case "diverge":
            return {"loss": float("nan") if config.x == 1 else config.x}
        case "square":
            return (config.x - 3) ** 2
    return {
        "num": hydra_config.job.num,
        "id": hydra_config.job.id,
        "job_name": hydra_config.job.name,
        "output_dir": hydra_config.runtime.output_dir,
        "cwd": str(Path.cwd()),
        "env": os.environ.get("SET_FOR_JOB"),
        "thrice": config.thrice,
        "via_hydra": config.via_hydra,
        "mode": str(hydra_config.mode),
        "overrides": ",".join(hydra_config.overrides.task),
    }


if __name__ == "__main__":
    main()
