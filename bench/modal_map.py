"""Trivial jobs through `ModalApparatus` and through `modal.Function.map`, on the same control plane, by turns."""

import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

JOBS = 2000
ROUNDS = 6
POLL = "FunctionGetOutputs"  # Modal's client waits for results with it, naming every input each time


def main():
    os.environ["MODAL_CONFIG_PATH"] = os.devnull
    import modal
    from modal_proto import api_pb2

    from mini import ModalApparatus
    from mini.loopback.plane import TOKEN, Loopback

    figures = {"jobs": JOBS, "rounds": ROUNDS, "modal": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder, Loopback(Path(folder)) as loopback:
        os.environ.update(MODAL_SERVER_URL=loopback.url, MODAL_TOKEN_ID=TOKEN[0], MODAL_TOKEN_SECRET=TOKEN[1])
        client = modal.client.Client(loopback.url, api_pb2.CLIENT_TYPE_CLIENT, TOKEN)
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
                    ("ours", lambda jobs=jobs: ours.map(lambda x: x + 1, range(jobs))),
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
    middle = {
        name: {key: statistics.median(r[key] for r in figures[name]) for key in figures[name][0]}
        for name in ("modal", "ours")
    }
    ratios = [m["seconds"] / o["seconds"] for m, o in zip(figures["modal"], figures["ours"], strict=True)]
    ours, modal = middle["ours"], middle["modal"]

    apart = {name: row["bytes"] - row["bytes of polls"] for name, row in middle.items()}
    print(f"{jobs} trivial jobs, 2 containers, medians of {figures['rounds']} alternated rounds")
    for name, row in middle.items():
        print(
            f"  {name:6} {row['seconds']:.2f} s  {row['requests']:.0f} requests ({row['polls']:.0f} of them polls)  "
            f"{apart[name] / jobs:.0f} B/job, and {row['bytes of polls'] / jobs:.0f} of polls"
        )
    print(f"  throughput of ours against Modal's own: {statistics.median(ratios):.2f}")
    print(f"  requests more: {ours['requests'] - modal['requests']:.0f}")
    print(f"  bytes more for each job: {(apart['ours'] - apart['modal']) / jobs:.0f} without polls")
    return {**figures, "median": middle, "throughput_ratio": statistics.median(ratios)}
