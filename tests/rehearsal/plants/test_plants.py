"""Planted defects, here and in a rehearsal: what is caught, and whether its cause is named."""

import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from plants_table import CONFIG, ENDS, FINE, IMAGES, JOBS, OPENED

from mini import LocalApparatus, RehearsalApparatus
from mini.apparatus import options, registry
from mini.apparatus.groups import Image
from mini.apparatus.rehearsal import debian
from mini.errors import MiniError
from mini.loopback import sandbox

HERE = Path(__file__).parent
QUOTED = """a "b" c'd $HOME"""

needs_a_sandbox = pytest.mark.skipif(
    (why := sandbox.problem() or debian.problem()) is not None, reason=f"no sandbox here: {why}"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with defects, in which this process stands."""
    folder = tmp_path_factory.mktemp("plants") / "project"
    shutil.copytree(HERE / "project", folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "src/defects/table.ignored").write_text("1")
    (folder / "src/defects/.env").write_text("A=1")
    (folder / ".env").write_text("A=1")
    (folder / "src/defects/linked").symlink_to(folder / "data")
    (folder / "tests").mkdir()
    (folder / "tests/helpers.py").write_text("VALUE = 1\n")
    (folder / "tools.py").write_text("VALUE = 1\n")
    (folder / "data/runs.db").touch()
    import zipfile

    with zipfile.ZipFile(folder / "data/all.zip", "w") as archive:
        archive.writestr("a", "a")
    for name, text in {".mini/secrets/keys.env": "# of a test\nDEFECTS_KEY=\"a 'value' = 1\"\n"}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    (folder / ".mini/volumes/numbers").mkdir(parents=True)
    (folder / ".mini/volumes/numbers/numbers.csv").write_text("1,2\n")
    sys.path.insert(0, str(folder / "src"))
    yield folder
    sys.path.remove(str(folder / "src"))
    for name in [name for name in sys.modules if name.split(".")[0] == "defects"]:
        del sys.modules[name]


@pytest.fixture
def there(project, tmp_path, monkeypatch):
    """What jobs rely on by luck: this process's surroundings."""
    monkeypatch.chdir(project)
    for name in ("DEFECTS_TOKEN", "DEFECTS_SEARCH_PATH", "DEFECTS_VIRTUAL_ENV"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    elsewhere, scratch, home = tmp_path / "elsewhere", tmp_path / "scratch", Path.home() / f".defects-{tmp_path.name}"
    elsewhere.mkdir()
    scratch.mkdir()
    (elsewhere / "somewhere.py").write_text("VALUE = 1\n")
    left = Path("/tmp") / f"defects-{tmp_path.name}-{time.time_ns()}"
    left.write_text("1")
    home.write_text("1")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "service"))
    unix.listen()
    with socketserver.TCPServer(("127.0.0.1", 0), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        import getpass
        import os

        yield {
            "project": str(project), "home": str(home), "tmp": str(left), "scratch": str(scratch),
            "elsewhere": str(elsewhere), "python": sys.executable, "unix": str(tmp_path / "service"),
            "port": server.server_address[1], "zone": "JST", "language": "C.UTF-8", "host": socket.gethostname(),
            "user": getpass.getuser(), "home_folder": str(Path.home()), "pid": os.getpid(), "quoted": QUOTED,
        }  # fmt: skip
        server.shutdown()
    unix.close()
    left.unlink()
    home.unlink()
    monkeypatch.undo()
    time.tzset()


class _Answer(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")


@pytest.fixture
def rehearsal(project):
    with RehearsalApparatus(
        "plants",
        project=project,
        isolated="sandbox",
        max_containers=2,
        secrets=["keys"],
        volumes={"/data/in": "numbers", "/weights": "weights"},
        image=Image(
            env=(("QUOTED", QUOTED),),
            files=(("data/numbers.csv", "/etc/defects/numbers.csv"),),
            run=("echo made > /opt/tool",),
        ),
    ) as apparatus:
        yield apparatus


def play(name, there):
    import defects.jobs

    return getattr(defects.jobs, name)(there)


def said(result):
    """All that a caller is told of a failure; None for none."""
    if not isinstance(result, BaseException):
        return None
    text, one = "", result
    while one is not None:
        text += f"{type(one).__name__}: {one}\n" + "\n".join(getattr(one, "__notes__", ())) + "\n"
        one = one.__cause__
    return text


def results(apparatus, names, there):
    found = apparatus.map(play, names, [there] * len(names), return_exceptions=True)
    return dict(zip(names, map(said, found), strict=True))


def refused(attempt):
    try:
        attempt()
    except (MiniError, ValueError) as error:
        return said(error)
    return None


def configure(given):
    """As the launcher does, without starting anything."""
    plugin = registry.find("rehearsal")
    plain = {name: value for name, value in given.items() if name != "gpu"}
    parsed = options.parse(plugin.options, plain, "apparatus")
    with plugin.make("plants", parsed) as apparatus:
        gpu = given.get("gpu")
        import dataclasses

        apparatus.view(dataclasses.replace(parsed, gpu=tuple(gpu) if isinstance(gpu, list) else gpu))


def count(rows, capsys):
    """Hold a table of (plant, what was said) to nine of ten caught, and eight of ten named; and show it."""
    caught = [(plant, text) for plant, text in rows if text is not None]
    named = [plant for plant, text in caught if re.search(plant.cause, text)]
    lines = [f"not caught: {plant.name}" for plant, text in rows if text is None]
    lines += [f"not named: {plant.name}: {text.strip()[-300:]}" for plant, text in caught if plant not in named]
    lines.append(f"{len(rows)} planted, {len(caught)} caught, {len(named)} with the cause named")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert len(caught) >= 0.9 * len(rows), lines
    assert len(named) >= 0.8 * len(rows), lines


@needs_a_sandbox
@pytest.mark.slow
def test_what_works_by_luck_fails_in_rehearsal_and_what_is_right_does_not(rehearsal, there, capsys):
    names = [plant.name for plant in JOBS]
    with LocalApparatus("plants", workers=2) as local:
        here = results(local, names, there)
    rehearsed = results(rehearsal, [*names, *FINE], there)
    assert {name: text for name in FINE if (text := rehearsed[name]) is not None} == {}
    hidden = [name for name in names if here[name] is None]
    with capsys.disabled():
        print(f"\n{len(hidden)} of {len(names)} work here; {[name for name in names if name not in hidden]} do not")
    count([(plant, rehearsed[plant.name]) for plant in JOBS], capsys)


@needs_a_sandbox
@pytest.mark.slow
def test_a_container_that_ends_says_how(rehearsal, there, capsys):
    rows = [(plant, said(next(_one(rehearsal.w(**plant.options), plant.name, there)))) for plant in ENDS]
    count(rows, capsys)


def _one(apparatus, name, there):
    return apparatus.map(play, [name], [there], return_exceptions=True)


def test_what_modal_would_refuse_is_refused_before_anything_starts(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    count([(plant, refused(lambda plant=plant: configure(plant.options))) for plant in CONFIG], capsys)


@needs_a_sandbox
@pytest.mark.slow
def test_what_cannot_be_defined_or_built_is_refused(rehearsal, there, capsys):
    rows = [(plant, refused(rehearsal.w(**plant.options).ready)) for plant in OPENED]
    rows += [(plant, refused(rehearsal.w(image=Image(**plant.options)).ready)) for plant in IMAGES]
    count(rows, capsys)


def test_there_are_a_hundred():
    assert len([*JOBS, *ENDS, *CONFIG, *OPENED, *IMAGES]) >= 100
