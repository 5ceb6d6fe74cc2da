"""Runs on Modal that outlive the command, over the wire, looked at with the CLI."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mini import ModalApparatus, Run, job_dir, progress
from mini.apparatus.handle import begin
from mini.apparatus.modal import runs
from mini.errors import ImageError
from mini.job import Job, Outcome, State
from mini.limits import Limits
from mini.loopback.plane import Loopback
from mini.runs.folder import RunFolder
from mini.runs.records import encode_record
from mini.runs.status import RunState

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(90)
READING = {"FunctionCreate", "ImageGetOrCreate", "AppCreate", "FunctionMap"}


@pytest.fixture
def cloud(monkeypatch, tmp_path, in_project):
    """A control plane that outlives any client, and a token for it."""
    from modal.config import config

    known = {"server_url": None}
    original = config.get
    monkeypatch.setattr(config, "get", lambda name, *a, **k: known.get(name) or original(name, *a, **k))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The environment of the containers need not be made again for each test.
    with Loopback() as loopback:
        token_id, secret = loopback.token
        known |= {"server_url": loopback.url, "token_id": token_id, "token_secret": secret}
        environment = {"MODAL_SERVER_URL": loopback.url, "MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield loopback
        for client in runs.clients.values():
            client.__exit__(None, None, None)
        runs.clients.clear()


def mini(*arguments, code=0, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "mini.cli", *arguments], capture_output=True, text=True, timeout=60, cwd=cwd
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def spawn(fn, *iterables, name, **options):
    with ModalApparatus("mini", **options) as apparatus:
        return apparatus.spawn(fn, *iterables, name=name)


def test_an_image_whose_containers_do_not_start_is_not_deployed(cloud):
    cloud.faults.startup_exit = 7
    with pytest.raises(ImageError, match=r"do not start, and nothing was deployed: .*exited with code 7"):
        spawn(abs, [1], name="left")
    assert not any(app.deployed for app in cloud.state.apps.values())
    assert not Path("outputs/left").exists()


def test_a_run_goes_on_without_a_client_and_is_found_from_another_checkout(cloud, tmp_path):
    def work(x):
        time.sleep(0.3)
        print("job", x)
        (job_dir() / "file.txt").write_text(str(x))
        return {"square": x * x}

    run = spawn(work, range(6), name="left", max_containers=2)
    assert run.status().state is RunState.RUNNING
    assert run.wait(60).counts == {"done": 6}
    assert run.results() == [{"square": x * x} for x in range(6)]
    assert "job 3" in run.logs(3)

    other = tmp_path / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "mini"\n')
    before = Counter(cloud.state.requests)
    assert mini("ls", "--app", "modal", cwd=other) == "left\n"
    assert "left  done  6 done  modal" in mini("status", "le", "--app", "modal", cwd=other)
    table = json.loads(mini("results", "--app", "modal", "--json", cwd=other))
    assert [row["square"] for row in table] == [x * x for x in range(6)]
    assert "job 3" in mini("logs", "left", "3", "--app", "modal", cwd=other)
    assert not READING & (Counter(cloud.state.requests) - before).keys(), "reading starts nothing"
    assert "6 files" in mini("pull", "left", "--include", "*/file.txt", cwd=other)
    assert (other / "outputs" / "left" / "5" / "file.txt").read_text() == "5"


def test_progress_is_seen_and_the_cache_may_vanish(cloud, tmp_path):
    def work(x):
        progress(3, 10, loss=0.5)
        while not (tmp_path / "go").exists():
            time.sleep(0.1)
        return x

    run = spawn(work, range(3), name="live", max_containers=1)
    deadline = time.monotonic() + 40
    while not any(job.live.get("step") == 3 for job in run.status().unfinished):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    counts = run.status().counts
    assert counts == {"queued": 2, "running": 1}
    (tmp_path / "go").touch()
    before = run.wait(60).as_json(), run.results()
    for entries in cloud.state.dicts.values():
        entries.clear()
    assert (run.status().as_json(), run.results()) == before


def test_cancelling_keeps_what_is_done(cloud):
    run = spawn(time.sleep, [0, 0, 60, 60, 60], name="stop", max_containers=2)
    deadline = time.monotonic() + 40
    while run.status().counts.get("done", 0) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert run.cancel().counts == {"cancelled": 3, "done": 2}
    assert run.status().state is RunState.STOPPED


def test_a_container_that_is_killed_costs_no_job(cloud):
    cloud.faults.kill_every = 5
    run = spawn(lambda x: x + 1, range(20), name="killed", max_containers=2)
    assert run.wait(80).counts == {"done": 20}
    assert run.results() == list(range(1, 21))


def test_a_job_that_is_lost_for_good_is_settled_by_whoever_looks(cloud):
    def die(x):
        if x == 1:
            os._exit(9)
        return x

    run = spawn(die, range(3), name="lost", max_containers=1)
    assert run.wait(80).counts == {"done": 2, "lost": 1}
    assert "lost" in mini("logs", "lost")


def is_gone(cloud, run):
    """Whether nothing of a run is left on the control plane but its files."""
    names = {getattr(one, "name", "") for one in cloud.state.apps.values() if not one.stopped}
    return is_stopped(cloud) and not any(run in name for name in names) and not any_dict(cloud, run)


def is_stopped(cloud):
    return all(one.stopped for one in cloud.state.apps.values() if one.deployed)


def any_dict(cloud, run):
    import modal

    return any(run in one.name for one in modal.Dict.objects.list(client=runs.connection()))


def eventually(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("limit", [{"deadline": 3.0}, {"max_failures": 2}])
def test_a_limit_is_kept_though_nobody_looks(cloud, tmp_path, limit):
    def work(x):
        (tmp_path / f"began-{x}").touch()
        time.sleep(2)
        raise ValueError(x)

    folder = RunFolder("outputs/limited")
    jobs = [Job(i, work, (i,), folder=str(folder.path / str(i)), record=True) for i in range(30)]
    given = {"deadline": time.time() + limit["deadline"]} if "deadline" in limit else limit
    with ModalApparatus("mini", max_containers=1) as apparatus:
        begin([(apparatus, jobs)], folder, {"began": time.time(), "apparatus": ["modal"]}, Limits(**given))
    eventually(lambda: is_stopped(cloud))  # on the control plane itself: nobody asks it anything
    assert len(list(tmp_path.glob("began-*"))) < 10
    now = Run(folder).status()
    assert now.state is RunState.STOPPED
    assert now.counts["cancelled"] >= 20
    assert sum(now.counts.values()) == 30
    assert is_gone(cloud, "limited")


def test_a_run_that_is_over_leaves_nothing_but_its_files(cloud):
    spawn(abs, range(4), name="tidy", max_containers=2)
    eventually(lambda: is_stopped(cloud))
    assert is_gone(cloud, "tidy")
    assert Run.open("tidy").results() == [0, 1, 2, 3]


def test_a_job_that_takes_every_container_with_it_is_given_up(cloud, tmp_path):
    def crash(x):
        with (tmp_path / f"ran-{x}").open("a") as file:
            file.write("x")
        if x == 0:
            os._exit(3)
        return x

    run = spawn(crash, range(3), name="crash", max_containers=1)
    eventually(lambda: is_stopped(cloud))
    assert run.status().counts == {"done": 2, "lost": 1}
    assert [(tmp_path / f"ran-{x}").read_text() for x in range(3)] == ["xxx", "x", "x"]


def test_several_kinds_of_gpu_are_one_run(cloud):
    folder = RunFolder("outputs/kinds")
    with ModalApparatus("mini", max_containers=1) as apparatus:
        views = [apparatus.w(gpu=gpu) for gpu in ("T4", "A100")]
        placements = [
            (
                view,
                [Job(2 * i + k, abs, (-i,), folder=str(folder.path / str(2 * i + k)), record=True) for i in range(2)],
            )
            for k, view in enumerate(views)
        ]
        begin(placements, folder, {"began": time.time(), "apparatus": ["modal"]})
    assert Run(folder).wait(60).counts == {"done": 4}
    assert Run(folder).results() == [0, 0, 1, 1]
    gpus = {f.definition.resources.gpu_config.gpu_type for f in cloud.state.functions.values() if f.definition}
    assert gpus >= {"T4", "A100"}


def test_two_thousand_jobs_are_read_in_few_requests(cloud):
    run = spawn(abs, [1], name="big")
    run.wait(60)
    folder, volume = run.folder, next(iter((cloud.plane._folder / "volumes").iterdir()))
    # As two thousand jobs in eight containers would have left it.
    lines = [json.dumps({"index": i, "folder": str(i), "key": "", "row": {}}) + "\n" for i in range(2000)]
    (folder.path / "jobs.jsonl").write_text("".join(lines))
    for container in range(8):
        records = [
            encode_record(Outcome(i, State.DONE, pickled=b"N."), {"metrics.loss": i / 7})
            for i in range(container, 2000, 8)
        ]
        (volume / "big" / "records" / f"ta-{container}.jsonl").write_bytes(b"".join(records))
    before = cloud.state.requests.total()
    assert Run.open("big").status().counts == {"done": 2000}
    assert cloud.state.requests.total() - before < 30


def test_a_run_there_that_nobody_knows(cloud):
    spawn(abs, [1], name="known").wait(60)
    mini("status", "unknown", "--app", "modal", code=4)


def test_a_client_that_is_killed_leaves_a_run_that_can_be_looked_at_and_resumed(cloud, tmp_path):
    script = tmp_path / "counting.py"
    script.write_text(
        "import time, hydra\nfrom pathlib import Path\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n"
        "    with Path(cfg.marks, str(cfg.x)).open('a') as file:\n        file.write('x')\n"
        "    time.sleep(0.3)\n    return cfg.x\n"
        "main()\n"
    )
    (tmp_path / "marks").mkdir()
    command = [
        *(sys.executable, script, "-m", "hydra/launcher=apparatus", "hydra.launcher.apparatus=modal"),
        *(f"+marks={tmp_path}/marks", "+x=range(0,12)"),
    ]
    client = subprocess.Popen(
        [*command, "hydra.sweep.dir=outputs/first"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 40
    while len(list((tmp_path / "marks").iterdir())) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    client.kill()
    client.wait()
    time.sleep(1.5)  # what runs goes on to its end
    finished = Run.open("first").status().counts["done"]
    assert finished >= 2
    before = {path.name: path.read_text() for path in (tmp_path / "marks").iterdir()}
    done = subprocess.run(
        [
            *command,
            "hydra.launcher.apparatus=local",
            "hydra.sweep.dir=outputs/second",
            "hydra.launcher.resume=first",
            "hydra.launcher.reuse=anywhere",
        ],
        capture_output=True,
        text=True,
        timeout=80,
    )
    taken = int(done.stderr.split(" of 12 jobs are done already")[0].rsplit(maxsplit=1)[-1])
    assert taken >= finished, done.stderr
    assert before
    assert Run.open("second").status().counts == {"done": 12}


@pytest.mark.slow
def test_a_hydra_sweep_may_be_left_on_modal(cloud):
    application = PROJECT / "tests" / "launcher" / "application.py"
    done = subprocess.run(
        [
            *(sys.executable, application, "apparatus=modal", "gpu=t4", "x=0,1,2", "do=raise"),
            *("hydra.launcher.detach=true", "hydra.sweep.dir=outputs/sweep"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "mini watch sweep" in done.stdout, done.stderr
    assert "sweep: failed, 2 done, 1 failed" in mini("watch", "sweep", code=1)
    # And what failed there is tried again here.
    assert (
        "[1/1] #1 failed"
        in subprocess.run(
            [sys.executable, "-m", "mini.cli", "retry", "sweep", "--apparatus", "local"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stderr
    )


def test_a_job_that_is_preempted_again_and_again_is_not_given_up(cloud, tmp_path):
    def work(x):
        marks = job_dir() / "marks.txt"
        seen = marks.read_text() if marks.exists() else ""
        marks.write_text(seen + "x")
        if len(seen) < 4:
            os.kill(os.getpid(), signal.SIGINT)  # as Modal takes a container away
            time.sleep(60)
        return len(seen)

    run = spawn(work, range(2), name="preempted", max_containers=1)
    assert run.wait(85).counts == {"done": 2}
    assert run.results() == [4, 4]
