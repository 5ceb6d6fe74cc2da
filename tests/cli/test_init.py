"""`mini init`: from nothing, beside an application, and the example."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mini.cli.init import find_applications, with_mini

APPLICATION = """import hydra
@hydra.main(version_base=None, config_path="configs", config_name="main")
def run(cfg):
    return {"y": cfg.x}
if __name__ == "__main__":
    run()
"""


def command(*words, code=0):
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def init(*options, code=0):
    return command("-m", "mini.cli", "init", "--no-lock", *options, code=code)


def test_an_empty_folder_becomes_a_project_that_sweeps():
    printed = init()
    for name in ("train.py", "conf/config.yaml", "pyproject.toml", ".gitignore"):
        assert f"new      {name}" in printed
    assert "hydra-apparatus" in Path("pyproject.toml").read_text()
    table = command("train.py", "lr=0.1,0.2", "seed=0,1")
    assert "4 done" in table
    assert "new " not in init()


def test_an_application_gets_its_entry_and_keeps_its_comments():
    Path("configs").mkdir()
    Path("app.py").write_text(APPLICATION)
    before = "# mine\ndefaults:\n    # the order matters\n    - _self_\nx: 1  # one\n"
    Path("configs/main.yaml").write_text(before)
    Path("requirements.txt").write_text("numpy")
    Path(".gitignore").write_text("outputs")
    printed = init()
    assert "changed  configs/main.yaml" in printed
    assert "+    - mini" in printed
    assert Path("configs/main.yaml").read_text() == before.replace("defaults:\n", "defaults:\n    - mini\n")
    assert "hydra-apparatus" in printed
    assert Path("requirements.txt").read_text().startswith("numpy\n")
    assert Path(".gitignore").read_text().splitlines()[:2] == ["outputs", "/multirun/"]
    assert "2 done" in command("app.py", "x=1,2")
    assert "changed" not in init()


def test_git_undoes_it():
    Path("configs").mkdir()
    Path("app.py").write_text(APPLICATION)
    Path("configs/main.yaml").write_text("x: 1\n")
    Path("requirements.txt").write_text("numpy\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    init()
    subprocess.run([*git, "checkout", "-q", "."], check=True)
    subprocess.run([*git, "clean", "-fdq"], check=True)
    assert Path("configs/main.yaml").read_text() == "x: 1\n"
    assert not Path(".gitignore").exists()


def test_a_dry_run_changes_nothing():
    assert "new      train.py" in init("--dry-run")
    assert list(Path().iterdir()) == []


def test_a_folder_with_something_else_is_refused():
    Path("notes.txt").touch()
    assert "no Hydra application" in init(code=2)
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]
    assert "not empty" in init("--example", code=2)


def test_the_example_is_what_this_project_has():
    printed = init("--example")
    assert "new      src/app/train.py" in printed
    assert Path("conf/config.yaml").exists()
    environment = {**os.environ, "PYTHONPATH": str(Path("src").absolute())}
    done = subprocess.run(
        [sys.executable, "-m", "app", "--cfg", "job"], capture_output=True, text=True, timeout=120, env=environment
    )
    assert yaml.safe_load(done.stdout)["epochs"] == 20


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x: 1\n", "defaults:\n  - mini\n  - _self_\n\nx: 1\n"),
        ("defaults:\n- a: b\n- _self_\n", "defaults:\n- mini\n- a: b\n- _self_\n"),
        ("defaults:   # list\n\n  - a: b\n", "defaults:   # list\n  - mini\n\n  - a: b\n"),
        ("defaults:\n  - mini # there\n", "defaults:\n  - mini # there\n"),
        ("y: 1\ndefaults:\n  - _self_\nz: 2\n", "y: 1\ndefaults:\n  - mini\n  - _self_\nz: 2\n"),
    ],
)
def test_the_entry_goes_to_the_front_of_the_list(before, after):
    assert with_mini(before) == after
    assert with_mini(after) == after
    yaml.safe_load(after)


def test_applications_are_found_with_their_configs():
    Path("sub/.venv").mkdir(parents=True)
    Path("sub/.venv/other.py").write_text(APPLICATION)
    Path("sub/app.py").write_text(APPLICATION)
    Path("structured.py").write_text(APPLICATION.replace('"configs"', "None"))
    Path("broken.py").write_text("def (")
    found = dict(find_applications(Path()))
    assert found == {Path("sub/app.py"): Path("sub/configs/main.yaml"), Path("structured.py"): None}


def test_a_doctor_says_what_works_as_text_and_as_json():
    Path("pyproject.toml").write_text('[project]\nname = "patient"\n')
    text = command("-m", "mini.cli", "doctor")
    assert "✓ project" in text
    checks = {one["name"]: one for one in json.loads(command("-m", "mini.cli", "doctor", "--json"))}
    assert {"python", "uv", "lock", "gpus", "slurm", "ray", "modal", "bubblewrap", "disk", "clock"} <= checks.keys()
    assert checks["project"]["found"].startswith("patient, ")
    assert checks["lock"]["state"] == "absent"
    assert checks["lock"]["cure"] == "uv lock"
    assert checks["modal"]["cure"] == "mini auth"


def test_a_doctor_names_a_problem_and_its_cure():
    Path("pyproject.toml").write_text('[project]\nname = "patient"\n')
    outputs = Path("outputs")
    outputs.mkdir(mode=0o555)
    if os.access(outputs, os.W_OK):
        pytest.skip("root may write anywhere")
    assert "cannot be written" in command("-m", "mini.cli", "doctor", code=1)


def test_auth_says_that_there_is_no_token():
    assert "there is no Modal token" in command("-m", "mini.cli", "auth", "--check", code=1)


def test_export_of_a_run_by_its_name():
    init()
    command("train.py", "hydra.sweep.dir=outputs/one", "steps=2")
    assert "one-csv: results.csv, history.csv" in command("-m", "mini.cli", "export", "one", "--to", "csv")
    assert Path("one-csv/results.csv").read_text().count("\n") == 2
