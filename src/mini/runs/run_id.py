"""What a command's run is called. Imported at every start of Hydra: it needs nothing else of this package."""

import functools
import secrets
import string
import time

_ALPHABET = "".join(sorted(set(string.ascii_lowercase) - set("aeioul")))  # no words, and nothing that looks like 1


@functools.cache
def run_id() -> str:
    """What this command's run is called."""
    return new_run_id()


def new_run_id() -> str:
    """A name for a run: when it began, and a few letters that keep two apart which begin together."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(3))
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{letters}"
