"""A control plane, Modal's own client for it, and programs that are pointed at it."""

import os
import subprocess
import sys
import time

import pytest

from mini.loopback.plane import Loopback


@pytest.fixture
def plane():
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def client(plane):
    """Modal's own, unmodified."""
    import modal
    from modal_proto import api_pb2

    with modal.client.Client(plane.url, api_pb2.CLIENT_TYPE_CLIENT, plane.token) as made:
        yield made


@pytest.fixture
def program(plane, tmp_path):
    """Runs a text as a program of its own, as its user would, and returns what it printed."""

    def run(text, *, code=0, name="program", command=(sys.executable,)):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        token_id, secret = plane.token
        place = {
            "COLUMNS": "200",
            "MODAL_SERVER_URL": plane.url,
            "MODAL_TOKEN_ID": token_id,
            "MODAL_TOKEN_SECRET": secret,
        }
        done = subprocess.run(
            [*command, str(file)], env={**os.environ, **place}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def until():
    """Waits for a condition."""

    def wait(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)
        return found

    return wait
