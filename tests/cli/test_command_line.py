"""The command `mini`: its help, its near misses, and what shells complete."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mini import LocalApparatus
from mini.cli import reference
from mini.cli.commands import COMMANDS
from mini.cli.main import main
from mini.cli.main import mini as group

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def mini(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "mini.cli", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def run(tmp_path):
    """Two jobs here, called `first`."""
    Path("pyproject.toml").write_text('[project]\nname = "project"\n')
    with LocalApparatus() as apparatus:
        apparatus.spawn(abs, [-7, 2], name="first").wait(timeout=120)


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == reference.markdown(), "run ./go docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name):
    with click.Context(group, info_name="mini") as context:
        command = group.get_command(context, name)
    assert command.name == name
    assert inspect.getdoc(command.callback)
    assert [o.opts for o in command.params if isinstance(o, click.Option) and not o.help] == []


def test_help_imports_no_family():
    loaded = "import sys; from mini.cli.main import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert "How runs go" in done.stdout
    for module in ("rich", "polars", "modal", "hydra", "mini.apparatus", "mini.runs"):
        assert f"'{module}'" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["staus"], 2, "there is no command 'staus'; did you mean 'status'?"),
        (["stat"], 2, "there is no command 'stat'"),
        (["results", "--sor", "x"], 2, "there is no option --sor; did you mean --sort?"),
        (["results", "--csv", "a.csv", "--json"], 2, "--csv, --parquet, --json and --tables are alternatives"),
        (["results", "--rows", "many"], 2, "'many' is not a valid whole number"),
        (["explain", "latest"], 2, "missing argument 'JOB'"),
        (["results"], 4, "there is no run under"),
    ],
)
def test_wrong_words(tmp_path, arguments, code, said):
    got, out, error = mini(*arguments)
    assert (got, out) == (code, "")
    assert error.startswith("error: ")
    assert said in error


def test_without_a_command_the_help_is_shown():
    code, out, _ = mini()
    assert code == 2
    assert "Exit codes" in out
    assert mini("--help") == (0, out, "")


def test_help_has_colour_on_a_terminal_unless_no_color_is_set():
    def on_terminal(**environment):
        command = ["script", "-qec", f"{sys.executable} -m mini.cli --help", "/dev/null"]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment).stdout

    if shutil.which("script") is None:
        pytest.skip("there is no `script` to make a terminal")
    assert "\x1b[" in on_terminal(NO_COLOR="")
    assert "\x1b[" not in on_terminal(NO_COLOR="1")
    assert "\x1b[" not in mini("--help")[1]


@pytest.fixture
def complete(monkeypatch, capfd):
    """What a shell's script asks for, and gets."""

    def complete(shell, *words):
        monkeypatch.setenv("_MINI_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(["mini", *words]))
        monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words)))
        capfd.readouterr()
        assert main() == 0
        out, error = capfd.readouterr()
        assert error == ""
        lines = out.strip().splitlines()
        if shell == "zsh":
            return [lines[i + 1] for i in range(0, len(lines), 3)]
        return [line.split(",", 1)[1].split("\t")[0] for line in lines]

    return complete


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_are_completed(run, complete, shell):
    assert complete(shell, "st") == ["status"]
    assert complete(shell, "results", "fi") == ["first"]
    assert complete(shell, "results", "l") == ["latest"]
    assert complete(shell, "results", "--so") == ["--sort"]
    assert "seconds" in complete(shell, "results", "--sort", "sec")
    assert complete(shell, "results", "latest", "--columns", "job,sec") == ["job,seconds"]
    assert complete(shell, "logs", "first", "1") == ["1"]
    assert complete(shell, "results", "--app", "mod") == ["modal"]


def test_completion_of_what_is_not_there_is_silent(complete):
    assert complete("bash", "logs", "nothing", "1") == []


def test_bash_takes_the_script(run):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    code, script, error = mini("completion", "bash")
    assert (code, error) == (0, "")
    folder = Path("bin")
    folder.mkdir()
    (folder / "mini").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mini.cli "$@"\n')
    (folder / "mini").chmod(0o755)
    (folder / "script").write_text(script)
    asked = (
        "source bin/script; COMP_WORDS=(mini results fi); COMP_CWORD=2; "
        "_mini_completion mini fi results; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        [bash, "-c", asked], capture_output=True, text=True, env=os.environ | {"PATH": f"bin:{os.environ['PATH']}"}
    )
    assert done.stdout == "first\n", done.stderr


def test_latest_is_the_run_that_began_last(run, capfd):
    for arguments in (["status", "latest"], ["results", "latest"], ["logs", "latest", "1"]):
        assert (main(arguments), capfd.readouterr().err) == (0, "")
