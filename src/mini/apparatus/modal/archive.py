"""Files that come home in an archive."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive; nothing in it can be written outside of the folder.

    Args:
        archive: Compressed or not.
        folder: Where to.

    Raises:
        tarfile.TarError: It is damaged, or something in it points outside.
    """
    with _tarfile().open(archive) as tar:
        tar.extractall(folder, filter="data")


def _tarfile() -> Any:
    """Python's module, or before 3.11.4, where it knows no filters, the one of 3.12 for earlier versions."""
    if hasattr(tarfile, "data_filter"):
        return tarfile
    from backports import tarfile as backport  # type: ignore[import-not-found, unused-ignore]

    return backport
