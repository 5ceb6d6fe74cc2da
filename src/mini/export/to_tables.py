"""A run as two tables, `results` and `history`, in CSV or parquet."""

from __future__ import annotations

from pathlib import Path

from mini.export.content import Content


def write(content: Content, target: Path, form: str) -> str:
    """Write the tables.

    Args:
        content: The run.
        target: An empty folder.
        form: `csv` or `parquet`.

    Returns:
        The names of the files.
    """
    written = []
    for name, frame in (("results", content.table), ("history", content.history)):
        if frame.is_empty():
            continue
        path = target / f"{name}.{form}"
        if form == "csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
        written.append(path.name)
    return ", ".join(written)
