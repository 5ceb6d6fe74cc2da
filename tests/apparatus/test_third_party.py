"""An engine that is no part of this project: built, installed, held to the contract, and swept on by its name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

SOURCE = Path(__file__).parent / "third_party"
APPLICATION = Path(__file__).parents[1] / "launcher" / "application.py"
SUITE = """
import pytest
from mini.apparatus.conformance import ApparatusConformance
from mini_solo.apparatus import SoloApparatus

class TestSolo(ApparatusConformance):
    @pytest.fixture
    def apparatus(self):
        with SoloApparatus("test") as made:
            yield made

    def one_at_a_time(self, apparatus):
        return apparatus.w(slots=1)
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a process that finds the distribution, as after an installation."""
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(SOURCE, folder / "source")
    uv(folder / "source", "build", "--wheel", "--quiet", "--out-dir", folder / "dist")
    (wheel,) = (folder / "dist").glob("*.whl")
    uv(folder, "pip", "install", "--quiet", "--no-deps", "--target", folder / "site", wheel)
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def uv(folder, *arguments):
    subprocess.run(["uv", *map(str, arguments)], cwd=folder, check=True, timeout=300)


def run(environment, *command):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout + done.stderr


def test_it_passes_the_suite(environment):
    Path("test_solo.py").write_text(SUITE)
    code, said = run(environment, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_solo.py")
    assert code == 0, said
    assert " passed" in said


def test_a_sweep_runs_on_it_with_options_of_its_own(environment):
    code, said = run(
        environment,
        *(sys.executable, APPLICATION, "apparatus=solo,local", "x=1,2", "apparatus.retries=1"),
        "hydra.sweep.dir=outputs/solo",
    )
    assert code == 0, said
    table = pl.read_parquet("outputs/solo/results.parquet")
    assert table["overrides.apparatus"].to_list() == ["solo", "solo", "local", "local"]
    assert table["thrice"].to_list() == [3, 6, 3, 6]


def test_its_options_are_shown_and_checked(environment):
    code, said = run(environment, sys.executable, APPLICATION, "apparatus=solo", "--cfg", "hydra")
    assert code == 0, said
    _, said = run(environment, sys.executable, APPLICATION, "apparatus=solo", "--cfg", "all")
    assert "slots: 2" in said
    code, said = run(environment, sys.executable, APPLICATION, "apparatus=solo", "apparatus.slot=3")
    assert code == 2
    assert "apparatus.slot is not an option of apparatus; did you mean 'slots'?" in said
    code, said = run(environment, sys.executable, APPLICATION, "apparatus=solo", "apparatus.slots=0")
    assert code == 2
    assert "it must be a whole number, 1 or more" in said
    code, said = run(environment, sys.executable, APPLICATION, "apparatus=sol")
    assert code == 2
    assert "there is no apparatus=sol; did you mean 'solo'? Choices of apparatus: " in said


def test_it_may_be_left(environment):
    code, said = run(
        environment,
        *(sys.executable, APPLICATION, "apparatus=solo,local", "x=1,2", "hydra.launcher.detach=true"),
        "hydra.sweep.dir=outputs/left",
    )
    assert code == 0, said
    code, said = run(environment, sys.executable, "-m", "mini.cli", "watch", "left")
    assert code == 0, said
    assert "4 done" in said
