"""The page of a run: how long it takes to make, how large it is, and how quick it is in a browser."""

import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mini.job import Job, Outcome, State
from mini.runs.folder import RunFolder
from mini.runs.history import History
from mini.runs.records import write_record

SIZES = (100, 1000, 10_000)
STEPS = 100
BRUSHES = 25


def main():
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "pyproject.toml").write_text('[project]\nname = "bench"\n')
        for size in SIZES:
            make(root / "outputs" / f"run-{size}", size)
            page = root / f"{size}.html"
            command = [sys.executable, "-m", "mini.cli", "report", f"run-{size}", "-o", str(page)]
            times = []
            for _ in range(2):  # the second finds the files in memory
                began = time.perf_counter()
                subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - began)
            found = {"seconds": times[-1], "megabytes": page.stat().st_size / 1e6, **in_a_browser(page)}
            figures[str(size)] = found
            shown = ", ".join(f"{what} {value:.3g}" for what, value in found.items())
            print(f"  {size:6} jobs of {STEPS} steps: {shown}", flush=True)
    return figures


def make(path, size):
    """A run with numbers that do not repeat: those would be packed away."""
    chance = random.Random(0)
    folder = RunFolder(path)
    folder.begin({"began": 0.0, "apparatus": ["local"], "command": ["train.py"]})
    rows = [
        {
            "overrides.optimizer.lr": 10 ** chance.uniform(-5, -1),
            "overrides.model": chance.choice(["small", "medium", "large"]),
            "overrides.depth": chance.randint(1, 12),
            "overrides.dropout": chance.choice([0.0, 0.1, 0.3]),
            "overrides.seed": i % 5,
        }
        for i in range(size)
    ]
    folder.add_jobs(Job(i, abs, folder=str(folder.path / str(i)), row=row) for i, row in enumerate(rows))
    for i, row in enumerate(rows):
        job = folder.path / str(i)
        best = abs(math.log10(row["overrides.optimizer.lr"]) + 3) / 3 + chance.random() / 10
        history = History(job)
        for step in range(1, STEPS + 1):
            loss = best + math.exp(-step / 20) + chance.gauss(0, 0.01)
            history.add(step, {"loss": loss, "accuracy": 1 / (1 + loss)})
        history.close()
        write_record(
            Outcome(i, State.DONE, started=i / 10, ended=i / 10 + 1, folder=str(job), where={"host": "bench"}),
            row | {"metrics.loss": loss, "metrics.accuracy": 1 / (1 + loss)},
        )


def in_a_browser(page):
    """Seconds until something is seen, until all is drawn, and between a move of a brush and its picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("  (no chromium: nothing is measured in a browser)")
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1440, "height": 900})
        shown.goto(page.as_uri())
        shown.wait_for_selector("html[data-ready]", timeout=120_000)
        paint = shown.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        drawn = shown.evaluate("performance.getEntriesByName('mini-drawn')[0].startTime")
        brushes = shown.evaluate(
            """async (times) => {
              const found = [];
              for (let i = 0; i < times; i++) {
                const began = performance.now();
                mini.view.brush("accuracy", [0.3 + i / 200, 0.5 + i / 200], true);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                found.push(performance.now() - began);
              }
              return found.sort((a, b) => a - b);
            }""",
            BRUSHES,
        )
        memory = shown.evaluate("performance.memory ? performance.memory.usedJSHeapSize : 0")
        browser.close()
    return {
        "first paint": paint / 1000,
        "all drawn": drawn / 1000,
        "brush": brushes[len(brushes) // 2] / 1000,
        "heap MB": memory / 1e6,
    }
