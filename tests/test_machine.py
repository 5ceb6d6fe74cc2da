"""Cores: what affinity and control groups leave, on a file system of the test's own."""

import os
import subprocess
import sys

import pytest

from mini.machine import cores, quotas


@pytest.fixture
def machine(tmp_path):
    """Writes files below a file system of its own."""

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        return tmp_path

    return write


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, []),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "max 100000"}, []),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "250000 100000"}, [2.5]),
        # The group's own quota, and that of one above it.
        (
            {
                "proc/self/cgroup": "0::/user.slice/job",
                f"{V2}/user.slice/job/cpu.max": "400000 100000",
                f"{V2}/user.slice/cpu.max": "100000 50000",
                f"{V2}/cpu.max": "max 100000",
            },
            [4.0, 2.0],
        ),
        # A container that is told its group's name outside, and sees the group itself as the top.
        ({"proc/self/cgroup": "0::/docker/abc", f"{V2}/cpu.max": "150000 100000"}, [1.5]),
        ({"proc/self/cgroup": "0::/../../other", f"{V2}/cpu.max": "300000 100000"}, [3.0]),
        # Version 1, beside a version 2 without controllers.
        (
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/",
                f"{V1}/a/b/cpu.cfs_quota_us": "-1",
                f"{V1}/a/b/cpu.cfs_period_us": "100000",
                f"{V1}/a/cpu.cfs_quota_us": "50000",
                f"{V1}/a/cpu.cfs_period_us": "100000",
            },
            [0.5],
        ),
        (
            {
                "proc/self/cgroup": "2:cpuacct:/x\n1:cpu:/x",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "700000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            [7.0],
        ),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "damaged"}, []),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/unified/cpu.max": "100000 100000"}, [1.0]),
    ],
)
def test_quotas(machine, files, found):
    assert list(quotas(machine(files))) == found


def test_a_quota_of_less_than_a_core_is_one(machine):
    assert cores(machine({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "10000 100000"})) == 1


def test_a_quota_above_the_affinity_changes_nothing(machine, tmp_path):
    assert cores(machine({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "99900000 100000"})) == cores(tmp_path / "no")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_affinity_counts():
    program = (
        "import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        "from mini.machine import cores; print(cores())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "1\n"
