"""How a command was given, so that it can be given again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def program() -> list[str]:
    """How to call the application again: `-m package` or a script."""
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    return ["-m", module.name.removesuffix(".__main__")] if module is not None else [str(Path(sys.argv[0]).absolute())]


def lasting(overrides: Sequence[str]) -> list[str]:
    """The overrides of Hydra's own config that a further try of the same run needs too."""
    once = ("resume", "only", "budget", "detach", "if_exists")
    passing = ("hydra.mode", "hydra.sweep.dir", *(f"hydra.launcher.{name}" for name in once))
    return [override for override in overrides if not override.lstrip("+").startswith(passing)]
