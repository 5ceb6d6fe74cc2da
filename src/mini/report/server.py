"""`mini ui`: the pages of all runs, served on this machine to this user alone.

Who asks must know the token in the address, and must have got there by a name of this machine, so that no page of
another site can ask by a name that it has pointed here. What changes anything is a POST from a page of ours.
"""

from __future__ import annotations

import hmac
import html
import json
import mimetypes
import secrets
import urllib.parse
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mini.errors import MiniError, NoSuchRun, UsageError
from mini.report import page
from mini.report.served import Runs

MOST_COMPARED = 10
"""Runs on one page."""

_CHUNK = 2**18  # bytes
_SHOWN = (".txt", ".log", ".json", ".jsonl", ".yaml", ".yml", ".csv", ".md", ".py", ".toml")
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NO_SCRIPT = {"Content-Security-Policy": "default-src 'none'; sandbox allow-same-origin"}


class Server(ThreadingHTTPServer):
    """Serves the pages of a project's runs on 127.0.0.1.

    Args:
        project: The project's name.
        home: The folder that its runs are in.
        port: 0 for any that is free.
        token: What the address must have; None for a new one.

    Raises:
        OSError: The port is in use.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, project: str, home: Path, port: int = 0, token: str | None = None) -> None:
        self.project, self.runs = project, Runs(home)
        self.token = token or secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Refused(Exception):
    """A request that is not answered.

    Args:
        code: The HTTP status.
        reason: For whoever asked.
    """

    def __init__(self, code: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "mini"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """A page, what is on it, or a file."""
        self._answer({"": self._list, "runs": self._runs, "run": self._run, "data": self._data, "files": self._file})

    def do_POST(self) -> None:
        """What changes a run."""
        self._answer(
            {
                "cancel": partial(self._change, self.server.runs.cancel),
                "retry": partial(self._change, self.server.runs.retry),
            }
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: an address has the token in it."""

    def _answer(self, verbs: dict[str, Callable[[str, dict[str, list[str]]], None]]) -> None:
        try:
            self._require_this_machine()
            parts = urllib.parse.urlsplit(self.path)
            _, token, *rest = [urllib.parse.unquote(part) for part in parts.path.split("/")] + [""]
            if not hmac.compare_digest(token.encode(), self.server.token.encode()):
                raise _Refused(HTTPStatus.FORBIDDEN, "the address has not the token that `mini ui` printed")
            verb = rest[0] if rest else ""
            if verb not in verbs or len(rest) < 1 or (len(rest) == 1 and parts.path.count("/") < 2):
                raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")
            if self.command == "POST":
                self._require_own_page()
            verbs[verb]("/".join(rest[1:]).rstrip("/"), urllib.parse.parse_qs(parts.query))
        except _Refused as refusal:
            self._send(str(refusal), "text/plain", refusal.code)
        except (NoSuchRun, FileNotFoundError) as error:
            self._send(f"{error} is not there" if isinstance(error, OSError) else str(error), "text/plain", 404)
        except (MiniError, OSError) as error:
            self._send(str(error), "text/plain", 409)

    def _require_this_machine(self) -> None:
        """A page of another site may have pointed its name here, but cannot choose this header."""
        host, port = self.headers.get("Host", ""), self.server.server_port
        if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise _Refused(HTTPStatus.FORBIDDEN, "this is served under 127.0.0.1 only")

    def _require_own_page(self) -> None:
        own = f"http://{self.headers.get('Host', '')}"
        is_own = self.headers.get("Origin") == own and self.headers.get("X-Mini") == "1"
        if not is_own or self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise _Refused(HTTPStatus.FORBIDDEN, "only a page of `mini ui` may ask for this")

    # What is there.

    def _list(self, _: str, __: dict[str, list[str]]) -> None:
        settings = {"view": "list", "list": "./runs", "project": self.server.project}
        self._send(page.render(f"{self.server.project}: runs", None, settings=settings), "text/html")

    def _runs(self, _: str, __: dict[str, list[str]]) -> None:
        data = json.dumps(self.server.runs.listed(), allow_nan=False).encode()
        self._send_tagged(str(hash(data)), data, "application/json")

    def _run(self, _: str, query: dict[str, list[str]]) -> None:
        names = [self.server.runs.find(name).id for name in self._names(query)]
        asked = urllib.parse.urlencode([("run", name) for name in names])
        settings = {"api": f"./data?{asked}", "runs": names}
        self._send(page.render(", ".join(names), None, settings=settings), "text/html")

    def _data(self, _: str, query: dict[str, list[str]]) -> None:
        folders = [self.server.runs.find(name) for name in self._names(query)]
        tag, data = self.server.runs.contents(folders, self.headers.get("If-None-Match", "").strip('"'))
        self._send_tagged(tag, data, "application/octet-stream")

    def _names(self, query: dict[str, list[str]]) -> list[str]:
        names = list(dict.fromkeys(query.get("run", ())))
        if not 1 <= len(names) <= MOST_COMPARED:
            raise UsageError(f"a page shows one run, or compares up to {MOST_COMPARED}")
        return names

    def _file(self, path: str, query: dict[str, list[str]]) -> None:
        run, _, inside = path.partition("/")
        found = self.server.runs.file(run, inside)
        if isinstance(found, str):
            self._send(found, "text/plain", more=_NO_SCRIPT)
        elif found.is_dir():
            self._send(_listing(found, f"{run}/{inside}", self.server.address), "text/html", more=_NO_SCRIPT)
        else:
            self._send_file(found)

    def _change(self, do: Callable[[str], str], _: str, query: dict[str, list[str]]) -> None:
        (name,) = query.get("run", ("",))[:1]
        self._send(do(name), "text/plain")

    # Sending.

    def _send(
        self,
        content: str | bytes,
        kind: str,
        code: int = HTTPStatus.OK,
        more: dict[str, str] | None = None,
    ) -> None:
        data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
        self._head(code, kind, len(data), more or {})
        self.wfile.write(data)

    def _send_tagged(self, tag: str, data: bytes | None, kind: str) -> None:
        if data is None or self.headers.get("If-None-Match", "").strip('"') == tag:
            self._head(HTTPStatus.NOT_MODIFIED, kind, 0, {})
        else:
            self._send(data, kind, more={"ETag": f'"{tag}"'})

    def _send_file(self, path: Path) -> None:
        is_shown = path.suffix in _SHOWN
        kind = "text/plain" if is_shown else mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if kind not in ("text/plain", "image/png", "image/jpeg", "image/gif", "image/webp"):
            kind = "application/octet-stream"
        with path.open("rb") as file:
            left = file.seek(0, 2)
            file.seek(0)
            self._head(HTTPStatus.OK, kind, left, _NO_SCRIPT)
            while left and (chunk := file.read(min(left, _CHUNK))):  # a log that grows meanwhile ends where it was
                left -= len(chunk)
                self.wfile.write(chunk)

    def _head(self, code: int, kind: str, length: int, more: dict[str, str]) -> None:
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
        if code != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(length))
        if self.command == "POST" and (body := int(self.headers.get("Content-Length") or 0)):
            self.rfile.read(min(body, _CHUNK))
        for name, value in {**_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()


def _listing(folder: Path, name: str, address: str) -> str:
    """The files of a folder as a page of links."""
    rows = []
    for entry in sorted(folder.iterdir(), key=lambda one: (not one.is_dir(), one.name)):
        label = entry.name + ("/" if entry.is_dir() else "")
        inside = urllib.parse.quote(f"{name.rstrip('/')}/{label}")
        target = f"{address}files/{inside}"
        rows.append(f'<li><a href="{html.escape(target)}">{html.escape(label)}</a></li>')
    title = html.escape(name)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
    return f"{head}<ul>{''.join(rows)}</ul></html>"
