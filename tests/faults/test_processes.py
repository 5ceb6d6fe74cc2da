"""Nothing that a job has started outlives what answers for it."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import audit
import pytest

from mini import Job, LocalApparatus
from mini.job import State

pytestmark = pytest.mark.timeout(300)

CLIENT = """
import os, subprocess, sys, time
from pathlib import Path
from mini import Job, LocalApparatus
from mini.batch import Placement, Silent, run_jobs
from mini.runs.folder import RunFolder

def work(x):
    child = subprocess.Popen(["sleep", "1000"])
    started = f"sleep 1000 & echo $! >>started-{x}; setsid sleep 1000 & echo $! >>started-{x}; "
    shell = subprocess.Popen(started + "wait", shell=True)
    subprocess.Popen(["sh", "-c", started + "exit"]).wait()
    while not os.path.exists(f"started-{x}") or len(pids := open(f"started-{x}").read().split()) < 4:
        time.sleep(0.05)
    Path(f"pids-{x}.new").write_text(" ".join([str(os.getpid()), str(child.pid), str(shell.pid), *pids]))
    os.rename(f"pids-{x}.new", f"pids-{x}")
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pass

if __name__ == "__main__":
    folder = RunFolder("outputs/run")
    jobs = [Job(i, work, (i,), folder=str(folder.path / str(i)), record=True) for i in range(2)]
    with LocalApparatus(workers=2) as apparatus:
        run_jobs([Placement(apparatus, jobs)], folder, Silent(), {})
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def pids(path):
    wait_until(path.exists, f"{path} is not there")
    return [int(word) for word in path.read_text().split()]


def sleepers(folder):
    """Processes that were started in a folder and are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").readlink() == folder and is_alive(path.name):
                found.append(int(path.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "KILL"])
def test_a_client_that_is_killed_leaves_no_process(tmp_path, name):
    # Whoever started these tests may ignore a signal (nohup), and children inherit that.
    heeding = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    heeding += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "client.py").write_text(heeding + CLIENT)
    client = subprocess.Popen([sys.executable, "client.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        known = [pid for x in (0, 1) for pid in pids(tmp_path / f"pids-{x}")]
        assert len(known) == 14
        assert all(map(is_alive, known))
    finally:
        client.send_signal(getattr(signal, f"SIG{name}"))
        client.wait()
    wait_until(lambda: not any(map(is_alive, known)), "a process of a job is left")
    wait_until(lambda: not sleepers(tmp_path), f"left in the folder: {sleepers(tmp_path)}")


def spawning(folder, then):
    def work():
        child = subprocess.Popen(["sleep", "1000"])
        subprocess.Popen(["sh", "-c", f"setsid sleep 1000 & echo $! > {folder}/daemon"]).wait()
        daemon = Path(folder, "daemon").read_text().strip()
        Path(folder, "pids.new").write_text(f"{os.getpid()} {child.pid} {daemon}")
        Path(folder, "pids.new").rename(Path(folder, "pids"))
        then()

    return work


@linux
def test_what_a_job_started_goes_with_its_timeout(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        view = apparatus.w(timeout=5)
        (outcome,) = view.start(view.encode([Job(0, spawning(tmp_path, lambda: time.sleep(1000)))]))
        assert outcome.state is State.TIMEOUT
        wait_until(lambda: not any(map(is_alive, pids(tmp_path / "pids"))), "a process is left")
        assert apparatus.run(abs, -1) == 1


@linux
@pytest.mark.parametrize("stubborn", [False, True])
def test_what_a_job_started_goes_when_it_is_stopped(tmp_path, stubborn):
    def sleep():
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1000)

    with LocalApparatus(workers=1) as apparatus:
        stream = apparatus.start(apparatus.encode([Job(0, spawning(tmp_path, sleep))]))
        known = pids(tmp_path / "pids")
        stream.stop(0)
        assert [outcome.state for outcome in stream] == [State.CANCELLED]
        wait_until(lambda: not any(map(is_alive, known)), "a process is left")


@linux
@pytest.mark.parametrize("how", [lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_what_a_job_started_goes_with_its_process(tmp_path, how):
    with LocalApparatus(workers=1) as apparatus:
        (outcome,) = apparatus.start(apparatus.encode([Job(0, spawning(tmp_path, how))]))
        assert outcome.state is State.LOST
        wait_until(lambda: not any(map(is_alive, pids(tmp_path / "pids"))), "a process is left")


@linux
def test_a_worker_whose_warden_is_killed_ends_too_with_all_that_its_job_started(tmp_path):
    def sleep():
        warden = os.getppid()
        Path(tmp_path, "warden.new").write_text(str(warden))
        Path(tmp_path, "warden.new").rename(Path(tmp_path, "warden"))
        time.sleep(1000)

    with LocalApparatus(workers=1) as apparatus:
        stream = apparatus.start(apparatus.encode([Job(0, spawning(tmp_path, sleep))]))
        (warden,) = pids(tmp_path / "warden")
        known = pids(tmp_path / "pids")
        assert all(map(is_alive, known))
        os.kill(warden, signal.SIGKILL)
        assert [outcome.state for outcome in stream] == [State.LOST]
        wait_until(lambda: not any(map(is_alive, known)), "a process is left")
        assert apparatus.run(abs, -1) == 1


@linux
@pytest.mark.parametrize("how", ["daemon", "no files", "of its own"])
def test_a_daemon_of_a_job_ends_with_its_worker(tmp_path, how):
    def work():
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                if how == "of its own":
                    os.chdir("/")
                    os.closerange(0, 4096)
                elif how == "no files":
                    os.closerange(0, 3)
                Path(tmp_path, "pids.new").write_text(str(os.getpid()))
                Path(tmp_path, "pids.new").rename(Path(tmp_path, "pids"))
                time.sleep(1000)
            os._exit(0)
        os.wait()
        while not Path(tmp_path, "pids").exists():
            time.sleep(0.05)

    with LocalApparatus(workers=1) as apparatus:
        apparatus.run(work)
        (daemon,) = pids(tmp_path / "pids")
    wait_until(lambda: not is_alive(daemon), "the daemon is left")


IN_CONTAINERS = """
import os, subprocess, sys, time
from pathlib import Path
from mini import RehearsalApparatus

def work(x, token):
    import subprocess, time
    for alone in (False, True):
        subprocess.Popen(["sleep", f"1000.{token}"], start_new_session=alone)
    time.sleep(1000 if x else 0)
    return x

if __name__ == "__main__":
    with RehearsalApparatus("test", project=Path(sys.argv[1]), max_containers=2) as apparatus:
        for done in apparatus.map(work, range(2), [sys.argv[2]] * 2):
            print(apparatus.loopback.state.folder, flush=True)
"""


@linux
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "KILL"])
def test_a_client_of_containers_that_is_killed_leaves_neither_processes_nor_folders(tmp_path, name):
    heeding = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    heeding += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "client.py").write_text(heeding + IN_CONTAINERS)
    token = str(secrets.randbelow(10**12))  # a sandbox shows nothing else of where its processes belong
    client = subprocess.Popen(
        [sys.executable, "client.py", Path(__file__).parents[2], token],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        folder = client.stdout.readline().strip()
        assert Path(folder).is_dir()
        wait_until(lambda: len(audit.processes(f"sleep\0001000.{token}")) == 4, "the containers have not begun")
    finally:
        client.send_signal(getattr(signal, f"SIG{name}"))
        client.communicate()
    wait_until(lambda: not audit.processes(folder, f"1000.{token}"), "a process of a container is left")
    wait_until(lambda: not Path(folder).exists(), "the folder is left")


def test_exit_handlers_and_threads_of_a_job_finish_when_its_worker_ends_in_good_order(tmp_path):
    def work(x):
        import atexit
        import threading

        def late():
            time.sleep(1)
            (tmp_path / f"thread-{x}").touch()

        atexit.register((tmp_path / f"handler-{x}").touch)
        threading.Thread(target=late).start()

    with LocalApparatus(workers=2) as apparatus:
        list(apparatus.map(work, range(3)))
        list(apparatus.w(fresh=True).map(work, [3]))
    assert sorted(path.name for path in tmp_path.glob("*-*")) == sorted(
        f"{kind}-{x}" for kind in ("handler", "thread") for x in range(4)
    )


def test_a_job_whose_folder_another_process_still_works_in_does_not_begin(tmp_path, monkeypatch):
    from mini.worker import execution

    monkeypatch.setattr(execution, "_PATIENCE", 0.2)
    folder = tmp_path / "0"
    holder = (
        "import fcntl, sys, time\n"
        f"log = open({str(folder / 'log.txt')!r}, 'a'); fcntl.flock(log, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(1000)"
    )
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        job = Job(0, (tmp_path / "began").touch, folder=str(folder), record=True)
        from mini import DebugApparatus

        apparatus = DebugApparatus()
        (outcome,) = apparatus.start(apparatus.encode([job]))
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert outcome.state is State.FAILED
    assert "another process" in str(outcome.failure)
    assert not (tmp_path / "began").exists()
    assert not (folder / "record.json").exists()
    (outcome,) = apparatus.start(apparatus.encode([job]))
    assert outcome.ok
