"""How a study goes: `study.json` in its run folder. A cache for those who look; the journal is the truth."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mini.runs import layout
from mini.runs.files import dump_json, write_atomically


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Leave how a study goes: `metric`, `direction`, and `best` with `job`, `value` and `params`, or `front`."""
    with contextlib.suppress(OSError):
        write_atomically(folder / layout.STUDY_STATE, dump_json(dict(state)))


def describe(folder: Path) -> str | None:
    """The best of a study so far, in one line; None of a run that is no study, or has no best yet."""
    try:
        state = json.loads((folder / layout.STUDY_STATE).read_bytes())
        if (best := state.get("best")) is not None:
            name = (state.get("metric") or ["value"])[0]
            given = " ".join(f"{key}={value}" for key, value in best["params"].items())
            where = f"job {best['job']}" if best["job"] is not None else "of an earlier study"
            return f"best {name} {best['value']:.6g}, {where}: {given}"
        front = [job for job in state.get("front") or () if job is not None]
        return f"jobs that none is better than in everything: {', '.join(map(str, front))}" if front else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
