"""Writes down what a job got and gave; on the path of each application, as a callback that the command adds."""

import json
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import OmegaConf


def _note(text):
    with Path("commands.txt").open("a") as file:
        file.write(text)


class Witness(Callback):
    """Hydra calls it in the process of the job."""

    def on_job_end(self, config, job_return, **kwargs):
        seen = {
            "config": OmegaConf.to_yaml(job_return.cfg),
            "type": OmegaConf.get_type(job_return.cfg).__qualname__,
            "flags": [OmegaConf.is_struct(job_return.cfg), OmegaConf.is_readonly(job_return.cfg)],
            "overrides": list(job_return.overrides),
            "status": job_return.status.name,
            "returned": repr(job_return._return_value),
        }
        Path(config.hydra.runtime.output_dir, "witness.json").write_text(json.dumps(seen))

    def on_run_start(self, config, **kwargs):
        _note("run_start ")

    def on_run_end(self, config, job_return, **kwargs):
        _note(f"run_end {job_return.status.name} ")

    def on_multirun_start(self, config, **kwargs):
        _note("multirun_start ")

    def on_multirun_end(self, config, **kwargs):
        _note("multirun_end ")
