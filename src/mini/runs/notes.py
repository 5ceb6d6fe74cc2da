"""What a person says of a run: tags, and a note. A small file in the run's folder, which no program depends on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mini.errors import OptionError, RunFolderError
from mini.runs import layout
from mini.runs.files import dump_json, write_atomically

_LONGEST = 64  # characters of a tag


class Notes(NamedTuple):
    """What was said of a run.

    Args:
        tags: Words, sorted.
        note: A text; may be empty.
    """

    tags: tuple[str, ...] = ()
    note: str = ""


def read_notes(run: Path) -> Notes:
    """What was said of the run in this folder; nothing where the file is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        raw = json.loads((run / layout.NOTES).read_bytes())
        return Notes(tuple(sorted({str(tag) for tag in raw.get("tags") or ()})), str(raw.get("note") or ""))
    return Notes()


def write_notes(run: Path, notes: Notes) -> None:
    """Say this of the run in this folder, and nothing else.

    Raises:
        OptionError: A tag is impossible.
        RunFolderError: The folder cannot be written.
    """
    try:
        data = dump_json({"tags": sorted({check_tag(tag) for tag in notes.tags}), "note": notes.note})
        write_atomically(run / layout.NOTES, data + b"\n")
    except OSError as error:
        raise RunFolderError(f"cannot write {run / layout.NOTES}: {error.strerror or error}") from error


def tag(run: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Notes:
    """Add tags to those of a run, and take some away.

    Returns:
        What is said of it now.

    Raises:
        OptionError: A tag is impossible.
        RunFolderError: The folder cannot be written.
    """
    before = read_notes(run)
    after = before._replace(tags=tuple(sorted({*before.tags, *map(check_tag, add)} - {*remove})))
    if after != before:
        write_notes(run, after)
    return after


def check_tag(text: str) -> str:
    """A tag that can be written on a command line and shown in a table: this one.

    Raises:
        OptionError: It is none.
    """
    if not text or len(text) > _LONGEST or not text.isprintable() or any(c.isspace() or c == "," for c in text):
        raise OptionError(
            f"{text!r} cannot be a tag: a tag is a word of at most {_LONGEST} characters, without commas; "
            "`mini note RUN TEXT` keeps a sentence"
        )
    return text
