"""The GPUs that Modal documents; a name that is none of them is refused, as a typo that costs a start would be."""

from __future__ import annotations

import difflib

from grpclib import GRPCError, Status
from modal_proto import api_pb2

NAMES = (
    *("T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"),
    *("H100", "H100!", "H200", "B200", "B200+", "B300", "ANY"),
)
"""As Modal's client sends them, in capitals; `A10G` and `ANY` are older spellings."""

MOST = {"A10": 4, "A10G": 4}
"""How many of one kind a container may have; `MOST_OF_OTHERS` of all others."""

MOST_OF_OTHERS = 8


def check(gpu: api_pb2.GPUConfig) -> None:
    """Refuse what no container can have.

    Raises:
        GRPCError: The name is unknown, or there are too many.
    """
    name = gpu.gpu_type
    if not name:
        return
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1, 0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(NAMES)}"
        raise GRPCError(Status.INVALID_ARGUMENT, f"Invalid GPU type: '{name}'{hint}")
    most = MOST.get(name, MOST_OF_OTHERS)
    if gpu.count > most:
        why = f"A container has at most {most} GPUs of type '{name}', not {gpu.count}"
        raise GRPCError(Status.INVALID_ARGUMENT, why)
