"""Ordinary Modal programs: they run, or are refused at once with the name of what is not offered.

Each is run with `modal run` and as a script, all side by side and a few at a time; each way has a control plane of
its own, so that a program does not find what it made the other way. Each has a time in which it must end. A program
says in its first line what it is refused for, if it is.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mini.loopback.plane import Loopback

pytestmark = pytest.mark.timeout(600)
PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))
WAYS = {"modal run": (sys.executable, "-m", "modal", "run"), "script": (sys.executable,)}
AT_ONCE = 3
LONGEST = 240  # seconds for one program, on a machine that does much else


def run(plane, command):
    """What a program printed, and its exit code; -1 where it did not end."""
    token_id, secret = plane.token
    place = {"MODAL_SERVER_URL": plane.url, "MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command,
            env={**os.environ, **place, "COLUMNS": "200"},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            shown, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{process.communicate()[0]}\nit did not end in {LONGEST} s", -1
        return shown, process.returncode


def cases():
    """Every program both ways; one that is refused one way."""
    for path in PROGRAMS:
        for way in WAYS if "refused: " not in path.read_text() else ["modal run"]:
            yield pytest.param(path, way, id=f"{path.stem}-{way}")


@pytest.fixture(scope="module")
def results(request):
    """Of all programs that are asked for in this session, begun together."""
    asked = [item.callspec.params for item in request.session.items if item.function is test_a_program]
    with Loopback() as one_plane, Loopback() as other_plane, ThreadPoolExecutor(AT_ONCE) as pool:
        planes = dict(zip(WAYS, (one_plane, other_plane), strict=True))
        yield {
            (path, way): pool.submit(run, planes[way], [*WAYS[way], str(path)])
            for path, way in ((one["path"], one["way"]) for one in asked)
        }


@pytest.mark.parametrize(("path", "way"), list(cases()))
def test_a_program(results, path, way):
    refused = path.read_text().splitlines()[0].strip('"').partition("refused: ")[2]
    shown, code = results[path, way].result()
    assert code == (1 if refused else 0), shown
    assert ("WORKED" in shown.splitlines()) is not bool(refused), shown
    assert f"does not offer {refused}" in " ".join(shown.split()) or not refused, shown


def test_there_are_enough_of_them():
    assert len(PROGRAMS) >= 30


def test_a_program_may_be_deployed_and_used_from_another(program):
    program(
        "import modal\n"
        "app = modal.App('bridge')\n"
        "@app.function()\ndef cross(name):\n    return f'{name} is over'\n"
        "@app.cls()\nclass Guard:\n    name: str = modal.parameter()\n"
        "    @modal.method()\n    def greet(self):\n        return f'halt, {self.name}'\n",
        name="bridge",
        command=(sys.executable, "-m", "modal", "deploy"),
    )
    shown = program(
        "import modal\n"
        "cross = modal.Function.from_name('bridge', 'cross')\n"
        "print(cross.remote('the goat'))\n"
        "Guard = modal.Cls.from_name('bridge', 'Guard')\n"
        "print(Guard(name='troll').greet.remote())\n"
        "call = cross.spawn('the kid')\n"
        "print(modal.FunctionCall.from_id(call.object_id).get())\n",
        name="traveller",
    )
    assert shown.splitlines() == ["the goat is over", "halt, troll", "the kid is over"]
