"""What a rehearsal finds on this machine in the place of what is kept on Modal: named secrets, and volumes with files.

`.mini/secrets/NAME.env` in the project has the variables of a secret, and `.mini/volumes/NAME/` the files of a volume.
"""

from __future__ import annotations

import shutil
from pathlib import Path

SECRETS, VOLUMES = "secrets", "volumes"


def secret(folder: Path | None, name: str) -> dict[str, str] | None:
    """The variables of a named secret; None where there is no file of that name.

    Args:
        folder: The project's `.mini`.
        name: The secret's.

    Raises:
        ValueError: A line of the file is none of `NAME=value`; the message does not show it.
    """
    if folder is None or "/" in name or name.startswith("."):
        return None
    file = folder / SECRETS / f"{name}.env"
    if not file.is_file():
        return None
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"{file}, line {number}: it must be NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[key.strip()] = value
    return found


def fill(folder: Path | None, name: str, volume: Path) -> None:
    """Copy what a new volume of some name begins with.

    Args:
        folder: The project's `.mini`.
        name: The volume's.
        volume: Its folder, empty.
    """
    if folder is None or not name or "/" in name or name.startswith("."):
        return
    given = folder / VOLUMES / name
    if given.is_dir():
        shutil.copytree(given, volume, dirs_exist_ok=True)
