"""What Slurm says is understood, and input that no Slurm would take is refused before anything is submitted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mini.apparatus.slurm import checks, scheduler
from mini.apparatus.slurm.apparatus import SlurmApparatus
from mini.apparatus.slurm.fate import fate
from mini.apparatus.slurm.plugin import seconds_of
from mini.apparatus.slurm.scheduler import Found, Look, Queue
from mini.clusters.slurm import Slurm
from mini.errors import OptionError, UsageError
from mini.job import State

CLUSTER = checks.parse(
    "short*|1:00:00|8|64000|(null)|20\n"
    "gpu|2-00:00:00|32|256000|gpu:nvidia_a100-sxm4-80gb:4(S:0-1),gpu:v100:2|4\n"
    "old|infinite|4|1|gpu:2|1\n"
)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (30, "0-00:30:00"),
        ("90s", "0-00:01:30"),
        ("2h", "0-02:00:00"),
        ("1:30:00", "0-01:30:00"),
        ("2-12", "2-12:00:00"),
    ],
)
def test_a_time_is_written_in_any_usual_way(given, written):
    with SlurmApparatus("test", time=given) as made:
        assert made.options.time == written


def test_what_slurm_writes_as_a_time_is_read():
    assert [seconds_of(text) for text in ("30", "1:30", "1:00:00", "2-00:00:00", "infinite", "n/a")] == [
        *(1800, 90, 3600, 172800, None, None)
    ]


@pytest.mark.parametrize("given", ["soon", 0, -5, True, "1:2:3:4"])
def test_an_impossible_time_is_refused(given):
    with pytest.raises(OptionError, match=r"time=.* is not possible: it must be minutes, or a time such as"):
        SlurmApparatus("test", time=given)


@pytest.mark.parametrize(
    ("options", "gres"),
    [
        ({}, None),
        ({"gpu": "A100:2", "partition": "gpu"}, "gpu:nvidia_a100-sxm4-80gb:2"),
        ({"gpu": ("H100", "V100"), "partition": "gpu"}, "gpu:v100:1"),
        ({"gpu": "T4:2", "partition": "old"}, "gpu:2"),
        ({"gpu": "any:3", "partition": "gpu"}, "gpu:3"),
        ({"gres": "shard:2"}, "shard:2"),
        ({"time": "3000:00:00", "partition": "old", "mem": "900G"}, None),
    ],
)
def test_what_the_cluster_has_is_asked_for_by_its_names(options, gres):
    with SlurmApparatus("test", **options) as made:
        assert checks.check(made.options, CLUSTER) == gres


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"partition": "gpus"}, "partition=gpus: this cluster has none; did you mean 'gpu'"),
        ({"time": "2h"}, "time=0-02:00:00: jobs in short may take 0-01:00:00; ask for less"),
        ({"gpu": "A100"}, "gpu=A100: no node in short has GPUs"),
        (
            {"gpu": "A100:8", "partition": "gpu"},
            r"gpu=A100:8: no node in gpu has that many .*v100 \(up to 2 on a node\)",
        ),
        ({"cpus_per_task": 5, "tasks_per_node": 2}, "cpus_per_task: 10 cores on a node are asked for, .* most are 8"),
        ({"nodes": 21}, "nodes: 21 nodes are asked for, .* most are 20"),
        ({"mem": "65G"}, "mem=65G: no node in short has more than 64000M"),
    ],
)
def test_more_than_the_cluster_has_is_refused(options, says):
    with SlurmApparatus("test", **options) as made, pytest.raises(OptionError, match=says):
        checks.check(made.options, CLUSTER)


@pytest.mark.parametrize("flag", ["array", "output", "--chdir", "no_requeue"])
def test_a_flag_that_is_ours_is_refused_with_what_to_use(flag):
    with pytest.raises(OptionError, match=r"sbatch=.* is not possible: it must be without"):
        SlurmApparatus("test", sbatch={flag: 1})


def test_a_look_at_the_queue_is_understood():
    seen = scheduler.parse(
        "7_[3-5,9%2]|PENDING|(Resources)|\n7_0|RUNNING|None|node1\n7_1|OUT_OF_MEMORY|OutOfMemory|node2\n"
        "8_[0-99]|CANCELLED|None|\n",
        ["7", "8"],
    )
    assert seen.of("7_4") == Found("PENDING", "Resources")
    assert [seen.of(f"7_{i}") is None for i in (2, 6)] == [True, True]
    assert [found.is_alive for i in (0, 1, 9) if (found := seen.of(f"7_{i}"))] == [True, False, True]
    assert seen.of("8_42") == Found("CANCELLED", "None")
    assert (seen.is_alive(["7"]), seen.is_alive(["8"])) == (True, False)


def test_looks_at_the_queue_are_counted_by_time_and_not_by_jobs():
    now, asked = [0.0], []
    queue = Queue(lambda arrays: asked.append(now[0]) or Look(arrays=frozenset(arrays)), lambda: now[0])
    for array in range(50):
        queue.follow([str(array)])
    for tick in range(6000):
        now[0] = tick / 10
        if queue.due() == 0:
            queue.look()
        queue.look()
    assert asked[0] == pytest.approx(3.0, abs=0.2)
    assert 35 < len(asked) < 50, "of ten minutes, most at the longest pause"


@pytest.mark.parametrize(
    ("found", "output", "state", "kind"),
    [
        (Found("TIMEOUT"), "", State.TIMEOUT, "Timeout"),
        (Found("OUT_OF_MEMORY"), "", State.LOST, "OutOfMemory"),
        (Found("NODE_FAIL", node="n7"), "", State.LOST, "NodeFailure"),
        (Found("PREEMPTED"), "", State.LOST, "Preempted"),
        (Found("CANCELLED"), "", State.CANCELLED, "Cancelled"),
        (Found("FAILED", "NonZeroExitCode"), "no such module", State.LOST, "TaskLost"),
        (None, "", State.LOST, "TaskLost"),
        (None, "slurmstepd: error: *** JOB 3 ON n7 CANCELLED AT … DUE TO TIME LIMIT ***", State.TIMEOUT, "Timeout"),
        (None, "slurmstepd: error: Detected 1 oom_kill event in StepId=3.batch", State.LOST, "OutOfMemory"),
    ],
)
def test_ways_to_end_are_told_apart_without_accounting(found, output, state, kind):
    got, failure = fate(found, began=True, output=output, asked=False)
    assert (got, failure.type) == (state, kind)
    assert "n7" in failure.message or "n7" not in str(found)


def test_a_machine_without_slurm_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with SlurmApparatus("test") as made, pytest.raises(UsageError, match="there is no sbatch on the PATH"):
        made.run(abs, -1)


def test_the_cluster_itself_refuses_the_rest_before_anything_is_submitted(slurm):
    name = f"refused-{os.getpid()}"  # other tests use this cluster too
    for options, says in (
        ({"constraint": "nosuch"}, "Invalid feature"),
        ({"sbatch": {"nosuch": 3}}, "unrecognized option '--nosuch=3'"),
        ({"partition": "min"}, "did you mean 'main'"),
    ):
        with SlurmApparatus(name, **options) as made, pytest.raises(UsageError, match=says):
            made.run(abs, -1)
    queue = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%j"], capture_output=True, text=True, check=True
    )
    assert name not in queue.stdout


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="a folder of the node's own needs mounts")
def test_a_folder_that_nodes_have_not_is_named_with_the_node(monkeypatch, tmp_path):
    try:
        cluster = Slurm(private=[tmp_path])
    except UsageError as error:
        pytest.skip(str(error))
    with cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        made = SlurmApparatus("test")
        with (
            made,
            pytest.raises(UsageError, match=rf"the folder {tmp_path}/outputs is not on node1: nodes must share it"),
        ):
            made.run(abs, -1)
        assert not Path(".mini").exists()


def test_two_clusters_at_a_time_do_not_meet(slurm):
    with Slurm() as other:
        assert other.environment != slurm.environment
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node"], env={**os.environ, **other.environment}, capture_output=True, text=True
        )
        assert "node2" not in done.stdout
        assert "node1" in done.stdout
