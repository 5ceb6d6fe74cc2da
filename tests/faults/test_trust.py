"""What somebody else wrote is data: nothing of it runs, and nobody else reads what is secret."""

import base64
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mini import LocalApparatus
from mini.job import State
from mini.runs import masking
from mini.runs.folder import RunFolder
from mini.runs.records import read_record

pytestmark = pytest.mark.timeout(300)
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

PROGRAM = """
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    return {"y": 10 * config.x}

if __name__ == "__main__":
    main()
"""


class Payload:
    """Pickled by who wants to run something: to unpickle it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def app(*overrides, code=0):
    return run([sys.executable, "app.py", *overrides], code)


def mini(*arguments, code=0):
    return run([sys.executable, "-m", "mini.cli", *arguments], code)


def run(command, code):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project():
    Path("pyproject.toml").write_text('[project]\nname = "trusting"\n')
    Path("app.py").write_text(PROGRAM)
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("defaults: [mini, _self_]\nx: 0\n")


def forge(record, path):
    """Put a payload into a record, as its value and as its failure's exception."""
    payload = base64.b64encode(pickle.dumps(Payload(path))).decode()
    found = json.loads(record.read_bytes())
    if found["failure"] is not None:
        found["failure"]["pickled"] = payload
    else:
        found["pickled"] = payload
    record.write_bytes(json.dumps(found, separators=(",", ":")).encode() + b"\n")


@pytest.mark.parametrize("place", ["outputs/a", "outputs/b"])
def test_a_value_in_a_record_is_not_unpickled_by_who_looks_or_resumes(project, place):
    app("x=1,2", "apparatus.workers=1", "hydra.sweep.dir=outputs/a")
    forge(Path("outputs/a/0/record.json"), "payload")
    for verb in ("status", "watch", "results", "logs", "ls"):
        mini(*([verb] if verb == "ls" else [verb, "a"]), *(["0"] if verb == "logs" else []))
    said = app("x=1,2", "apparatus.workers=1", f"hydra.sweep.dir={place}", "hydra.launcher.resume=outputs/a")
    assert "2 of 2 jobs are done already" in said
    assert not Path("payload").exists()


def test_a_value_is_unpickled_where_a_program_asks_for_it(project):
    app("x=1", "apparatus.workers=1", "hydra.sweep.dir=outputs/a")
    forge(Path("outputs/a/0/record.json"), "payload")
    from mini import Run

    Run.open("a").results()
    assert Path("payload").exists()


def test_an_exception_in_a_record_is_text(tmp_path):
    def fail():
        raise ValueError("of the job")

    from mini import Job

    job = Job(0, fail, folder=str(tmp_path / "0"), record=True)
    with LocalApparatus(workers=1) as apparatus:
        list(apparatus.start(apparatus.encode([job])))
    forge(tmp_path / "0" / "record.json", tmp_path / "payload")
    outcome = read_record(tmp_path / "0").outcome
    assert outcome.state is State.FAILED
    assert "of the job" in str(outcome.exception())
    assert not (tmp_path / "payload").exists()


def test_a_run_that_was_copied_from_a_volume_is_not_one_of_this_user(project, rehearsal, tmp_path):
    from mini.apparatus.modal.runs import copy_records

    app("x=1", "apparatus.workers=1", "hydra.sweep.dir=outputs/a")
    manifest = json.loads(Path("outputs/a/run.json").read_text())
    Path("evil.py").write_text("open('ran', 'w')")
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / "run.json").write_text(json.dumps({**manifest, "program": [str(tmp_path / "evil.py")]}))
    (forged / "jobs.jsonl").write_bytes(Path("outputs/a/jobs.jsonl").read_bytes())
    rehearsal.volume.upload(forged, "b")
    copy_records(rehearsal.volume, RunFolder("outputs/b"))
    said = mini("retry", "b", code=1)
    assert "as the volume test says" in said
    assert not Path("ran").exists()


@as_root
def test_a_run_of_another_user_who_says_it_is_mine_is_not_begun(project):
    app("x=1", "apparatus.workers=1", "hydra.sweep.dir=outputs/a")
    manifest = Path("outputs/a/run.json")
    Path("evil.py").write_text("open('ran', 'w')")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "program": ["evil.py"]}))
    os.chown(manifest, NOBODY, NOBODY)
    mini("retry", "a", code=1)
    assert not Path("ran").exists()


def test_what_holds_arguments_and_what_the_control_plane_keeps_is_private(rehearsal, tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        made = apparatus.spawn(str, ["an argument"], name="left")
        made.wait()
    private = [made.folder.path / "driver.pkl", rehearsal.loopback.state.folder, rehearsal.loopback.state.sockets]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in private] == [0, 0, 0]


@pytest.fixture
def open_folder():
    """A folder that every user gets to; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


LOOK = f"""
import os, sys, socket
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
for path in sys.argv[1:]:
    for what in (lambda: open(path, "rb").read(1), lambda: os.listdir(path), lambda: open(path, "ab"),
                 lambda: os.rename(path, path + "-"), lambda: socket.socket(socket.AF_UNIX).connect(path)):
        try:
            what()
        except OSError:
            continue
        print("let in:", path)
print(os.getuid(), "has looked")
"""


@as_root
def test_another_user_gets_nowhere(rehearsal, monkeypatch, open_folder):
    monkeypatch.chdir(open_folder)
    with LocalApparatus(workers=1) as apparatus:
        made = apparatus.spawn(str, ["an argument"], name="left")
        made.wait()
    assert rehearsal.run(abs, -1) == 1
    state = rehearsal.loopback.state
    paths = [made.folder.path / "driver.pkl", state.folder, state.sockets, *state.sockets.iterdir()]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOOK, *map(str, paths)], cwd="/", capture_output=True, text=True
    )
    assert made.folder.path.is_relative_to(open_folder)
    assert done.stdout == f"{NOBODY} has looked\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("image.env.MY_KEY=sk-1", "image.env.MY_KEY=***"),
        ("+image.env.ANY=text", "+image.env.ANY=***"),
        ("apparatus.env={A: x, B: y}", "apparatus.env=***"),
        ("hydra.launcher.apparatus.env.A=x", "hydra.launcher.apparatus.env.A=***"),
        ("image.env.OMP_NUM_THREADS=4", "image.env.OMP_NUM_THREADS=4"),
        ("image.env.A=${oc.env:A}", "image.env.A=${oc.env:A}"),
        ("env.name=CartPole-v1", "env.name=CartPole-v1"),
        ("url=https://me:pw@host/x", "url=https://***@host/x"),
        ("url=https://host/x@2:3", "url=https://host/x@2:3"),
    ],
)
def test_what_jobs_get_in_their_environment_is_masked(written, kept):
    assert masking.mask({"command": [written]}) == {"command": [kept]}


def test_variables_for_jobs_are_not_in_what_is_written_down(project):
    app("x=1", "image.env.ANY=not-to-be-seen", "apparatus.workers=1", "hydra.sweep.dir=outputs/a")
    ours = [path for path in Path("outputs/a").rglob("*") if path.is_file() and ".hydra" not in path.parts]
    for path in ours:
        if path.name != "multirun.yaml":  # Hydra's
            assert b"not-to-be-seen" not in path.read_bytes(), path
