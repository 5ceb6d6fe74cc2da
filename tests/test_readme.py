"""The README tells the truth: its commands run, its Python runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

PROJECT = Path(__file__).parents[1]
DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
README = DOCUMENTS[0].read_text()


def shown_commands():
    return re.findall(r"^    \$ \./go run ?(.*)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The README's commands, run once, as `./go run` would."""
    folder = tmp_path_factory.mktemp("readme")
    done = {}
    for i, arguments in enumerate(shown_commands()):
        command = [sys.executable, "-m", "app", *arguments.split(), f"hydra.sweep.dir=run{i}"]
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=True)
        done[arguments] = (finished.stdout, folder / f"run{i}")
    return done


def test_the_two_commands_do_what_they_show(runs):
    assert list(runs) == ["", "optimizer.lr=1e-3,1e-2 model=small,large"]
    for arguments, (printed, folder) in runs.items():
        shown = README.split(f"$ ./go run {arguments}".strip() + "\n")[1].split("\n\n")[0].strip().splitlines()
        header = next(line.split() for line in shown if line.strip().startswith("job"))
        assert header in [line.split() for line in printed.splitlines()]
        table = pl.read_parquet(folder / "results.parquet")
        assert table.height == sum(line.split()[0].isdigit() and "→" not in line for line in shown)
        assert table["accuracy"].max() > 0.95


def test_a_sweep_leaves_the_files_it_names(runs):
    _, folder = runs["optimizer.lr=1e-3,1e-2 model=small,large"]
    for name in ("run.json", "jobs.jsonl", "multirun.yaml", "results.parquet"):
        assert (folder / name).exists()
    for name in (".hydra/config.yaml", "record.json", "log.txt", "metrics.parquet", "checkpoint.npz"):
        assert (folder / "0" / name).exists()


def test_the_table_is_the_best_first(runs):
    printed, _ = runs["optimizer.lr=1e-3,1e-2 model=small,large"]
    lines = [line.split() for line in printed.splitlines()]
    start = next(i for i, line in enumerate(lines) if line and line[0] == "job")
    accuracy = [float(line[lines[start].index("accuracy")]) for line in lines[start + 1 : start + 5]]
    assert accuracy == sorted(accuracy, reverse=True)


def test_its_python_runs(runs, tmp_path):
    _, folder = runs["optimizer.lr=1e-3,1e-2 model=small,large"]
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    for block in blocks:
        code = re.sub(r'"outputs/[^"]*"', repr(str(folder)), block)
        code += "assert best.height == 1\nassert history['step'].max() == 20\n"
        script = tmp_path / "block.py"
        script.write_text(code)
        subprocess.run([sys.executable, script], cwd=tmp_path, timeout=60, check=True)


def test_it_is_one_screen_with_a_picture_and_the_way_to_the_domains_to_allow():
    assert len(README.splitlines()) <= 80
    assert "![" in README
    modal = (PROJECT / "docs" / "modal.md").read_text()
    assert "[images and files on Modal, and the domains to allow on a restricted network](docs/modal.md)" in README
    assert all(domain in modal for domain in ("api.modal.com", "api.modal2.com"))
    assert "./go test" in README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_links_within_the_project_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
