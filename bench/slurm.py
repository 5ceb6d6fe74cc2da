"""Trivial jobs on a real Slurm through this launcher and through submitit's: seconds, and requests to the scheduler.

`SLURM_JOBS=200` chooses how many. Each launcher gets a throw-away Slurm of its own on this machine, as many cores as
it has. A request is a command of Slurm's that either starts; scripts on the PATH count them. What submitit
asks of `sacct` counts too, though without accounting it answers nothing.
"""

import collections
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mini.clusters.slurm import Slurm

JOBS = int(os.environ.get("SLURM_JOBS", "200"))
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "srun")
LAUNCHERS = {
    "mini": ["hydra/launcher=apparatus", "hydra.launcher.apparatus={kind: slurm}"],
    "hydra-submitit-launcher": [
        *("hydra/launcher=submitit_slurm", "hydra.launcher.partition=main", "hydra.launcher.timeout_min=10"),
        *("hydra.launcher.mem_gb=null", f"hydra.launcher.array_parallelism={JOBS}", "hydra.launcher.cpus_per_task=1"),
    ],
}
PROGRAM = """import hydra
@hydra.main(version_base="1.3", config_path=None)
def main(config):
    return config.x
if __name__ == "__main__":
    main()
"""


def main():
    rows = {name: run(overrides) for name, overrides in LAUNCHERS.items()}
    ours = rows["mini"]["wall"]
    print(f"{JOBS} trivial jobs on Slurm, {os.cpu_count()} cores")
    for name, row in rows.items():
        asked = ", ".join(f"{count} {command}" for command, count in sorted(row["requests"].items()))
        print(f"  {name:24} {row['wall']:7.1f} s  {row['wall'] / ours:5.1f}x  requests: {asked}")
    return [{"launcher": name, "jobs": JOBS, **row, "ratio": row["wall"] / ours} for name, row in rows.items()]


def run(overrides):
    """Wall seconds, and how often each of Slurm's commands was started."""
    with tempfile.TemporaryDirectory() as name, Slurm(cpus=os.cpu_count() or 1) as cluster:
        folder = Path(name)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "bin").mkdir()
        for command in COMMANDS:
            real = shutil.which(command)
            if real is not None:
                wrapper = folder / "bin" / command
                wrapper.write_text(f'#!/bin/sh\necho {command} >>"{folder}/requests"\nexec {real} "$@"\n')
                wrapper.chmod(0o755)
        environment = {**os.environ, **cluster.environment, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        command = [sys.executable, "program.py", "-m", f"+x=range(0,{JOBS})", *overrides, "hydra.sweep.dir=out"]
        began = time.perf_counter()
        with (folder / "output").open("wb") as output:
            code = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output).returncode
        wall = time.perf_counter() - began
        assert code == 0, (folder / "output").read_text(errors="replace")[-3000:]
        written = len(list((folder / "out").glob("*/.hydra/config.yaml")))
        assert written == JOBS, f"{overrides} left {written} jobs"
        return {"wall": wall, "requests": collections.Counter((folder / "requests").read_text().split())}


if __name__ == "__main__":
    main()
