"""Runs in the formats of other tools, all offline: nothing is sent to anybody."""

from __future__ import annotations

import importlib
from pathlib import Path

from mini.errors import OptionError, UsageError, did_you_mean
from mini.export.content import read
from mini.runs.folder import RunFolder

FORMATS = {
    "csv": "mini.export.to_tables",
    "parquet": "mini.export.to_tables",
    "tensorboard": "mini.export.to_tensorboard",
    "mlflow": "mini.export.to_mlflow",
    "wandb": "mini.export.to_wandb",
}
"""By name, the module whose function `write(content, target, form)` writes it and says how it is opened."""


def export(folder: RunFolder, form: str, target: Path) -> str:
    """Write a run in another tool's format.

    Args:
        folder: The run; jobs without a record are left out.
        form: One of `FORMATS`.
        target: A folder, which is new or empty.

    Returns:
        How it is opened: a command, or the names of the files.

    Raises:
        OptionError: There is no such format.
        UsageError: The tool's library is not installed, or the folder has something in it; nothing was written.
    """
    if form not in FORMATS:
        raise OptionError(f"--to {form}: there is no such format; {did_you_mean(form, FORMATS)}")
    module = importlib.import_module(FORMATS[form])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already, and not empty; choose another folder with --out")
    content = read(folder)
    target.mkdir(parents=True, exist_ok=True)
    said: str = module.write(content, target, form)
    return said


def library(name: str, extra: str) -> object:
    """A tool's library.

    Args:
        name: What is imported.
        extra: The extra of this distribution that brings it.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"`mini export --to {extra}` needs {name.split('.')[0]}: install hydra-apparatus[{extra}] ({error})"
        ) from error
