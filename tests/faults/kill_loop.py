"""Random signals to all that works on a run, which is resumed until it is done: `python -m tests.faults.kill_loop`.

Each round is a run of its own. While it goes on, signals hit its client, its workers, its detached driver or its
containers; then it is resumed, sometimes while the ones before are still on their way to their end. A job's value is a
number that no other try of it has, so that it can be told whether a result was kept.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import audit

PROJECT = Path(__file__).parents[2]
FAULTS = {
    "client": ("local", "rehearsal"),
    "workers": ("local",),
    "driver": ("detached",),
    "containers": ("rehearsal",),
}
LETHAL = ("TERM", "HUP", "INT", "KILL")
SIGNALS = (*LETHAL, "STOP")
TRIES = 12  # of a run, the last of them undisturbed
LONGEST = 600.0  # seconds for one try

WORK = '''
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path


def work(x, folder, journal):
    """A job of 20 ms that writes down when it begins, whether it had a result, and whether another is at it too."""
    nonce = f"{os.getpid()}-{time.time_ns()}"
    said = []
    lock = None
    journal = Path(journal)
    visible = journal.is_dir()
    if visible:
        lock = open(journal / f"{x}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            said.append(f"overlap {nonce}")
    try:
        if json.loads((folder / "record.json").read_bytes())["state"] == "done":
            said.append(f"again {nonce}")
    except (OSError, ValueError):
        pass
    if visible:
        with open(journal / f"{x}.txt", "a") as file:
            file.write("".join(f"{line}\\n" for line in [f"begin {nonce}", *said]))
    if x % 20 == 0:  # some leave a process that runs on
        subprocess.Popen(["sleep", "1000"], start_new_session=x % 40 == 0)
    time.sleep(0.02)
    if lock is not None:
        lock.close()
    return {"nonce": nonce}
'''

APPLICATION = """
import signal

for name in ("SIGHUP", "SIGTERM"):  # whoever started this may ignore them
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

import hydra

from mini import job_dir
from killed_work import work


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    return work(config.x, job_dir(), config.journal)


if __name__ == "__main__":
    main()
"""

SPAWN = """
import sys

from mini import Job, LocalApparatus
from mini.apparatus.handle import begin
from mini.runs import manifest
from mini.runs.folder import RunFolder


def call(x, journal):
    from mini import job_dir
    from killed_work import work

    return work(x, job_dir(), journal)


if __name__ == "__main__":
    jobs, run, journal = int(sys.argv[1]), RunFolder("outputs/r"), sys.argv[2]
    listed = [
        Job(x, call, (x, journal), folder=str(run.path / str(x)), run=str(run.path), record=True) for x in range(jobs)
    ]
    with LocalApparatus(workers=2) as apparatus:
        about = manifest.describe("call", jobs, {"local": [apparatus.manifest()]})
        begin([(apparatus, listed)], run, about)
"""


class Round:
    """One run that is hit until it is done.

    Args:
        fault: What is hit.
        engine: Where the jobs run.
        jobs: How many there are.
        chance: Decides when what is hit by which signal.
    """

    def __init__(self, fault, engine, jobs, chance):
        self.fault, self.engine, self.jobs, self.chance = fault, engine, jobs, chance
        self.top = Path(tempfile.mkdtemp(prefix="kill-loop-")).resolve()
        self.temporary, self.journal = self.top / "temporary", self.top / "journal"
        self.run = self.top / "outputs" / "r"
        self.known = {}
        self.lost, self.twice, self.left = [], [], []
        for folder in (self.temporary, self.journal, self.top / "conf"):
            folder.mkdir()
        for name in ("pyproject.toml", "uv.lock"):
            shutil.copy(PROJECT / name, self.top)
        shutil.copytree(PROJECT / "src", self.top / "src")
        (self.top / "killed_work.py").write_text(WORK)
        (self.top / "src" / "killed_work.py").write_text(WORK)
        (self.top / "app.py").write_text(APPLICATION)
        (self.top / "spawn.py").write_text(SPAWN)
        (self.top / "conf" / "config.yaml").write_text("defaults:\n  - mini\n  - _self_\nx: 0\njournal: ''\n")
        self.environment = {**os.environ, "TMPDIR": str(self.temporary), "HYDRA_FULL_ERROR": "1"}
        self.output = (self.top / "output.txt").open("ab")

    def start(self, number):
        """Start the run, or what goes on with it, and return the process; of a detached run that ends soon."""
        if self.engine == "detached":
            command = ["spawn.py", str(self.jobs), str(self.journal)]
            if (self.run / "driver.pkl").exists():
                command = ["-c", "from mini.apparatus.handle import Run\nRun.open('r').retry()"]
        else:
            command = ["app.py", f"x=range(0,{self.jobs})", f"journal={self.journal}", "hydra.sweep.dir=outputs/r"]
            command += [f"apparatus={self.engine}", "apparatus.workers=2" if self.engine == "local" else ""]
            # In a sandbox a job could not write down where it is seen at once that it runs.
            rehearsal = ["apparatus.max_containers=2", "apparatus.isolated=packages"]
            command += rehearsal if self.engine == "rehearsal" else []
            command += ["hydra.launcher.resume=r"] if (self.run / "jobs.jsonl").exists() else []
            if (self.run / "run.json").exists() and not (self.run / "jobs.jsonl").exists():
                shutil.rmtree(self.run)  # it was killed before it had listed a job: there is nothing to resume
        self.output.write(f"--- try {number}: {' '.join(command)}\n".encode())
        self.output.flush()
        return subprocess.Popen(
            [sys.executable, *filter(None, command)],
            cwd=self.top,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def play(self):
        """Start, hit and resume until all is done; then say what was wrong."""
        mounted = audit.mounts()
        for number in range(TRIES):
            client = self.start(number)
            if self.engine == "detached":
                client.wait(LONGEST)
            if number < 3:
                self.hit(client)
            self.wait_for(client)
            self.check()
            if len(self.known) == self.jobs:
                break
        self.check(last=True)
        self.left = audit.left_behind(self.top, self.temporary, mounted)
        self.output.close()
        clean = not (self.lost or self.twice or self.left)
        for pid in audit.processes(self.top):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if clean:
            shutil.rmtree(self.top)
        return clean

    # Hitting.

    def hit(self, client):
        """Send signals while it runs: one that ends a client or driver, or several to workers or containers."""
        single = self.fault in ("client", "driver")
        begun = self.begun()
        for _ in range(1 if single else self.chance.randint(1, 4)):
            begun += self.chance.randint(0, max(1, self.jobs // 2))
            while self.begun() < begun and self.goes_on(client):
                time.sleep(0.02)
            time.sleep(self.chance.random() * 0.1)
            victims = self.victims(client)
            if victims:
                self.send(self.chance.choice(victims), self.chance.choice(SIGNALS))

    def begun(self):
        """How many tries of jobs have begun, as far as their journals tell."""
        return sum(path.read_text().count("begin ") for path in self.journal.glob("*.txt"))

    def goes_on(self, client):
        return self.driver() is not None if self.engine == "detached" else client.poll() is None

    def driver(self):
        """The process that drives the detached run."""
        for pid in audit.processes(self.top):
            with contextlib.suppress(OSError):
                if b"mini.driver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def victims(self, client):
        """The processes that may be hit."""
        if self.fault == "client":
            return [client.pid] if client.poll() is None else []
        if self.fault == "driver":
            return [pid for pid in [self.driver()] if pid is not None]
        found = [pid for pid in audit.processes(self.top) if pid != client.pid]
        kind = b"MODAL_TASK_ID=" if self.fault == "containers" else b"local import warden"
        chosen = []
        for pid in found:
            with contextlib.suppress(OSError):
                path = Path(f"/proc/{pid}", "environ" if self.fault == "containers" else "cmdline")
                if kind in path.read_bytes():
                    chosen.append(pid)
        return chosen

    def send(self, pid, name):
        self.output.write(f"--- SIG{name} to {pid}\n".encode())
        self.output.flush()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, getattr(signal, f"SIG{name}"))
            if name == "STOP":
                time.sleep(self.chance.random())
                os.kill(pid, signal.SIGCONT)

    def wait_for(self, client):
        """Wait until nobody drives the run; what its workers do meanwhile is their affair."""
        try:
            client.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.left.append(f"the client does not end: {self.top}")
            client.kill()
            client.wait()
        if self.engine == "detached" and not audit.wait_until(lambda: self.driver() is None, LONGEST):
            self.left.append("the driver does not end")
        if self.chance.random() < 0.5:  # else it is resumed at once
            time.sleep(self.chance.random() * 5)

    # Looking.

    def check(self, last=False):
        """Compare the records with those that were seen before."""
        for x in range(self.jobs):
            folder, nonce = self.run / str(x), None
            record = audit.record_of(folder)
            if record is not None and record["state"] == "done":
                nonce = record["row"].get("metrics.nonce")
            if x in self.known and self.known[x] != nonce:
                self.lost.append(f"job {x}: it had the result {self.known[x]}, and has {nonce}")
            if nonce is not None:
                self.known[x] = nonce
            elif last and x not in self.known:
                self.lost.append(f"job {x}: no result at the end")
            if last:
                journal = self.journal / f"{x}.txt"
                lines = journal.read_text().splitlines() if journal.exists() else []
                self.twice += [f"job {x}: {line}" for line in lines if not line.startswith("begin ")]
                tries = [line.split()[1] for line in lines if line.startswith("begin ")]
                if nonce is not None and tries and tries[-1] != nonce:
                    self.twice.append(f"job {x}: it ran once more after the try whose result it has")


def play(fault, engine, rounds, jobs, seed, say=print):
    """Play rounds of one fault, and return what they did as a row of the table."""
    row = audit.Row(f"signals to {fault}", engine)
    for number in range(rounds):
        one = Round(fault, engine, jobs, random.Random(f"{seed} {fault} {engine} {number}"))
        began = time.monotonic()
        clean = one.play()
        row.rounds += 1
        row.lost += len(one.lost)
        row.twice += len(one.twice)
        row.left += len(one.left)
        row.notes += [f"round {number} ({one.top}): {line}" for line in [*one.lost, *one.twice, *one.left]]
        state = "clean" if clean else json.dumps([*one.lost, *one.twice, *one.left], indent=2)
        say(f"{fault}, {engine}, round {number}: {state} ({time.monotonic() - began:.0f} s)", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kill_loop", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", default="0", help="rounds with the same seed send the same signals")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--engine", action="append", help="only this one; may be repeated")
    given = parser.parse_args()
    rows = [
        play(fault, engine, given.rounds, given.jobs, given.seed)
        for fault in given.fault or FAULTS
        for engine in FAULTS[fault]
        if not given.engine or engine in given.engine
    ]
    print()
    print(audit.table(rows))
    sys.exit(not all(row.is_clean for row in rows))


if __name__ == "__main__":
    main()
