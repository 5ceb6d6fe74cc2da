"""Why a job failed in a container that would not have failed where it was sent from: what is not there.

Runs in the container, with nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

LEFT_OUT = "MINI_LEFT_OUT"
"""The variable of a container's environment that says what is not there; `image.left_out` makes it."""

_REFUSED = Path("/run/modal/refused")  # of a rehearsal: the hosts a container without a network asked for
_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1",
    "libsndfile.so.1": "libsndfile1",
    "libxml2.so.2": "libxml2",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libX11.so.6": "libx11-6",
    "libEGL.so.1": "libegl1",
    "libmagic.so.1": "libmagic1",
    "libpq.so.5": "libpq5",
    "libgeos_c.so.1": "libgeos-c1v5",
}
_PROGRAMS = {
    "node": "nodejs",
    "convert": "imagemagick",
    "dot": "graphviz",
    "pdftotext": "poppler-utils",
    "tesseract": "tesseract-ocr",
    "java": "default-jre-headless",
    "c++": "g++",
    "cc": "gcc",
    "ps": "procps",
    "latex": "texlive",
    "sqlite3": "sqlite3",
    "ssh": "openssh-client",
}
_LIKE_A_NETWORK = (
    *("name resolution", "name or service not known", "network is unreachable", "getaddrinfo", "gaierror"),
    *("nodename nor servname", "connection refused", "connect call failed", "cannot connect to host", "connecterror"),
    *("connection error", "connectionerror", "max retries exceeded", "urlopen error", "failed to establish"),
    "offlinemode",
)
_COMPILERS = ("cc", "gcc", "g++", "c++", "gfortran", "make", "ld")


def explain(error: BaseException) -> str | None:
    """What of this machine's surroundings a failed job was without, and what brings it; None where nothing is known.

    Args:
        error: What the job raised.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        for reason in _REASONS:
            try:
                found = reason(one)
            except Exception:  # noqa: BLE001 - whatever the job's exception is made of, its own text is there
                continue
            if found:
                return found
        one = one.__cause__ or one.__context__
    return None


def _module(error: BaseException) -> str | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.split(".")[0]
    known = _left_out()
    group = known.get("modules", {}).get(name)
    if group:
        return (
            f"`{name}` is not in the container: here it comes with group `{group}`, which is left out; declare it in "
            "`dependencies`, or in image.pip"
        )
    if group is not None:
        return f"`{name}` is not in the container: it is declared nowhere; `uv add` it, or use image.pip"
    why = known.get("files", {}).get(name) or known.get("files", {}).get(f"{name}.py")
    if why:
        return f"`{name}` is not in the container: {why}"
    return f"`{name}` is not in the container: declare it in `dependencies`, or ship it with image.source"


def _distribution(error: BaseException) -> str | None:
    if type(error).__name__ != "PackageNotFoundError":
        return None
    name = str(getattr(error, "name", "") or error)
    own = _left_out().get("name", "")
    if own and name.replace("_", "-").lower() == own.replace("_", "-").lower():
        return (
            f"the project `{name}` is not installed in a container: its source is there, but no version or entry points"
        )
    return f"the distribution `{name}` is not in the container; declare it in `dependencies`, or in image.pip"


def _library(error: BaseException) -> str | None:
    match = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", str(error))
    if match is None:
        return None
    package = _PACKAGES.get(match[1])
    brings = f"image.apt=[{package}] brings it" if package else "a package of image.apt brings it"
    return f"the system library {match[1]} is not in the container; {brings}"


def _variable(error: BaseException) -> str | None:
    name = None
    if isinstance(error, KeyError) and _raised_in(error, "os.py", "<frozen os>") and error.args:
        name = error.args[0]
    else:
        match = re.search(r"Environment variable '(\w+)' not found", str(error))
        name = match[1] if match else None
    if not isinstance(name, str):
        return None
    return (
        f"the environment variable {name} is not in the container, which gets none of this machine's: use "
        f"apparatus.pass_env=[{name}], apparatus.env, or a secret"
    )


def _program(error: BaseException) -> str | None:
    name = None
    if isinstance(error, FileNotFoundError) and _raised_in(error, "subprocess.py", "pty.py", "os.py"):
        name = error.filename
    elif type(error).__name__ == "CalledProcessError" and getattr(error, "returncode", 0) == 127:
        command = getattr(error, "cmd", "")
        words = command.split() if isinstance(command, str) else list(command)
        name = next((word for word in words if "=" not in word and word not in ("sh", "bash", "-c", "env")), None)
        name = name.split()[0] if name else None
    if not isinstance(name, str | bytes):
        return None
    name = os.path.basename(os.fsdecode(name))  # noqa: PTH119 - text of any kind
    package = _PROGRAMS.get(name, name)
    if name in _COMPILERS:
        return f"the program `{name}` is not in a rehearsal: Modal's debian_slim has it, and here image.apt=[{package}]"
    return f"the program `{name}` is not in the container; image.apt=[{package}] may bring it"


def _file(error: BaseException) -> str | None:
    path = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        match = re.search(r"[Nn]o such file or directory:? ['\"]?([^'\"]+)", str(error)) or re.search(
            r"['\"]?(/[^'\"\s]+)['\"]? (?:does not exist|not found|is not a file)", str(error)
        )
        path = match[1] if match else None
    if not isinstance(path, str | bytes):
        return None
    known, text = _left_out(), os.fsdecode(path)
    absolute = os.path.normpath(os.path.join("/root", text))  # noqa: PTH118
    project, home = known.get("project", ""), known.get("home", "")
    if project and (absolute + "/").startswith(project + "/"):
        below = os.path.relpath(absolute, project)
        return (
            f"{text} is a path of the machine this was sent from; image.files={{{below}: /root/{below}}} ships it, and "
            f"then it is /root/{below}"
        )
    if home and home != "/root" and (absolute + "/").startswith(home + "/"):
        return f"{text} is in the home folder of the machine this was sent from; image.files ships files"
    if absolute.startswith("/root/outputs"):
        return f"{text} is not on the volume of this project"
    if absolute.startswith("/root/"):
        below = absolute.removeprefix("/root/")
        for name, why in known.get("files", {}).items():
            if name == below or below.startswith(name + "/") or below.endswith("/" + name):
                return f"{text} is not in the container: {why}"
        return f"{text} is not in the container; image.files={{{below}: {absolute}}} ships it, if it is in the project"
    return f"{text} is not in the container: it has nothing of this machine; image.files ships files"


def _network(error: BaseException) -> str | None:
    hosts = _refused()
    text = f"{type(error).__name__}: {error}".lower()
    if not any(word in text for word in _LIKE_A_NETWORK):
        return None
    asked = _address(error.__traceback__)
    named = ", ".join(hosts) or asked
    if _REFUSED.exists():
        what = f"the job tried to reach {named}" if named else "the job tried to reach something"
        return f"{what}, and a rehearsal's containers have no network; apparatus.network=true opens it"
    if asked and asked.split(":")[0] in ("localhost", "127.0.0.1", "::1"):
        return f"the job tried to reach {asked}, a service of the machine this was sent from; a container has its own"
    return None


def _memory(error: BaseException) -> str | None:
    return "apparatus.memory=MIB asks for more" if isinstance(error, MemoryError) else None


def _signal(error: BaseException) -> str | None:
    code = getattr(error, "returncode", None)
    if type(error).__name__ == "CalledProcessError" and isinstance(code, int) and code < 0:
        return f"the program it called was ended by signal {-code}"
    return None


def _gpu(error: BaseException) -> str | None:
    text = str(error)
    if re.search(
        r"no NVIDIA driver|CUDA driver|not compiled with CUDA|No CUDA GPUs|CUDA_ERROR_NO_DEVICE|libcuda", text
    ):
        return "there is no GPU in this container; gpu=NAME asks for one on Modal, and a rehearsal has none"
    return None


def _read_only(error: BaseException) -> str | None:
    return None if getattr(error, "errno", None) != 30 else "this place is read-only in the container"


_REASONS: tuple[Callable[[BaseException], str | None], ...] = (
    *(_distribution, _module, _library, _variable, _program, _network, _gpu, _file, _memory, _signal, _read_only),
)


@cache
def _left_out() -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(os.environ.get(LEFT_OUT, "{}"))
    except ValueError:
        return {}
    return found


def _refused() -> list[str]:
    try:
        return list(dict.fromkeys(_REFUSED.read_text().split()))[-5:]
    except OSError:
        return []


def _address(trace: TracebackType | None) -> str:
    """Where a connection was to go, from the locals of what was to make it."""
    found = ""
    for frame, _ in traceback.walk_tb(trace):
        for name in ("address", "sa", "addr", "host", "url"):
            value = frame.f_locals.get(name)
            if isinstance(value, tuple) and len(value) >= 2 and isinstance(value[0], str):
                found = f"{value[0]}:{value[1]}"
            elif isinstance(value, str) and value and not found:
                found = value
    return found


def _raised_in(error: BaseException, *files: str) -> bool:
    """Whether the last frame of an exception is in one of these files of the standard library."""
    last = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        last = frame
    return last is not None and os.path.basename(last.f_code.co_filename) in files  # noqa: PTH119
