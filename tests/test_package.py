"""The package as a whole: its names, its exceptions, and what it imports when."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mini
from mini import errors

PROJECT = Path(__file__).parents[1]


def test_the_public_names_are_sorted_and_there():
    assert list(mini.__all__) == sorted(mini.__all__)
    for name in mini.__all__:
        assert getattr(mini, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = mini.nosuch


def test_every_exception_is_in_the_drawing():
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            assert name in errors.__doc__, f"{name} is not drawn"
            assert issubclass(value, errors.MiniError)


def loaded_by(*command):
    code = "import sys, runpy, json, atexit\natexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
    code += f"sys.argv = {list(command)!r}\nrunpy.run_module('app', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_showing_the_config_loads_nothing_heavy():
    modules = loaded_by("app", "--cfg", "job")
    assert "hydra" in modules
    assert not modules & {"modal", "polars", "jax", "numpy", "rich", "cloudpickle", "mini.runs.folder"}


def test_asking_for_a_jobs_folder_loads_nothing_heavy():
    code = "import sys; from mini import job_dir, progress; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(done.stdout.split()) & {"hydra", "modal", "polars", "rich", "cloudpickle"}


LONG: dict[str, str] = {
    "src/mini/loopback/scheduler.py": "queues, containers and what becomes of both are one machine of states",
}
"""Modules of more than four hundred lines, and the reason."""


def test_a_module_has_at_most_four_hundred_lines_but_for_a_reason():
    long = {}
    for path in sorted((PROJECT / "src").rglob("*.py")):
        lines = len(path.read_text().splitlines())
        if lines > 400:
            long[path.relative_to(PROJECT).as_posix()] = lines
    assert long.keys() == LONG.keys(), long


def test_no_import_is_excused():
    contracts = (PROJECT / "pyproject.toml").read_text().split("[tool.importlinter]")[1]
    assert "ignore_imports" not in contracts
