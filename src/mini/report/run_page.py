"""The page of a run, in its folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mini.report import contents, page
from mini.runs import layout
from mini.runs.folder import RunFolder

_QUICKLY = 1000  # jobs whose page takes less than a second


def write(folders: Sequence[RunFolder], target: Path | None = None, *, quick: bool = False) -> Path:
    """Write the page of a run, or one page that compares several.

    Args:
        folders: The runs.
        target: The file; None for `report.html` in the folder of the first run.
        quick: Import nothing for it that takes time: without importance, unless scikit-learn is loaded already.

    Returns:
        The file.

    Raises:
        RunFolderError: There is no run, or the file cannot be written.
    """
    target = (target or folders[0].path / layout.REPORT).absolute()
    compute = not quick or "sklearn" in sys.modules
    shown = contents.read(folders, links_from=target.parent, compute_importance=compute)
    page.write(target, title(folders), shown)
    return target


def at_end(folder: RunFolder, jobs: int, wanted: bool | None) -> str | None:
    """Leave the page of a run that is over, quickly.

    Args:
        folder: The run.
        jobs: How many it has.
        wanted: Whether to; None to decide by their number.

    Returns:
        What went wrong, if something did: the run is done all the same.
    """
    if jobs == 0 or wanted is False or (wanted is None and jobs > _QUICKLY):
        return None
    try:
        write([folder], quick=True)
    except Exception as error:  # noqa: BLE001 - a picture of the results; whatever is wrong with it, they are kept
        return f"the page of {folder.id} was not written: {error!r}; `mini report {folder.id}` tries again"
    return None


def title(folders: Sequence[RunFolder]) -> str:
    """What the window is called."""
    return folders[0].id if len(folders) == 1 else f"{len(folders)} runs: {', '.join(folder.id for folder in folders)}"
