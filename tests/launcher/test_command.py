"""What a command says when something is wrong, and the codes it leaves with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

APPLICATION = Path(__file__).with_name("application.py")


def run(*overrides, **options):
    return subprocess.run(
        [sys.executable, APPLICATION, *overrides], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["apparatus.wrokers=2"], "apparatus.wrokers is not an option of apparatus; did you mean 'workers'?"),
        (["gpu=misspelt"], "gpu.conut is not an option of gpu; did you mean 'count'?"),
        (["image.atp=[x]"], "image.atp is not an option of image; did you mean 'apt'?"),
        (["apparatus.workers=0"], "workers=0 is not possible: it must be a whole number, 1 or more"),
        (["apparatus.workers=two"], "apparatus.workers='two' is not possible: it must be a whole number, 1 or more"),
        (["apparatus.kind=lokal"], "apparatus.kind='lokal' is unknown; did you mean 'local'"),
        (["apparatus=lokal"], "there is no apparatus=lokal; did you mean 'local'"),
        (["gpu=a1000", "x=1,2"], "there is no gpu=a1000; did you mean 'a100'"),
        (["gpu=a1000"], "A GPU of another name is asked for with gpu.name=NAME"),
        (
            ["apparatus=modal", "apparatus.timeout=0"],
            "timeout=0 is not possible: it must be a number of seconds from 1",
        ),
        (["apparatus=modal", "apparatus.tiemout=60"], "apparatus.tiemout is not an option of apparatus; did you mean"),
        (["y=1", "x=1,2"], "there is no key 'y' in the config"),
        (["x=1,2,3", "group=one,one,tow"], "there is no group=tow; did you mean 'two'"),
        (["x=1,2", "group=two,one", "group.extra=3"], "there is no key 'group.extra' in the config"),
        (["x=1,2", "hydra.sweep.subdir=same"], "jobs 0 and 1 would both write to"),
        (["hydra.sweep.dir=/proc/none"], "cannot write the run folder /proc/none"),
    ],
)
def test_bad_input_is_refused_before_any_job_starts(overrides, said, in_project):
    done = run(*overrides)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "--multirun" not in done.stderr
    assert done.stdout == ""
    assert not list(Path("outputs").glob("*/*")), "nothing is left behind"


def test_an_existing_run_is_never_overwritten():
    assert run("hydra.sweep.dir=out").returncode == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    again = run("hydra.sweep.dir=out")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert "hydra.sweep.dir=FOLDER" in again.stderr
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def test_an_unpicklable_task_is_refused(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sqlite3, hydra\n"
        "db = sqlite3.connect(':memory:')\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n    db.execute('select 1')\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, script, "-m", "hydra/launcher=apparatus"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "`db` of `main` is a sqlite3.Connection" in done.stderr


def test_an_interrupt_stops_the_jobs_and_keeps_what_finished():
    command = subprocess.Popen(
        [
            sys.executable,
            APPLICATION,
            "do=interrupt",
            "x=0,1,2,3",
            "apparatus.workers=2",
            "hydra.sweep.dir=out",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not Path("out/began-3").exists():
        assert time.monotonic() < deadline, command.communicate()
        time.sleep(0.05)
    os.killpg(command.pid, signal.SIGINT)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 130, err
    assert "2 of 4 jobs had finished" in err
    assert "Traceback" not in err
    assert Path("out/0/record.json").exists()
    assert Path("out/1/record.json").exists()
    assert Path("out/results.parquet").exists()
    while subprocess.run(["pgrep", "-g", str(command.pid)], capture_output=True).stdout:
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)


@pytest.mark.slow
def test_an_interrupt_cancels_the_remote_calls_and_keeps_what_finished(in_project):
    command = subprocess.Popen(
        [
            *(sys.executable, APPLICATION, "apparatus=rehearsal", "do=interrupt", "x=0,1,2,3"),
            *("apparatus.max_containers=2", "hydra.sweep.dir=outputs/out"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen = ""
    for line in command.stderr:
        seen += line
        if "[2/4]" in line:
            break
    os.killpg(command.pid, signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130, seen + err
    assert "2 of 4 jobs had finished" in err
    assert "Traceback" not in err
    assert Path("outputs/out/0/record.json").exists()
    assert Path("outputs/out/1/.hydra/config.yaml").exists()
    assert Path("outputs/out/results.parquet").exists()
    deadline = time.monotonic() + 20
    while subprocess.run(["pgrep", "-g", str(command.pid)], capture_output=True).stdout:
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)


def test_a_run_folder_may_be_anywhere_on_every_engine(in_project, tmp_path):
    for folder in ("elsewhere", str(tmp_path / "deep" / "run [1]")):
        done = run("apparatus=rehearsal", f"hydra.sweep.dir='{folder}'")
        assert done.returncode == 0, done.stderr
        assert Path(folder, "0", ".hydra", "config.yaml").exists()
        assert Path(folder, "results.parquet").exists()


def test_without_a_token_nothing_is_begun(in_project):
    done = run("apparatus=modal", "x=1,2")
    assert done.returncode == 1
    assert "there is no Modal token; run `mini auth`" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path("outputs").glob("*/*"))


def test_a_gpu_nobody_knows_is_warned_of_and_asked_for(in_project):
    """Modal may have it by now; the control plane, as strict as Modal, has not."""
    done = run("apparatus=rehearsal", "gpu=t4", "gpu.name=B999", "gpu.fallback=[A100]")
    assert done.returncode == 2
    assert "warning: Modal is not known to have a GPU B999" in done.stderr
    assert "Invalid GPU type: 'B999'" in done.stderr
    assert "A100;" not in done.stderr


def test_help_and_show_config_are_hydras():
    shown = run("--cfg", "job")
    assert shown.returncode == 0
    assert "kind: local" not in shown.stdout, "nothing of ours is in the application's config"
    assert "kind: local" in run("--cfg", "all").stdout


def test_a_hydra_application_without_mini_is_left_alone(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import hydra\n@hydra.main(version_base='1.3', config_path=None)\ndef main(cfg):\n    print('single')\nmain()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "single\n"
    wrong = subprocess.run([sys.executable, script, "a=1"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 1
    assert "error: " not in wrong.stderr
    assert "Could not override 'a'." in wrong.stderr
