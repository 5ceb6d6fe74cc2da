"""How much of this machine containers see, and what is said where it is more than on Modal."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini import RehearsalApparatus
from mini.apparatus.rehearsal import choice, debian
from mini.errors import ImageError, OptionError
from mini.loopback import layers, local_data, sandbox
from mini.loopback.plane import Loopback

APPLICATION = Path(__file__).parents[1] / "launcher" / "application.py"
PROJECT = Path(__file__).parents[2]

needs_a_sandbox = pytest.mark.skipif(
    (why := sandbox.problem() or debian.problem()) is not None, reason=f"no sandbox here: {why}"
)


def rehearse(*overrides, env=None):
    return subprocess.run(
        [sys.executable, APPLICATION, "apparatus=rehearsal", *overrides],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )


def without_bubblewrap(tmp_path):
    """An environment on whose path everything is but bubblewrap."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "uv", "sh"):
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))  # uv takes none of an environment to lock with
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{programs}"}


def test_without_bubblewrap_the_lesser_isolation_is_said(in_project, tmp_path):
    done = rehearse("x=1", env=without_bubblewrap(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "containers see the files, programs and network of this machine" in done.stderr
    assert "apt-get install bubblewrap" in done.stderr


def test_a_sandbox_that_was_asked_for_is_not_replaced_in_silence(in_project, tmp_path):
    done = rehearse("x=1", "apparatus.isolated=sandbox", env=without_bubblewrap(tmp_path))
    assert done.returncode == 1
    assert "bubblewrap is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_isolation_as_it_was_written_before():
    for given, meant in ((True, "packages"), (False, "none"), ("none", "none"), (None, None)):
        with RehearsalApparatus("test", isolated=given) as apparatus:
            assert apparatus.options.isolated == meant
    with pytest.raises(OptionError, match="did you mean 'sandbox'"):
        RehearsalApparatus("test", isolated="sandbx")


@needs_a_sandbox
def test_a_container_has_a_root_of_its_own_and_the_control_plane_hands_it_large_values():
    def look(data):
        import os
        import sys

        return list(Path("/home").iterdir()), sys.executable, os.environ.get("SECRET_OF_THIS_SHELL"), len(data)

    os.environ["SECRET_OF_THIS_SHELL"] = "1"
    try:
        with RehearsalApparatus("test", project=PROJECT, isolated="sandbox") as apparatus:
            assert apparatus.run(look, b"x" * 5_000_000) == ([], "/usr/local/bin/python", None, 5_000_000)
    finally:
        del os.environ["SECRET_OF_THIS_SHELL"]


@needs_a_sandbox
@pytest.mark.slow
def test_what_vanishes_is_said_with_the_job_that_wrote_it(in_project):
    done = rehearse("do=square", "x=1,2", "apparatus.isolated=sandbox", "hydra.job.chdir=false", "+leave=/opt/left.txt")
    assert done.returncode == 0, done.stderr
    assert "gone with its container: /opt/left.txt" in done.stderr
    assert "written by job" in done.stderr


@needs_a_sandbox
def test_a_step_that_fails_ends_with_its_log():
    from mini.apparatus.groups import Image

    with (
        RehearsalApparatus("test", project=PROJECT, isolated="sandbox") as apparatus,
        pytest.raises(ImageError, match=r"(?s)said before.*`RUN echo said before; exit 3` exited with code 3"),
    ):
        apparatus.w(image=Image(run=("echo said before; exit 3",))).ready()


def test_what_an_env_step_sets():
    assert dict(layers.assigned("""A='a "b" c'"'"'d $X' B=2""", {"X": "x"})) == {"A": """a "b" c'd $X""", "B": "2"}
    assert dict(layers.assigned("PATH=/opt/bin:$PATH", {"PATH": "/bin"})) == {"PATH": "/opt/bin:/bin"}
    assert dict(layers.assigned("OLD form of it", {})) == {"OLD": "form of it"}


def test_a_secret_of_a_file(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/one.env").write_text("# key\nexport A = '1 2'\nB=x=y\n")
    assert local_data.secret(tmp_path, "one") == {"A": "1 2", "B": "x=y"}
    assert local_data.secret(tmp_path, "two") is None
    assert local_data.secret(tmp_path, "../secrets/one") is None
    (tmp_path / "secrets/one.env").write_text("my-password\n")
    with pytest.raises(ValueError, match="line 1") as raised:
        local_data.secret(tmp_path, "one")
    assert "password" not in str(raised.value)


@pytest.mark.parametrize(("code", "meant"), [(0, 0), (3, 3), (139, -11), (137, -9), (200, 200)])
def test_a_signal_is_told_from_an_exit_code(code, meant):
    assert sandbox.status(code) == meant


PROGRAM = """
import modal

def harvest():
    import os
    os.remove("/etc/issue")
    open("/opt/harvest.txt", "w").write("leeks")

image = modal.Image.debian_slim().run_function(harvest)
image = image.run_commands("sed -i s/leeks/soup/ /opt/harvest.txt")
app = modal.App("kitchen", image=image)

@app.function(serialized=True)
def cook(number):
    import os
    return open("/opt/harvest.txt").read() * number, os.path.exists("/etc/issue"), len(os.environ["MODAL_ENVIRONMENT"])

if __name__ == "__main__":
    with app.run():
        print(list(cook.map(range(4))))
"""


@needs_a_sandbox
@pytest.mark.slow
def test_far_and_failing_with_a_layer_that_a_function_left(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    with Loopback(sandbox=choice.sandbox(network=False), round_trip=0.02) as plane:
        plane.faults.kill_every, plane.faults.cold_start = 3, 0.1
        token_id, secret = plane.token
        place = {"MODAL_SERVER_URL": plane.url, "MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret}
        done = subprocess.run(
            [sys.executable, "program.py"],
            env={**os.environ, **place, "PYTHONPATH": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == str([("soup" * number, False, 4) for number in range(4)])
        assert sum(item.losses for item in plane.state.inputs.values()) > 0
