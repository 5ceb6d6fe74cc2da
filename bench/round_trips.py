"""How many round trips to Modal stand one after the other before a command has its answer.

Each program runs against a control plane on loopback whose clients are 0, 40 and 80 ms of round trip away. The slope of
its time over the added latency is the number of round trips that waited for each other; what runs at once with
another counts for nothing. Each figure is the best of several rounds, since what else runs here only adds to it.

`ROUND_TRIPS=0,500` (milliseconds) and `ROUNDS=2` choose others: a busy machine needs larger latencies.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LATENCIES = [float(word) / 1000 for word in os.environ.get("ROUND_TRIPS", "0,40,80").split(",")]
ROUNDS = int(os.environ.get("ROUNDS", "5"))
GOALS = {"ModalApparatus.run": 2, "python -m one apparatus=modal": 8}
"""Round trips that each may need beyond those of the bare program."""

BARE = """import modal
app = modal.App("bare")
function = app.function(serialized=True, image=modal.Image.debian_slim(), name="plain")(lambda x: x + 1)
with app.run():
    assert function.remote(1) == 2
"""
RUN = """from mini import ModalApparatus
with ModalApparatus("bench") as apparatus:
    assert apparatus.run(lambda x: x + 1, 1) == 2
"""
APPLICATION = """import hydra
@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(config):
    return {"loss": config.x + 1}
if __name__ == "__main__":
    main()
"""
PROGRAMS = {
    "a bare modal program": ["-c", BARE],
    "ModalApparatus.run": ["-c", RUN],
    "python -m one apparatus=modal": ["-m", "one", "apparatus=modal"],
}


def main():
    seconds = {name: {latency: [] for latency in LATENCIES} for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name))
        for latency in LATENCIES:
            with plane(latency) as environment:
                for program in PROGRAMS.values():  # what later commands find, they find from the first
                    timed(program, project, environment)
                for _ in range(ROUNDS):
                    for what, program in PROGRAMS.items():
                        seconds[what][latency].append(timed(program, project, environment))
    return show({what: {latency: min(found) for latency, found in of.items()} for what, of in seconds.items()})


def make_project(folder):
    """A Hydra application that needs nothing, with a lock."""
    (folder / "pyproject.toml").write_text('[project]\nname = "one"\nversion = "1"\nrequires-python = ">=3.11"\n')
    subprocess.run(["uv", "lock", "--offline", "-q"], cwd=folder, check=True)
    for file, text in {
        "conf/config.yaml": "defaults: [mini, _self_]\nx: 1\n",
        "src/one/__init__.py": "",
        "src/one/__main__.py": APPLICATION,
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


class plane:
    """A control plane in a process of its own, so far away.

    Args:
        latency: Seconds of a round trip.
    """

    def __init__(self, latency):
        command = [sys.executable, "-m", "mini.loopback", "--latency", f"{latency * 1000:g}ms"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = self._process.stdout.readline().split()
        self._environment = dict(word.split("=", 1) for word in said) | {"MODAL_CONFIG_PATH": os.devnull}

    def __enter__(self):
        return self._environment

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)
        self._process.stdout.close()


def timed(program, project, environment):
    """The wall seconds of a program, from its start to its end."""
    variables = {**os.environ, **environment, "PYTHONPATH": str(project / "src")}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *program], cwd=project, env=variables, capture_output=True, text=True)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return took


def show(seconds):
    figures = {what: {"seconds": list(of.values()), "round trips": slope(of)} for what, of in seconds.items()}
    bare = figures["a bare modal program"]["round trips"]
    asked = ", ".join(f"{latency * 1000:g}" for latency in LATENCIES)
    print(f"seconds at {asked} ms of round trip, and round trips in sequence")
    for what, of in figures.items():
        took = "  ".join(f"{one:5.2f}" for one in of["seconds"])
        more = GOALS.get(what)
        goal = "" if more is None else f"  (bare {of['round trips'] - bare:+.1f}; goal +{more})"
        print(f"  {what:30} {took}   {of['round trips']:5.1f}{goal}")
    return {"latencies": LATENCIES, "rounds": ROUNDS, **figures}


def slope(times):
    """Seconds for each second of latency."""
    return statistics.linear_regression(list(times), list(times.values())).slope


if __name__ == "__main__":
    main()
