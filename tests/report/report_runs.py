"""Run folders as runs leave them, made without running anything."""

import math
from pathlib import Path

from mini import Job
from mini.job import Failure, Outcome, State
from mini.runs import records
from mini.runs.folder import RunFolder
from mini.runs.history import History

BEGAN = 1_790_000_000.0

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 2'>",
    "javascript:window.broken=3",
    '"><svg onload="window.broken = 4">',
    "]]>--><!--",
    "\u2028 \u202e \u0000 \\u003c &lt; %3Cscript%3E",
    "{{constructor.constructor('window.broken = 5')()}} ${window.broken = 6}",
    "../../../../etc/passwd",
    "__proto__",
)
"""What must stay text, wherever it is put."""


def make(path, rows, *, steps=0, failed=(), unfinished=(), manifest=None, metrics=("loss", "accuracy"), names=None):
    """A run.

    Args:
        path: Its folder.
        rows: Of each job, its columns.
        steps: How long each history is.
        failed: By job, why it failed.
        unfinished: Jobs without a record.
        manifest: More for `run.json`.
        metrics: What a job returns.
        names: The job folders' names.
    """
    folder = RunFolder(path)
    began = {"began": BEGAN, "command": ["train.py", "lr=1,2"], "task": "train.main", "apparatus": ["local"]}
    folder.begin(began | (manifest or {}))
    places = [str(Path(path, names[i] if names else str(i)).absolute()) for i in range(len(rows))]
    folder.add_jobs(Job(i, print, folder=places[i], row=row) for i, row in enumerate(rows))
    failed = dict(failed)
    for i, row in enumerate(rows):
        quality = 1 / (1 + i % 7)
        if steps:
            history = History(Path(places[i]))
            for step in range(1, steps + 1):
                said = {name: quality + math.exp(-step / steps * (1 + i % 5)) for name in metrics}
                history.add(step, said)
            history.close()
        if i in unfinished:
            continue
        started = BEGAN + i // 4 * 2.0
        failure = (
            Failure("ValueError", failed[i], f"Traceback\n  in train\nValueError: {failed[i]}\n")
            if i in failed
            else None
        )
        outcome = Outcome(
            i,
            State.FAILED if failure else State.DONE,
            failure=failure,
            started=started,
            ended=started + 1.5,
            where={"host": "here", "pid": i % 4},
            folder=places[i],
            key=f"key{i}",
        )
        returned = {} if failure else {f"metrics.{name}": quality + k for k, name in enumerate(metrics)}
        records.write_record(outcome, row | returned)
        Path(places[i], "log.txt").write_text(f"the log of job {i}\n")
    return folder


def grid(n):
    """The rows of a sweep."""
    return [
        {
            "overrides.optimizer.lr": (1e-4, 1e-3, 1e-2)[i % 3],
            "overrides.model": ("small", "large")[i // 3 % 2],
            "overrides.seed": i // 6,
            "config.optimizer.lr": (1e-4, 1e-3, 1e-2)[i % 3],
            "config.epochs": 20,
        }
        for i in range(n)
    ]
