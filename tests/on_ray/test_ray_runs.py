"""Sweeps on a real Ray cluster: what is lost with a process or a node, what cannot be had, several engines at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from mini.apparatus.ray.apparatus import RayApparatus
from mini.errors import CloudError, UsageError
from mini.job import JobError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

APPLICATION = """
import os, time
import hydra
from mini import job_dir, progress

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config):
    progress(1, 1, loss=config.x / 2)
    (job_dir() / "file.txt").write_text(str(config.x))
    if config.x == 3:
        os._exit(7)
    return {"twice": 2 * config.x}

if __name__ == "__main__":
    main()
"""


def test_a_sweep_over_two_engines_is_one_run(ray_cluster):
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("defaults: [mini, _self_]\nx: 0\n")
    Path("train.py").write_text(APPLICATION)
    words = ["-m", "x=1,2,3", "apparatus=local,ray", "hydra.sweep.dir=outputs/run"]
    environment = os.environ | {"RAY_ADDRESS": ray_cluster.address}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py", *words, "++hydra.launcher.apparatus.retries=0"],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    table = pl.read_parquet("outputs/run/results.parquet").sort("overrides.x", "overrides.apparatus")
    assert table["overrides.apparatus"].to_list() == ["local", "ray"] * 3
    assert table["twice"].to_list() == [2, 2, 4, 4, None, None]
    assert table["state"].to_list() == ["done"] * 4 + ["lost"] * 2
    assert "exited with code 7" in done.stdout
    assert {path.read_text() for path in Path("outputs/run").glob("*/file.txt")} == {"1", "2", "3"}


def test_a_job_that_loses_rays_process_again_and_again_is_lost_alone(ray_cluster, tmp_path):
    def job(number):
        import time

        (tmp_path / f"try-{number}").mkdir(exist_ok=True)
        part = tmp_path / f"part-{number}"
        part.write_text(str(os.getppid()))
        part.rename(tmp_path / f"try-{number}" / str(os.getpid()))
        while number == 0:
            time.sleep(0.1)
        return number

    with RayApparatus("test", address=ray_cluster.address, workers=1) as apparatus:
        results = apparatus.map(job, range(2), return_exceptions=True)
        ended = set()
        while len(ended) < 3:
            for begun in set((tmp_path / "try-0").glob("*")) - ended:
                warden = Path(f"/proc/{begun.read_text()}/stat").read_text()
                os.kill(int(warden.rpartition(")")[2].split()[1]), signal.SIGKILL)
                ended.add(begun)
            time.sleep(0.1)
        lost, other = results
    assert isinstance(lost, JobError)
    assert "died, or cannot be reached" in str(lost)
    assert other == 1
    assert len(list((tmp_path / "try-0").iterdir())) == 3


def test_a_job_whose_node_is_lost_runs_again(ray_cluster, tmp_path):
    lent = {"num_cpus": 1, "resources": {"lent": 1}, "object_store_memory": 100 * 2**20}
    node = ray_cluster.add_node(**lent)

    def job():
        import time

        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        while len((tmp_path / "tries").read_text()) < 2:
            time.sleep(0.1)
        return "again"

    values = []
    with RayApparatus("test", address=ray_cluster.address, resources={"lent": 1}) as apparatus:
        thread = threading.Thread(target=lambda: values.append(apparatus.run(job)))
        thread.start()
        while not (tmp_path / "tries").exists():
            time.sleep(0.1)
        ray_cluster.remove_node(node, allow_graceful=False)
        ray_cluster.add_node(**lent)
        thread.join()
    assert values == ["again"]
    assert (tmp_path / "tries").read_text() == "xx"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gpu": "H100"}, "has 1 CPU, 1 GPU, 0.001 H100; there is .*1 A100"),
        ({"num_cpus": 64}, "no node of the Ray cluster at .* has 64 CPU"),
        ({"resources": {"TPU": 1}}, "1 TPU"),
    ],
)
def test_what_no_node_has_is_refused_before_anything_starts(ray_cluster, options, says):
    with (
        RayApparatus("test", address=ray_cluster.address, **options) as apparatus,
        pytest.raises(UsageError, match=says),
    ):
        apparatus.run(abs, -1)


def test_a_job_gets_the_gpu_it_asks_for(ray_cluster):
    def job():
        return os.environ["CUDA_VISIBLE_DEVICES"]

    with RayApparatus("test", address=ray_cluster.address, gpu="A100") as apparatus:
        assert apparatus.run(job) == "0"


def test_a_cluster_that_is_not_there_is_told_so():
    code = (
        "from mini.apparatus.ray.apparatus import RayApparatus\n"
        "RayApparatus('test', address='127.0.0.1:1').run(abs, -1)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=250)
    assert CloudError.__name__ in done.stderr, done.stderr
    assert "127.0.0.1:1 cannot be reached" in done.stderr
    assert "ray start --head" in done.stderr
