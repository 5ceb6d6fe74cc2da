"""Clusters for the tests: real daemons, one cluster for the session, on ports and in a folder of its own."""

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
    return slurm_cluster
