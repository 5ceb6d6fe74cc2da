"""A real Ray cluster, in a run of pytest of its own: Ray changes signal handlers and more of its process for good."""

import pytest
from two_nodes import two_nodes


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray of two nodes, to which this process is connected; skips where it is not installed."""
    ray = pytest.importorskip("ray")
    with two_nodes() as cluster:
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
        yield cluster
        ray.shutdown()
