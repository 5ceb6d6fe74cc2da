"""What a run was made of."""

import subprocess
from importlib import metadata
from pathlib import Path

from mini.runs import manifest, provenance


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True, capture_output=True)


def test_changes_that_are_not_committed_are_in_the_manifest(tmp_path):
    git("init", "-q")
    Path("train.py").write_text("lr = 1\n")
    git("add", "train.py")
    git("commit", "-qm", "first")
    assert manifest.git_state().keys() == {"commit", "dirty"}
    Path("train.py").write_text("lr = 2\n")
    state = manifest.git_state()
    assert state["dirty"]
    assert "-lr = 1\n+lr = 2\n" in state["diff"]


def test_a_difference_that_is_too_long_is_only_measured():
    git("init", "-q")
    Path("data.txt").write_text("")
    git("add", ".")
    git("commit", "-qm", "first")
    Path("data.txt").write_text("line\n" * 100_000)
    assert manifest.git_state()["diff_size"] > 500_000
    assert "diff" not in manifest.git_state()


def test_installed_packages_have_the_versions_that_are_installed():
    found = provenance.packages()
    for name in ("polars", "hydra-core", "rich"):
        assert found[name] == metadata.version(name)


def test_the_machine_is_described():
    found = provenance.hardware()
    assert found["cores"] >= 1
    assert found["memory"] > 0


def test_gpus_are_named_as_their_driver_names_them(tmp_path):
    for i in range(2):
        (tmp_path / f"0000:0{i}:00.0").mkdir()
        (tmp_path / f"0000:0{i}:00.0" / "information").write_text("Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   1\n")
    assert provenance.gpu_names(tmp_path) == ["NVIDIA A100-SXM4-40GB"] * 2
    assert provenance.gpu_names(tmp_path / "nosuch") == []
