"""Volumes where a container wants them, and this machine's own folders as they were."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import modal
import pytest

from mini.loopback import private_mounts

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not private_mounts.available(), reason="no process gets mounts of its own on this machine"),
]


def seen(path):
    """All that is below a folder, with its content."""
    return {
        str(found.relative_to(path)): found.read_text() if found.is_file() else None
        for found in sorted(Path(path).rglob("*"))
    }


def rampage(path):
    """Empties a folder, as a job does that clears its volume first, and leaves a file of its own."""
    import shutil
    from pathlib import Path

    import modal

    for found in Path(path).iterdir():
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    Path(path, "of-the-job.txt").write_text("x")
    modal.Volume.from_name("v").commit()
    return sorted(found.name for found in Path(path).iterdir())


rampage.__module__ = "__main__"  # it travels by value: the container has no module of that name


def run_in_container(client, path):
    app, volume = modal.App("mounts"), modal.Volume.from_name("v", create_if_missing=True, version=2, client=client)
    function = app.function(
        serialized=True, image=modal.Image.debian_slim(), name="rampage", volumes={str(path): volume}
    )(rampage)
    with app.run(client=client):
        return function.remote(str(path)), [entry.path for entry in volume.listdir("/")]


def test_a_folder_that_exists_here_is_left_alone(client, tmp_path):
    here = tmp_path / "data"
    (here / "deep").mkdir(parents=True)
    (here / "deep" / "mine.txt").write_text("precious")
    (here / "mine.txt").write_text("too")
    before = seen(tmp_path)
    assert run_in_container(client, here) == (["of-the-job.txt"], ["of-the-job.txt"])
    assert seen(tmp_path) == before


@pytest.mark.parametrize("below", ["", "/deep/er", "/root", "/etc", "/var/lib"])
def test_a_path_that_does_not_exist_here_is_not_made(client, below):
    name = f"of-a-test-{uuid4().hex}"
    path = f"/{name}{below}" if below in ("", "/deep/er") else f"{below}/{name}"
    assert run_in_container(client, path) == (["of-the-job.txt"], ["of-the-job.txt"])
    assert not os.path.lexists(path)
    assert not os.path.lexists(f"/{name}")


def test_a_file_is_no_mount_point_and_it_is_said_at_once(client, plane, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(modal.exception.Error, match="is a file on this machine; choose another path"):
        run_in_container(client, tmp_path / "file" / "data")
    assert (tmp_path / "file").read_text() == "mine"
    assert not plane.state.calls


# PR_SET_DUMPABLE: a process that has changed its user without a new program may not write its own files under /proc.
ORDINARY = """
import ctypes, json, os, sys
from pathlib import Path
from mini.loopback import own_mounts
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)
own_mounts.enter(json.loads(sys.argv[1]), sys.argv[2])
for path in json.loads(sys.argv[1]):
    for found in Path(path).iterdir():
        found.unlink()
    Path(path, "of-the-job.txt").write_text("x")
print(os.getuid(), open("/proc/self/mountinfo").read().count("mini"))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user of this machine")
def test_an_ordinary_user_has_mounts_of_its_own_too(tmp_path):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest", "popen")):
            folder.chmod(0o755)
    places = {name: tmp_path / name for name in ("here", "volume", "other", "newroot")}
    for path in places.values():
        path.mkdir()
        os.chown(path, 65534, 65534)
    (places["here"] / "mine.txt").write_text("precious")
    (places["volume"] / "old.txt").write_text("of the volume")
    for path in (places["here"] / "mine.txt", places["volume"] / "old.txt"):
        os.chown(path, 65534, 65534)
    top = f"/of-a-test-{uuid4().hex}"
    mounts = {str(places["here"]): str(places["volume"]), top: str(places["other"])}
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY, json.dumps(mounts), str(places["newroot"])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "65534"
    assert seen(places["here"]) == {"mine.txt": "precious"}
    assert seen(places["volume"]) == seen(places["other"]) == {"of-the-job.txt": "x"}
    assert not os.path.lexists(top)
    assert not list(places["newroot"].iterdir())


def test_only_files_are_on_a_volume_and_the_rest_is_told(client, until):
    def odd():
        import os
        import socket
        from pathlib import Path

        import modal

        os.chdir("outputs")
        Path("file").write_text("x")
        Path("inside").symlink_to("file")
        Path("outside").symlink_to("/etc/passwd")
        Path("nowhere").symlink_to("/no/such/thing")
        Path("circle").symlink_to("circle")
        Path("above").symlink_to("..")
        os.mkfifo("pipe")
        Path(os.fsdecode(b"\xff\xfe")).write_text("x")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket")
        modal.Volume.from_name("odd").commit()

    app, volume = modal.App("odd"), modal.Volume.from_name("odd", create_if_missing=True, version=2, client=client)
    app.function(
        serialized=True,
        image=modal.Image.debian_slim(),
        name="odd",
        volumes={"/root/outputs": volume},
        single_use_containers=True,
    )(odd)
    app.deploy(client=client)
    modal.Function.from_name("odd", "odd", client=client).remote()
    deployed = modal.App.lookup("odd", client=client)
    assert {entry.path for entry in volume.listdir("/")} == {"file", "inside"}
    told = until(lambda: "".join(entry.message for entry in deployed.logs.tail(1000, source="system")))
    for name in ("outside", "nowhere", "circle", "above", "pipe", "socket", r"\udcff\udcfe"):
        assert name in told
