"""Where a fast way was left for the general one, and why.

Some steps have two implementations: a fast one for the common case and a general one that is always right. Falling
back changes only how long a step takes, so nobody notices when it begins to happen for every job. Each fallback is
counted here, for this process, and logged at debug level under the logger `mini.fallbacks`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_counts: Counter[tuple[str, str]] = Counter()


def note(way: str, reason: str) -> None:
    """Count one fallback, and log it at debug level; within an `except` block with the traceback.

    Args:
        way: The fast way that was left, such as `compose` or `combine`.
        reason: Why, in a few words that are the same for all fallbacks of this kind: without a job's number, values
            or paths.
    """
    with _lock:
        _counts[way, reason] += 1
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s: fell back: %s", way, reason, exc_info=sys.exc_info()[0] is not None)


def counts() -> dict[tuple[str, str], int]:
    """How often each way fell back for each reason in this process, by `(way, reason)`."""
    with _lock:
        return dict(_counts)


def reset() -> None:
    """Forget all counts."""
    with _lock:
        _counts.clear()
