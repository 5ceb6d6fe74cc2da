"""A page: one HTML file with all that it needs, which asks no network and runs no script but its own.

What runs say (overrides, names, errors, logs) is data on it and never markup: JSON in which nothing can end the element
it is in, put into the page as text. A content security policy says so to the browser as well: scripts and styles are
those whose digest it names, and nothing is loaded.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mini.errors import RunFolderError
from mini.report.contents import Contents
from mini.runs import files

_SCRIPTS = (
    *("uPlot.iife.min.js", "data.js", "draw.js", "state.js", "table.js", "panels.js", "plots.js", "page.js"),
    *("parallel.js", "served.js", "start.js"),
)
_STYLES = ("uPlot.min.css", "page.css")
_LARGE = 2**16  # characters of JSON; more are compressed


def render(title: str, contents: Contents | None, *, settings: dict[str, Any] | None = None) -> str:
    """A page.

    Args:
        title: Of the browser's window.
        contents: What is on it; None for a page that asks its server for it.
        settings: Of a page that is served: `api`, what it asks, relative to its address; and what else it may do.

    Returns:
        HTML.
    """
    script, style = _assets()
    connect = "connect-src 'self'; " if settings else ""
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; {connect}"
        "base-uri 'none'; form-action 'none'"
    )
    data = "" if contents is None else _json("data", contents.values) + _bytes("curves", contents.arrays)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<div id="page"><p class="loading">Reading…</p><noscript>This page draws itself with a script that is in it.'
        "</noscript></div>\n"
        f"{_json('settings', settings or {})}{data}<script>{script}</script>\n</body>\n</html>\n"
    )


def write(path: Path, title: str, contents: Contents) -> None:
    """Write a page to a file; a reader sees the old one or the new.

    Raises:
        RunFolderError: The file cannot be written.
    """
    try:
        files.write_atomically(path, render(title, contents).encode(errors="backslashreplace"))
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}; choose another with -o FILE") from error


@cache
def _assets() -> tuple[str, str]:
    folder = resources.files("mini.report") / "assets"
    script, style = (
        "\n".join((folder / name).read_text(encoding="utf-8") for name in names) for names in (_SCRIPTS, _STYLES)
    )
    return script, style


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(name: str, value: Any) -> str:
    """JSON in an element of its own. No `<` is in it, so nothing in it ends the element or begins another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if len(text) > _LARGE:
        return _bytes(name, text.encode())
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _bytes(name: str, data: bytes) -> str:
    packed = base64.b64encode(gzip.compress(data, compresslevel=5, mtime=0)).decode()
    return f'<script type="application/gzip" id="{name}">{packed}</script>\n'
