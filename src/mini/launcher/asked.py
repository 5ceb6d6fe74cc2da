"""How a command was given, so that it can be given again."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from mini.errors import UsageError
from mini.runs import masking


def program() -> list[str]:
    """How to call the application again: `-m package` or a script."""
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    return ["-m", module.name.removesuffix(".__main__")] if module is not None else [str(Path(sys.argv[0]).absolute())]


def again(manifest: Mapping[str, Any], folder: Path, *more: str) -> list[str]:
    """The command that goes on with a run in place, after the Python interpreter.

    Args:
        manifest: The run's.
        folder: The run's.
        more: Further overrides; one of them takes the place of what the run was given for the same key.

    Raises:
        UsageError: The run cannot be repeated from its manifest.
    """
    words, given = manifest.get("program"), manifest.get("overrides_all")
    if not _is_texts(words) or not _is_texts(given) or not words:
        raise UsageError(f"{folder.name} was not begun by a Hydra application; begin it again from its program")
    hidden = [override.partition("=")[0] for override in given if masking.HIDDEN in override]
    if hidden:
        raise UsageError(
            f"{folder.name} was given {', '.join(hidden)} on the command line, and such values are not written down; "
            f"repeat the command with hydra.sweep.dir={folder} hydra.launcher.resume={folder}, and let the config read "
            "secrets from the environment, as in ${oc.env:NAME}"
        )
    replaced = tuple(f"{override.partition('=')[0]}=" for override in more)
    kept = [override for override in given if not override.startswith(replaced)] if replaced else given
    return [*words, *kept, f"hydra.sweep.dir={folder}", f"hydra.launcher.resume={folder}", *more]


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def lasting(overrides: Sequence[str]) -> list[str]:
    """The overrides of Hydra's own config that a further try of the same run needs too."""
    once = ("resume", "only", "move", "budget", "detach", "if_exists", "explain", "notify", "ask_above")
    passing = ("hydra.mode", "hydra.sweep.dir", *(f"hydra.launcher.{name}" for name in once))
    return [override for override in overrides if not override.lstrip("+").startswith(passing)]
