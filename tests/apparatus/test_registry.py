"""Engines by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from mini.apparatus import registry
from mini.apparatus.plugin import Plugin
from mini.errors import OptionError


def test_every_engine_of_this_package_is_an_entry_point_too():
    from importlib.metadata import distribution

    named = {e.name: e for e in distribution("hydra-apparatus").entry_points if e.group == registry.GROUP}
    assert sorted(named) == sorted(registry.OWN)
    assert all(named[kind].load() is registry.find(kind) for kind in registry.OWN)


def test_an_unknown_engine_is_answered_with_the_near_ones():
    with pytest.raises(OptionError, match="did you mean 'rehearsal'"):
        registry.find("rehersal")


def test_an_engine_that_cannot_be_loaded_names_its_distribution(tmp_path):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[mini.apparatus]\nbroken = nowhere:PLUGIN\nother = mini.errors:MiniError\n"
    )
    said = ask(tmp_path, "broken")
    assert "the engine 'broken' of broken cannot be loaded (ModuleNotFoundError: No module named 'nowhere')" in said
    assert "must be a mini.apparatus.plugin.Plugin with kind='other'" in ask(tmp_path, "other")


def ask(path, kind):
    code = f"from mini.apparatus import registry\nregistry.find({kind!r})"
    environment = {"PYTHONPATH": str(path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    return done.stderr


def test_options_must_be_frozen():
    class Thawed:
        pass

    with pytest.raises(TypeError, match="frozen dataclass"):
        Plugin("thawed", "nowhere", Thawed, lambda name, options: None)


def test_finding_an_engine_loads_nothing_that_runs_jobs():
    code = (
        "import sys\nfrom mini.apparatus import registry\n[registry.find(k) for k in registry.OWN]\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(done.stdout.split()) & {"modal", "polars", "rich", "cloudpickle", "importlib.metadata", "hydra"}


def test_a_new_engine_touches_nothing_here():
    # The core names no engine but in the list of those that are not looked for among what is installed.
    core = [*Path(registry.__file__).parent.glob("*.py"), Path(registry.__file__).parents[1] / "driver.py"]
    for module in core:
        for kind in registry.OWN:
            assert f"apparatus.{kind}" not in module.read_text(), module
