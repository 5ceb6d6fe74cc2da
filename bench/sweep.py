"""A sweep of trivial jobs through each launcher, over the same application of ten config files, one after the other.

`SWEEP_JOBS=100,1000,10000` chooses how many jobs. The others run up to 1,000, as 10,000 would take them an hour, and
submitit up to 100.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = [int(size) for size in os.environ.get("SWEEP_JOBS", "100,1000,10000").split(",")]
UP_TO = {"joblib, 2 processes": 1000, "basic": 1000, "submitit": 100}
OURS = {
    "mini, 2 workers": ["hydra/launcher=apparatus", "hydra.launcher.apparatus={kind: local, workers: 2}"],
    "mini, this process": ["hydra/launcher=apparatus", "hydra.launcher.apparatus=debug"],
}
PEERS = {
    "joblib, 2 processes": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "basic": ["hydra/launcher=basic"],
    "submitit": ["hydra/launcher=submitit_local"],
}
PROGRAM = """import hydra
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    return config.x
if __name__ == "__main__":
    main()
"""


def main():
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_application(folder)
        for size in SIZES:
            print(f"{size} trivial jobs (half of them with another model)")
            rows = {
                launcher: run(folder, size, overrides)
                for launcher, overrides in {**OURS, **PEERS}.items()
                if size <= UP_TO.get(launcher, size)
            }
            ours = rows["mini, 2 workers"]["wall"]
            for launcher, row in rows.items():
                print(
                    f"  {launcher:20} {row['wall']:7.1f} s  cpu {row['cpu']:6.1f} s  peak {row['peak_mb']:5.0f} MB  "
                    f"{1000 * row['wall'] / size:6.1f} ms/job  {row['wall'] / ours:5.1f}x"
                )
                figures.append({"jobs": size, "launcher": launcher, **row, "ratio": row["wall"] / ours})
    return figures


def run(folder, size, overrides):
    """Wall and cpu seconds, and the peak memory of the largest process."""
    command = [sys.executable, "program.py", "-m", f"x=range(0,{size // 2})", "model=a,b", *overrides]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "hydra.sweep.dir=out"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, overrides
    written = len(list((folder / "out").glob("*/.hydra/config.yaml")))
    assert written == size, f"{overrides} left {written} jobs"
    subprocess.run(["rm", "-rf", folder / "out"], check=True)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def write_application(folder):
    for group, options in {"model": "abc", "optimizer": "abc", "data": "abc"}.items():
        (folder / "conf" / group).mkdir(parents=True)
        for option in options:
            (folder / "conf" / group / f"{option}.yaml").write_text(f"name: {option}\nlayers: [1, 2]\nrate: 0.1\n")
    (folder / "conf" / "config.yaml").write_text(
        "defaults: [model: a, optimizer: a, data: a, _self_]\nx: 0\nseed: 1\nrate: ${optimizer.rate}\n"
    )
    (folder / "program.py").write_text(PROGRAM)


if __name__ == "__main__":
    main()
