"""How many containers a function may have, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from modal_proto import api_pb2

_IDLE = 60.0  # seconds a container waits for an input, where the function says nothing


@dataclass(frozen=True)
class Scaling:
    """How many containers a function may have.

    Args:
        least: Which are kept, whether there is work or not.
        most: 0 where the function sets no limit.
        idle: Seconds after which a container without an input ends.
    """

    least: int
    most: int
    idle: float


def scaling(definition: api_pb2.Function) -> Scaling:
    """What a definition says of its containers, in the autoscaler's settings or in the older fields."""
    settings = definition.autoscaler_settings
    return Scaling(
        settings.min_containers or definition.warm_pool_size,
        settings.max_containers or definition.concurrency_limit,
        settings.scaledown_window or definition.task_idle_timeout_secs or _IDLE,
    )
