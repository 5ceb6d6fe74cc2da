"""`python -m mini.loopback [PORT] [OPTIONS]`: serve until stopped. Point any Modal program at the address it prints."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import re
import signal
from collections.abc import Sequence

from grpclib import Status

from mini.loopback.plane import ControlPlane
from mini.loopback.service import calls
from mini.loopback.state import Faults, Refusal

_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0}
_FAULTS = """\
what shall go wrong, to see how a program takes it:
  --refuse VolumePutFiles2                 PERMISSION_DENIED, each time
  --refuse FunctionMap:UNAVAILABLE:3       three times, and then no more
Names of calls are those of Modal's protocol; docs/modal-protocol.md says which program makes which.
"""


async def serve(plane: ControlPlane) -> None:
    """Serve until SIGINT or SIGTERM."""
    await plane.start()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    token_id, secret = plane.token
    print(f"MODAL_SERVER_URL={plane.url} MODAL_TOKEN_ID={token_id} MODAL_TOKEN_SECRET={secret}", flush=True)
    await stop.wait()
    await plane.stop()


def duration(text: str) -> float:
    """Seconds from `80ms`, `5s`, `5` or `2m`.

    Raises:
        argparse.ArgumentTypeError: It is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; give one such as 80ms, 5s or 2m")
    return float(found[1]) * _UNITS[found[2]]


def count(text: str) -> int:
    """A number of inputs.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of inputs; give one from 1")
    return int(text)


def refusal(text: str) -> tuple[str, Refusal]:
    """A call to refuse, from `NAME[:STATUS[:TIMES]]`.

    Raises:
        argparse.ArgumentTypeError: There is no such call or status, or the times are no number.
    """
    name, status, times = (*text.split(":", 2), "", "")[:3]
    for word, known, kind in ((name, calls(), "call"), (status, [one.name for one in Status], "status")):
        if word not in known and (word or kind == "call"):
            near = difflib.get_close_matches(word, known, 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise argparse.ArgumentTypeError(f"{word!r} is no {kind} of Modal's protocol{hint}")
    return name, Refusal(Status[status] if status else Status.PERMISSION_DENIED, count(times) if times else None)


def parse(arguments: Sequence[str] | None = None) -> tuple[int, float, Faults]:
    """The port, the seconds of a round trip and the faults that a command line asks for."""
    parser = argparse.ArgumentParser(
        "python -m mini.loopback",
        description="A control plane that Modal programs can be pointed at.",
        epilog=_FAULTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("port", nargs="?", type=int, default=0, help="to listen at; default any")
    parser.add_argument(
        "--latency", type=duration, default=0.0, metavar="TIME", help="of a round trip of a client, such as 80ms"
    )
    parser.add_argument(
        "--cold-start", type=duration, default=0.0, metavar="TIME", help="before a container begins, such as 5s"
    )
    parser.add_argument("--kill-every", type=count, default=0, metavar="N", help="kill the container of each Nth input")
    parser.add_argument(
        "--preempt-every", type=count, default=0, metavar="N", help="preempt the container of each Nth input"
    )
    parser.add_argument(
        "--preempt-grace",
        type=duration,
        default=30.0,
        metavar="TIME",
        help="between SIGINT and SIGKILL; default 30s",
    )
    parser.add_argument(
        "--refuse",
        type=refusal,
        nargs="+",
        action="extend",
        default=[],
        metavar="CALL[:STATUS[:TIMES]]",
        help="calls of clients that are refused",
    )
    given = parser.parse_args(arguments)
    faults = Faults(
        kill_every=given.kill_every,
        preempt_every=given.preempt_every,
        preempt_grace=given.preempt_grace,
        cold_start=given.cold_start,
        refuse=dict(given.refuse),
    )
    return given.port, given.latency, faults


def main() -> None:
    """The command."""
    port, round_trip, faults = parse()
    plane = ControlPlane(port=port, round_trip=round_trip)
    plane.state.faults = faults
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(plane))


if __name__ == "__main__":
    main()
