"""Trivial jobs through `ModalApparatus` and through `modal.Function.map`, on the same control plane, by turns."""

import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

JOBS = 2000
ROUNDS = 4
POLL = "FunctionGetOutputs"  # Modal's client waits for results with it, naming every input each time


def main():
    os.environ["MODAL_CONFIG_PATH"] = os.devnull
    import modal
    from modal_proto import api_pb2

    from mini import ModalApparatus
    from mini.loopback.plane import Loopback

    figures = {"jobs": JOBS, "rounds": ROUNDS, "modal": [], "each alone": [], "in groups": []}
    with tempfile.TemporaryDirectory() as folder, Loopback(Path(folder)) as loopback:
        token_id, secret = loopback.token
        os.environ.update(MODAL_SERVER_URL=loopback.url, MODAL_TOKEN_ID=token_id, MODAL_TOKEN_SECRET=secret)
        client = modal.client.Client(loopback.url, api_pb2.CLIENT_TYPE_CLIENT, loopback.token)
        client.__enter__()
        app = modal.App("bare")
        # Under another name a function that can be imported would have to be shipped; by value both send the same.
        plain = app.function(serialized=True, image=modal.Image.debian_slim(), max_containers=2, name="plain")(
            lambda x: x + 1
        )
        with ModalApparatus("bench", max_containers=2) as ours, app.run(client=client):
            for way in range(ROUNDS + 1):
                jobs = JOBS if way else 50  # the first round warms the containers up
                ways = [
                    ("modal", lambda jobs=jobs: plain.map(range(jobs))),
                    ("each alone", lambda jobs=jobs: ours.w(group=1).map(lambda x: x + 1, range(jobs))),
                    ("in groups", lambda jobs=jobs: ours.map(lambda x: x + 1, range(jobs))),
                ]
                for name, run in ways if way % 2 else reversed(ways):
                    measured = measure(loopback.state, run, jobs)
                    if way:
                        figures[name].append(measured)
        client.__exit__(None, None, None)
    return show(figures)


def measure(state, run, jobs):
    requests, sent = Counter(state.requests), Counter(state.bytes_in)
    began = time.perf_counter()
    assert list(run()) == list(range(1, jobs + 1))
    seconds = time.perf_counter() - began
    time.sleep(0.5)  # what either sends when it is done
    requests, sent = Counter(state.requests) - requests, Counter(state.bytes_in) - sent
    return {
        "seconds": seconds,
        "requests": requests.total(),
        "polls": requests[POLL],
        "bytes": sent.total(),
        "bytes of polls": sent[POLL],
    }


def show(figures):
    jobs = figures["jobs"]
    ways = ("modal", "each alone", "in groups")
    middle = {
        name: {key: statistics.median(r[key] for r in figures[name]) for key in figures[name][0]} for name in ways
    }
    ratios = {
        name: statistics.median(
            theirs["seconds"] / ours["seconds"] for theirs, ours in zip(figures["modal"], figures[name], strict=True)
        )
        for name in ways
    }
    print(f"{jobs} trivial jobs, 2 containers, medians of {figures['rounds']} alternated rounds")
    for name, row in middle.items():
        apart = (row["bytes"] - row["bytes of polls"]) / jobs
        print(
            f"  {name:10} {row['seconds']:.2f} s  {ratios[name]:5.2f} of Modal's own throughput  "
            f"{row['requests']:.0f} requests, {row['polls']:.0f} of them polls  "
            f"{apart:.0f} B/job, and {row['bytes of polls'] / jobs:.0f} of polls"
        )
    return {**figures, "median": middle, "throughput_ratio": ratios}
