"""Names of folders that overrides make, checked before anything starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mini.errors import UsageError

_LONGEST = 255  # bytes, on every common file system


def checked(path: str, option: str) -> str:
    """A folder as it is, if there can be one of that name.

    Args:
        path: The folder.
        option: What says so.

    Raises:
        UsageError: File systems refuse it.
    """
    try:
        sizes = {part: len(os.fsencode(part)) for part in Path(path).parts}
    except UnicodeEncodeError:
        raise UsageError(
            f"{option} gives the folder {path!a}, which cannot be written in this locale's encoding "
            f"({sys.getfilesystemencoding()}); set PYTHONUTF8=1, or another {option}"
        ) from None
    if "\0" in path:
        raise UsageError(f"{option} gives the folder {path!r}, and no name has a null byte in it; set another {option}")
    for part, size in sizes.items():
        if size > _LONGEST:
            raise UsageError(
                f"{option} gives a folder name that is too long, {part[:40]}… of {size} bytes, where file systems take "
                f"{_LONGEST}; set another {option}, such as ${{hydra.job.num}}"
            )
    return path
