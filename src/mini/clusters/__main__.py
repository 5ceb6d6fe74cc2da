"""`python -m mini.clusters slurm [--nodes 2] [-- COMMAND …]`: a throw-away cluster, and a shell or a command on it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from mini.clusters.slurm import Slurm
from mini.errors import MiniError


def main() -> int:
    """Start the cluster, run the command, or a shell, or wait; then end the cluster.

    Returns:
        The command's exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mini.clusters", description="A throw-away cluster on this machine, to try an engine on."
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="slurm")
    slurm = kinds.add_parser("slurm", help="Slurm's own daemons, in a temporary folder, on ports of their own")
    slurm.add_argument("--nodes", type=int, default=1, help="how many nodes (default 1)")
    slurm.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="of each node (default: this machine's)")
    slurm.add_argument("--memory", type=int, default=4000, help="MiB of each node (default 4000)")
    slurm.add_argument("--gpus", type=int, default=2, help="of each node, of type a100, in name only (default 2)")
    slurm.add_argument("command", nargs="*", help="what to run on it; by default a shell")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Slurm(asked.nodes, asked.cpus, asked.memory, asked.gpus) as cluster:
        environment = {**os.environ, **cluster.environment}
        command = asked.command
        if not command and sys.stdin.isatty():
            print("a Slurm of your own; it ends with this shell (exit)")
            command = [os.environ.get("SHELL", "/bin/sh")]
        if command:
            return subprocess.run(command, env=environment).returncode
        for name, value in cluster.environment.items():
            print(f"export {name}={value}", flush=True)
        print("# Ctrl-C ends it", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MiniError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
