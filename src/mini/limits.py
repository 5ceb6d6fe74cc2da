"""When a run is stopped before its end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mini.errors import OptionError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Limits:
    """When a run is stopped before its end.

    Args:
        max_failures: After so many jobs that failed; None for any number.
        deadline: At this Unix time, in seconds; None for never.
    """

    max_failures: int | None = None
    deadline: float | None = None


def duration(text: Any, option: str = "budget") -> float | None:
    """Seconds from `90`, `90s`, `15m`, `2h` or `1d`; None for None.

    Args:
        text: What was written.
        option: Where, for the error.

    Raises:
        OptionError: It is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text))
    if match is None or float(match[1]) <= 0:
        raise OptionError(f"{option}={text!r} is not possible: it must be a time such as 90s, 15m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]
