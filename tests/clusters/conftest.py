"""Clusters for the tests: real daemons, one cluster for the session, on ports and in a folder of its own."""

import os
import subprocess
import time

import pytest

from mini.clusters.slurm import Slurm
from mini.errors import UsageError


@pytest.fixture(scope="session")
def slurm_cluster():
    """A Slurm of two nodes of two cores; skips where it is not installed."""
    try:
        cluster = Slurm(nodes=2, cpus=2)
    except UsageError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster, monkeypatch):
    """The commands of Slurm find that cluster."""
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm_cluster
    empty(dict(os.environ))


def empty(environment):
    """Let nothing that a test left keep the next one from a node."""
    subprocess.run(["scancel", "--full", "--partition", "main"], env=environment, timeout=60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        queue = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True, timeout=60)
        if not queue.stdout.strip():
            return
        subprocess.run(["scancel", "--signal=KILL", "--full", "--partition", "main"], env=environment, timeout=60)
        time.sleep(0.5)
