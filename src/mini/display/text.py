"""Anybody's text and numbers as a terminal can show them."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")
_WIDEST_CELL = 80  # characters


def format_cell(value: Any) -> str:
    """A cell of a table, short: four significant digits, thousands whole, the beginning of text on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) >= 1e4 else f"{value:.4g}"
    text = str(value)
    return printable(text if len(text) <= _WIDEST_CELL else f"{text[:_WIDEST_CELL]}…")


def format_mean(mean: float | None, std: float | None) -> str:
    """A mean and its standard deviation, `0.9312 ± 0.0042`; the mean alone where there was one value."""
    if mean is None:
        return ""
    if std is None or math.isnan(std):
        return format_cell(mean)
    return f"{format_cell(mean)} ± {std:.2g}"


def format_bytes(count: float) -> str:
    """Bytes for a person: `812 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def printable(text: str, kept: str = "") -> str:
    """Text as a terminal can show it: what is no character or moves the cursor becomes its escape.

    Args:
        text: Anybody's.
        kept: Control characters to leave as they are, such as a line's end.
    """
    if text.isprintable():
        return text
    return "".join(c if c in kept or c.isprintable() or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def printable_log(text: str) -> str:
    """A log as a terminal can show it: lines, tabs and colours stay, and nothing else that it could act on."""
    parts = _COLOUR.split(re.sub("\r+\n|\r", "\n", text))
    return "".join(part if _COLOUR.fullmatch(part) else printable(part, "\n\t") for part in parts)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
