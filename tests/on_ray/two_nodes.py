"""A Ray cluster of two nodes on this machine, one of which calls itself one with an A100."""

import contextlib
import os

STORE = 100 * 2**20


@contextlib.contextmanager
def two_nodes():
    """Yields the cluster."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray 3 does, and 2 warns of
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": STORE}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        made.add_node(num_cpus=1, num_gpus=1, resources={"accelerator_type:A100": 1}, object_store_memory=STORE)
        yield made
    finally:
        made.shutdown()
