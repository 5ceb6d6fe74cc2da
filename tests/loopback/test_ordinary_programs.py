"""Ordinary Modal programs: they run, or are refused at once with the name of what is not offered."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)
PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program(program, path):
    text = path.read_text()
    first = text.splitlines()[0].strip('"')
    refused = first.partition("refused: ")[2]
    shown = program(text, code=1 if refused else 0, name=path.stem, command=(sys.executable, "-m", "modal", "run"))
    assert ("WORKED" in shown.splitlines()) is not bool(refused)
    assert refused in shown


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


def test_a_plain_script_runs_its_app(program):
    assert "4 9" in program(
        "import modal\n"
        "app = modal.App('script')\n"
        "@app.function()\ndef square(x):\n    return x * x\n"
        "if __name__ == '__main__':\n"
        "    with app.run():\n        print(*square.map([2, 3]))\n"
    )
