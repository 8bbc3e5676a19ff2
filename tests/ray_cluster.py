"""A real Ray cluster on this machine, whose nodes are sets of processes of their own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atft_gat_fan.config.schema import TrialsConfig


@contextmanager
def three_nodes() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of one core a node, to which this process is connected as a command would be."""
    from ray.cluster_utils import Cluster

    from atft_gat_fan.validation.ray_runner import connected

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **small)
        heeded = signal.getsignal(signal.SIGTERM)
        with connected(TrialsConfig(executor="ray", address=cluster.address)):
            # Ray's own handler would end a command before its trainings have saved.
            assert signal.getsignal(signal.SIGTERM) == heeded
            yield cluster
    finally:
        cluster.shutdown()
