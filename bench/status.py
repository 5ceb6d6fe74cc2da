"""`mini status` of runs on disk, and of a start: `mini --help`."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mini.job import Job, Outcome, State
from mini.runs.folder import RunFolder
from mini.runs.records import write_record

SIZES = (10, 1000, 10_000)
ROUNDS = 7


def main():
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "pyproject.toml").write_text('[project]\nname = "bench"\n')
        for size in SIZES:
            folder = RunFolder(root / "outputs" / f"run-{size}")
            folder.begin({"began": 0.0, "apparatus": ["local"]})
            jobs = [Job(i, abs, folder=str(folder.path / str(i)), row={"overrides.x": str(i)}) for i in range(size)]
            folder.add_jobs(jobs)
            for job in jobs[: size * 9 // 10]:
                write_record(Outcome(job.index, State.DONE, pickled=b"N.", folder=job.folder), {"metrics.loss": 0.5})
            figures[f"status of {size} jobs"] = seconds(root, "status", f"run-{size}")
        figures["--help"] = seconds(root, "--help")
    for what, value in figures.items():
        print(f"  mini {what:24} {value:.3f} s")
    return figures


def seconds(root, *arguments):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mini.cli", *arguments], cwd=root, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)
