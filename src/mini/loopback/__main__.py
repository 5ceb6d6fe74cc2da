"""`python -m mini.loopback [PORT]`: serve until stopped. Point any Modal program at the address it prints."""

import asyncio
import contextlib
import signal
import sys

from mini.loopback.plane import ControlPlane


async def serve(port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    plane = ControlPlane(port=port)
    await plane.start()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    token_id, secret = plane.token
    print(f"MODAL_SERVER_URL={plane.url} MODAL_TOKEN_ID={token_id} MODAL_TOKEN_SECRET={secret}", flush=True)
    await stop.wait()
    await plane.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
