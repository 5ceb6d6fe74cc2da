"""The engines that know more of a run than its folder here."""

from __future__ import annotations

import json
from typing import Any

from mini.apparatus import registry
from mini.apparatus.plugin import Attached
from mini.runs import layout
from mini.runs.folder import RunFolder


def find(folder: RunFolder) -> list[Attached]:
    """The engines of a run whose jobs outlive the caller, attached to it.

    Args:
        folder: The run.

    Raises:
        OptionError: An engine of it is not installed here.
    """
    found = []
    for where in _places(folder):
        attach = registry.find(where["apparatus"]).attach
        if attach is not None:
            found.append(attach(folder, where if len(where) > 1 else None))
    return found


def _places(folder: RunFolder) -> list[dict[str, Any]]:
    """Where a run is: what `detach` returned of it, and of other engines, which a client drives or drove, the name."""
    try:
        said = json.loads((folder.path / layout.DRIVER).read_bytes())
    except (OSError, ValueError):
        said = []
    handles = [one for one in (said if isinstance(said, list) else [said]) if "apparatus" in one]
    known = {one["apparatus"] for one in handles}
    return handles + [{"apparatus": kind} for kind in folder.manifest().get("apparatus") or () if kind not in known]
