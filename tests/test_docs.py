"""The pages of the documentation tell the truth: their commands and their Python run, in order, in a fresh folder.

A block with a title is a file; `console` blocks are commands; `python` blocks without a title are scripts. What is in
`bash` blocks needs what a test does not have (Modal, a desktop): its `mini` commands must be ones that there are, with
the options they are given.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from mini import notify
from mini.cli.main import mini

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"console", "python", "bash", "yaml", "toml", "text", "ini", "json"}


def blocks(page):
    return BLOCK.findall(page.read_text())


def runs(page):
    return any(kind == "console" or (kind == "python" and not title) for kind, title, _ in blocks(page))


RUN = [page for page in PAGES if runs(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_commands_and_the_python_of_a_page_run(page, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for kind, title, text in blocks(page):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(text)
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    run(["bash", "-c", line[2:]], folder, environment)
        elif kind == "python":
            (folder / "block.py").write_text(text)
            run([sys.executable, "block.py"], folder, environment)
            (folder / "block.py").unlink()


def run(command, folder, environment):
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def shown_commands():
    for page in PAGES:
        for kind, _, text in blocks(page):
            if kind in ("bash", "console"):
                for line in text.splitlines():
                    words = shlex.split(line.removeprefix("$ "), comments=True)
                    if words and words[0] in ("mini", "bin/mini"):
                        yield pytest.param(words[1:], id=f"{page.stem}: {shlex.join(words)}")


@pytest.mark.parametrize("words", list(shown_commands()))
def test_a_command_that_is_shown_is_one_that_there_is(words):
    with click.Context(mini, info_name="mini") as context:
        command = mini.get_command(context, words[0])
        assert command is not None
        command.make_context(words[0], list(words[1:]), parent=context)  # raises what is wrong with the words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_is_shown_of_a_file_can_be_read(page):
    for kind, title, text in blocks(page):
        assert kind in KINDS, f"{kind}: a block of a kind that no test knows"
        if kind == "yaml":
            yaml.safe_load(text)
        elif kind == "toml":
            tomllib.loads(text)
        elif kind == "python":
            compile(text, title or page.name, "exec")


def test_the_notices_that_are_shown_are_ones_that_can_be_sent(tmp_path, monkeypatch):
    (tmp_path / "told.sh").write_text("#!/bin/sh\n")
    (tmp_path / "told.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    shown = next(yaml.safe_load(text) for kind, _, text in blocks(DOCS / "how-to" / "notify.md") if kind == "yaml")
    values = shown["hydra"]["launcher"]["notify"]
    assert notify.parse({**values, "webhook": "https://example.invalid"}).events == ("end", "failure")
