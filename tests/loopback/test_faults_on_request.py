"""Latency, cold starts and refusals, and how the command line asks for them."""

import os
import shlex
import subprocess
import sys
import time

import modal
import pytest
from grpclib import Status

from mini.loopback.__main__ import parse
from mini.loopback.plane import Loopback
from mini.loopback.state import Refusal

pytestmark = pytest.mark.timeout(180)


def test_what_the_command_line_asks_for():
    port, round_trip, faults = parse(
        shlex.split(
            "8000 --latency 80ms --cold-start 5s --kill-every 10 --preempt-every 7 --preempt-grace 1m "
            "--refuse FunctionMap:UNAVAILABLE:3 VolumePutFiles2"
        )
    )
    assert (port, round_trip) == (8000, 0.08)
    assert (faults.cold_start, faults.kill_every, faults.preempt_every, faults.preempt_grace) == (5, 10, 7, 60)
    assert faults.refuse == {
        "FunctionMap": Refusal(Status.UNAVAILABLE, 3),
        "VolumePutFiles2": Refusal(Status.PERMISSION_DENIED, None),
    }
    assert parse([])[:2] == (0, 0.0)
    assert parse(["--latency", "80"])[1] == 80


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--latency", "fast"], "give one such as 80ms"),
        (["--kill-every", "0"], "give one from 1"),
        (["--refuse", "FunctionMep"], "did you mean FunctionMap"),
        (["--refuse", "FunctionMap:UNAVAILBLE"], "did you mean UNAVAILABLE"),
        (["--refuse", "FunctionMap:UNAVAILABLE:x"], "no number"),
        (["--cold=5s"], "unrecognized arguments"),
    ],
)
def test_a_command_line_that_is_wrong(given, said, capsys):
    with pytest.raises(SystemExit):
        parse(given)
    assert said in capsys.readouterr().err


def connected(plane):
    from modal_proto import api_pb2

    return modal.client.Client(plane.url, api_pb2.CLIENT_TYPE_CLIENT, plane.token)


def test_each_round_trip_of_a_client_takes_its_time():
    with Loopback(round_trip=0.3) as plane, connected(plane) as client:
        start = time.monotonic()
        made = modal.Dict.from_name("far", create_if_missing=True, client=client)
        made["key"] = 1
        assert made["key"] == 1
        assert time.monotonic() - start >= 3 * 0.3


def test_files_are_far_too_and_arrive_whole(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    with Loopback(round_trip=0.1) as plane, connected(plane) as client:
        volume = modal.Volume.from_name("far", create_if_missing=True, version=2, client=client)
        with volume.batch_upload() as batch:
            batch.put_file(tmp_path / "file", "file")
        start = time.monotonic()
        assert b"".join(volume.read_file("file")) == content
        assert time.monotonic() - start >= 2 * 0.1


def test_a_call_that_is_refused(plane, client):
    plane.faults.refuse["DictGetOrCreate"] = Refusal()
    with pytest.raises(modal.exception.PermissionDeniedError, match="as the control plane on loopback was asked to"):
        modal.Dict.from_name("d", create_if_missing=True, client=client).hydrate()
    plane.faults.refuse["DictGetOrCreate"] = Refusal(Status.UNAVAILABLE, 2)
    modal.Dict.from_name("d", create_if_missing=True, client=client).hydrate()
    assert plane.faults.refuse["DictGetOrCreate"].times == 0


def test_a_container_starts_cold(plane, client):
    plane.faults.cold_start = 1.5
    app = modal.App("cold")
    function = app.function(serialized=True, image=modal.Image.debian_slim(), name="f")(lambda: 1)
    with app.run(client=client):
        start = time.monotonic()
        function.remote()
        assert time.monotonic() - start >= 1.5


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "mini.loopback", "--latency", "20ms", "--refuse", "QueueGetOrCreate"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told = dict(word.split("=", 1) for word in server.stdout.readline().split())
        program = tmp_path / "program.py"
        program.write_text(
            "import modal\n"
            "modal.Dict.from_name('d', create_if_missing=True)['a'] = 1\n"
            "try:\n    modal.Queue.from_name('q', create_if_missing=True).hydrate()\n"
            "except modal.exception.PermissionDeniedError:\n    print('refused')\n"
        )
        done = subprocess.run(
            [sys.executable, str(program)], env={**os.environ, **told}, capture_output=True, text=True, timeout=120
        )
        assert done.stdout == "refused\n", done.stderr
    finally:
        server.terminate()
        assert server.wait(60) == 0
        server.stdout.close()
