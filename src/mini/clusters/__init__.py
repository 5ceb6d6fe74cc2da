"""Throw-away clusters on this machine, to try engines on: `python -m mini.clusters NAME`."""
