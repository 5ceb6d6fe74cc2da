"""Studies: how full workers are kept, what ending early saves, what a trial costs, how soon one that shall end does."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TRIALS, WORKERS, UNIT = 64, 4, 0.25  # of uneven length, 1 to 8 units; seconds
EXAMPLE = 60  # trials of the example application, with ASHA and without
EPOCHS = 20
SHORT = 100  # trials of nothing, one after the other
STOPS = 5
LATENCY = 0.08  # seconds there and back
PROJECT = Path(__file__).parents[1]
UNEVEN = f"""
import random, time, hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    began = time.time()
    time.sleep({UNIT} * random.Random(float(config.x)).randint(1, 8))
    with open(config.spans, "a") as spans:
        spans.write(f"{{began}} {{time.time()}}\\n")
    return config.x

if __name__ == "__main__":
    main()
"""


def main():
    """Run the four."""
    figures = {"packing": packing(), "ending early": ending_early(), "overhead": overhead(), "stopping": stopping()}
    print(json.dumps(figures, indent=2))
    return figures


def packing():
    """Trials of uneven length that sleep, against the ideal; and in the batches of hydra-optuna-sweeper."""
    ours = f"hydra/sweeper=study study.trials={TRIALS} study.sampler=random study.seed=1 apparatus.workers={WORKERS}"
    theirs = (
        "hydra/sweeper=optuna hydra/sweeper/sampler=random hydra.sweeper.sampler.seed=1 hydra/launcher=joblib "
        f"hydra.sweeper.n_trials={TRIALS} hydra.sweeper.n_jobs={WORKERS} hydra.launcher.n_jobs={WORKERS}"
    )
    ways = {"ours": ours.split(), "hydra-optuna-sweeper, joblib": theirs.split()}
    figures = {}
    for name, overrides in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            write(folder, UNEVEN, f"x: 0\nspans: {folder}/spans\n", with_mini=name == "ours")
            began = time.time()
            subprocess.run(
                [sys.executable, "app.py", "-m", *overrides, "x=interval(0.0,1.0)"], cwd=folder, check=True, **QUIET
            )
            wall = time.time() - began
            spans = [tuple(map(float, line.split())) for line in Path(folder, "spans").read_text().splitlines()]
        assert len(spans) == TRIALS
        ideal = sum(end - start for start, end in spans) / WORKERS
        span = max(end for _, end in spans) - min(start for start, _ in spans)
        figures[name] = {"ideal": ideal, "first start to last end": span, "ratio": span / ideal, "command": wall}
    return figures


def ending_early():
    """The example application with the same trials, all to their end, and with ASHA."""
    figures = {}
    for name, more in (("all to their end", []), ("asha", ["study.pruner=asha"])):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "run")
            command = [
                sys.executable,
                "-m",
                "app",
                "hydra/sweeper=study",
                f"hydra.sweep.dir={target}",
                f"epochs={EPOCHS}",
            ]
            command += [
                "optimizer.lr=tag(log,interval(1e-5,1e-1))",
                "model=choice(small,large)",
                "optimizer=choice(adam,sgd)",
            ]
            command += [f"study.trials={EXAMPLE}", "study.sampler=random", "study.seed=1", "study.metric=accuracy"]
            began = time.time()
            subprocess.run(
                [*command, "study.direction=maximize", "study.parallel=2", *more], cwd=PROJECT, check=True, **QUIET
            )
            wall = time.time() - began
            epochs, best = 0, 0.0
            for path in target.glob("*/record.json"):
                record = json.loads(path.read_bytes())
                ended = re.search(r"at step (\d+)", (record["failure"] or {}).get("message", ""))
                epochs += int(ended[1]) if ended else EPOCHS
                best = max(best, record["row"]["metrics.accuracy"])
        figures[name] = {"best accuracy": best, "epochs": epochs, "seconds": wall}
    figures["epochs, share"] = figures["asha"]["epochs"] / figures["all to their end"]["epochs"]
    return figures


def overhead():
    """What a trial costs: asked, composed, sent, run, recorded and told; and Optuna's ask and tell alone."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    program = UNEVEN.replace(f"time.sleep({UNIT} * random.Random(float(config.x)).randint(1, 8))", "pass")
    with tempfile.TemporaryDirectory() as folder:
        write(folder, program, f"x: 0\nspans: {folder}/spans\n", with_mini=True)
        command = [
            sys.executable,
            "app.py",
            "hydra/sweeper=study",
            f"study.trials={SHORT}",
            "study.parallel=1",
            "study.seed=1",
        ]
        command += ["apparatus.workers=1", "study.sampler=random", "x=interval(0.0,1.0)"]
        subprocess.run(command, cwd=folder, check=True, **QUIET)
        starts = [float(line.split()[0]) for line in Path(folder, "spans").read_text().splitlines()]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(f"{folder}/alone"))
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
        alone = []
        for _ in range(SHORT):
            began = time.perf_counter()
            trial = study.ask()
            study.tell(trial, trial.suggest_float("x", 0, 1))
            alone.append(time.perf_counter() - began)
    ours = statistics.median(b - a for a, b in itertools.pairwise(starts))
    return {"ours, ms": 1000 * ours, "optuna alone, ms": 1000 * statistics.median(alone)}


def stopping():
    """From the decision to the outcome of a job that says every 50 ms how far it is."""
    from mini import LocalApparatus, ModalApparatus
    from mini.loopback.plane import Loopback

    os.environ["MODAL_CONFIG_PATH"] = os.devnull
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with LocalApparatus("bench", volume=folder, workers=1) as here:
            figures["local"] = stopped(here, Path(folder))
        with Loopback(Path(folder, "loopback")) as loopback, far_away(loopback.url) as url:
            token_id, secret = loopback.token
            os.environ.update(MODAL_SERVER_URL=url, MODAL_TOKEN_ID=token_id, MODAL_TOKEN_SECRET=secret)
            with ModalApparatus("bench", max_containers=1) as there:
                figures[f"modal, {1000 * LATENCY:.0f} ms away"] = stopped(there, Path(folder))
    return figures


def stopped(apparatus, folder):
    from mini.job import Job, State

    def going():
        import mini

        for step in range(1, 10_000):
            mini.progress(step, 10_000, accuracy=0.0)
            time.sleep(0.05)

    seconds = []
    for number in range(STOPS):
        run = folder / f"{apparatus.kind}-{number}"
        run.mkdir()
        job = Job(0, going, folder=str(run / "0"), run=str(run), record=True)
        stream = apparatus.start(apparatus.encode([job]))
        while not stream.progress():
            time.sleep(0.1)
        began = time.perf_counter()
        stream.prune(job)
        assert next(stream).state is State.PRUNED
        seconds.append(time.perf_counter() - began)
        stream.close()
    return {"median, s": statistics.median(seconds), "longest, s": max(seconds)}


@contextlib.contextmanager
def far_away(url):
    """The address of a server that is so far away: what passes waits for half the latency each way."""
    host, port = url.rpartition("//")[2].split(":")
    loop = asyncio.new_event_loop()

    async def passing(reader, writer):
        async def late(data, due):
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(data)

        previous = None
        while data := await reader.read(2**16):
            due, before = loop.time() + LATENCY / 2, previous

            async def one(data=data, due=due, before=before):
                if before is not None:
                    await before
                await late(data, due)

            previous = asyncio.ensure_future(one())
        if previous is not None:
            await previous
        writer.close()

    async def accept(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(passing(reader, far_writer), passing(far_reader, writer))

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def write(folder, program, config, *, with_mini):
    Path(folder, "conf").mkdir()
    Path(folder, "pyproject.toml").write_text('[project]\nname = "uneven"\n')
    Path(folder, "app.py").write_text(program)
    Path(folder, "conf", "config.yaml").write_text(f"defaults: [{'mini, ' if with_mini else ''}_self_]\n{config}")


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
