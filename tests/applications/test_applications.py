"""Public patterns of applications, run by Hydra's basic launcher without the line of ours, and by ours with it."""

import functools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from applications_patterns import PATTERNS

HERE = Path(__file__).parent
KINDS = ("local", "debug")
FILES = (".hydra/config.yaml", ".hydra/overrides.yaml")

DIFFERENT: dict[tuple[str, str], str] = {}
"""What differs, by pattern and part, and why."""

CASES = [
    pytest.param(name, number, kind, id=f"{name}-{number}-{kind}", marks=pytest.mark.slow if is_slow else ())
    for kind, is_slow in [*((kind, False) for kind in KINDS), ("rehearsal", True)]
    for name, pattern in PATTERNS.items()
    for number in range(len(pattern.commands))
    if not is_slow or (name in ("dataclass_root", "template", "optuna_one") and number == 0)
]


@pytest.fixture(scope="module")
def counted(request):
    """How many pairs there are and how many are equal, printed at the end."""
    counts = Counter()
    yield counts
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{counts['pairs']} pairs with the basic launcher, {counts['equal']} equal in all parts")
        for (name, part), why in DIFFERENT.items():
            reporter.write_line(f"  {name}, {part}: {why}")


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    """What the basic launcher leaves of a command, found out once."""

    @functools.cache
    def found(name, number):
        return seen(name, number, None, tmp_path_factory.mktemp("basic"))

    return found


@pytest.mark.parametrize(("name", "number", "kind"), CASES)
def test_an_application_is_the_same(name, number, kind, basic, counted, tmp_path):
    ours, theirs = seen(name, number, kind, tmp_path), basic(name, number)
    counted["pairs"] += 1
    different = {part for part in theirs if ours[part] != theirs[part]}
    counted["equal"] += not different
    assert {part: (ours[part], theirs[part]) for part in different if (name, part) not in DIFFERENT} == {}, ours["said"]


def seen(name, number, kind, folder):
    """Run a command, and say what came of it."""
    pattern = PATTERNS[name]
    write(pattern, folder, is_ours=kind is not None)
    overrides = pattern.commands[number]
    is_multirun = "-m" in overrides
    place = "hydra.sweep.dir=outputs/run" if kind or is_multirun else "hydra.run.dir=outputs/run/0"
    ours = [f"hydra.launcher.apparatus={kind}"] if kind else []
    done = subprocess.run(
        [
            sys.executable,
            "script.py",
            *overrides,
            place,
            *ours,
            "+hydra.callbacks.w._target_=applications_witness.Witness",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=200,
    )
    run = folder / "outputs" / "run"
    jobs = sorted(path.parent.name for path in run.glob("*/witness.json"))
    told = {job: json.loads((run / job / "witness.json").read_text().replace(str(folder), "HERE")) for job in jobs}
    commands = folder / "commands.txt"
    return Said(
        {
            # A mistake in the config is 2 with us, and 1 with Hydra: there a failed job is 1, too.
            "exit code": 0 if done.returncode == 0 else "not 0",
            "jobs": jobs,
            "told": told,
            "files": {f"{job}/{file}": (run / job / file).read_text() for job in jobs for file in FILES},
            "logs": {f"{job}/{log.name}": logged(log) for job in jobs for log in (run / job).glob("*.log")},
            "also": {file: (run / file).read_text() for file in pattern.also},
            "callbacks": commands.read_text() if commands.exists() else "",
        },
        done.stdout[-1500:] + done.stderr[-3000:],
    )


class Said(dict):
    """Parts to be compared; what the command printed is not one of them."""

    def __init__(self, parts, said):
        super().__init__(parts)
        self._said = said

    def __missing__(self, key):
        return self._said


def write(pattern, folder, *, is_ours):
    texts = {"script.py": pattern.script.replace("MINI ", '"mini", ' if is_ours else ""), **pattern.files}
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(re.sub(r"^ *- MINI\n", "  - mini\n" if is_ours else "", text, flags=re.MULTILINE))
    (folder / "pyproject.toml").write_text('[project]\nname = "pattern"\nversion = "0"\n')


def logged(path):
    return re.sub(r"^\[[^\]]*\]", "", path.read_text(), flags=re.MULTILINE)
