"""How far a running job is (`live.json`, a cache), what it is told there (to end early), and why others wait."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.runs import layout
from mini.runs.files import dump_json, read_whole, write_atomically


def write_live(folder: Path, values: Mapping[str, Any]) -> None:
    """Write how far a job is. A failure to write is no failure of the job."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / layout.LIVE, dump_json(dict(values)))


def read_live(folder: str | Path) -> dict[str, Any] | None:
    """What a job said last: `index`, `attempt`, `started`, `beat`, and `step`, `total`, `metrics`; or None."""
    try:
        line = read_whole(f"{folder}/{layout.LIVE}")
        live = json.loads(line) if line is not None else None
    except (OSError, ValueError):
        return None
    return live if isinstance(live, dict) else None


def mark_pruned(folder: Path) -> None:
    """Tell a job to end early. It looks when it says how far it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / layout.PRUNE).touch()


def is_pruned(folder: Path) -> bool:
    """Whether a job was told to end early."""
    return (folder / layout.PRUNE).exists()


def describe_step(step: int | None, total: int | None) -> str:
    """Where a job was when it ended early, as its record says it."""
    of = f" of {total}" if total is not None else ""
    return f"it ended early, at step {step}{of}" if step is not None else "it ended early"


def write_waiting(run: Path, reasons: Mapping[str, Sequence[int]]) -> None:
    """Write why jobs wait. A failure to write is no failure of the run.

    Args:
        run: The run's folder.
        reasons: By the reason, in the words of the engine's queue, the indices of the jobs.
    """
    with contextlib.suppress(OSError):
        if reasons:
            write_atomically(run / layout.WAITING, dump_json(dict(reasons)))
        else:
            (run / layout.WAITING).unlink(missing_ok=True)


def read_waiting(run: Path) -> dict[int, str]:
    """Why jobs wait, by their indices; of those that are not there nothing is known."""
    try:
        reasons = json.loads((run / layout.WAITING).read_bytes())
        return {int(index): str(reason) for reason, indices in reasons.items() for index in indices}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
