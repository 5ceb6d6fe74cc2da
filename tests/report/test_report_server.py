"""`mini ui`, asked as a browser would, and as it would not."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import report_runs

from mini import LocalApparatus, Run
from mini.report.server import Server
from mini.runs.status import RunState


@contextmanager
def serving(home):
    with Server("project", Path(home)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    try:
        connection.request(method, f"/{server.token if token is None else token}{path}", headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.fixture
def server(tmp_path):
    report_runs.make(tmp_path / "outputs/one", report_runs.grid(3), steps=4)
    report_runs.make(tmp_path / "outputs/two", report_runs.grid(2), failed={1: "bad"})
    with serving(tmp_path / "outputs") as made:
        yield made


def test_the_list_has_every_run(server):
    answer, data = ask(server, "/runs")
    assert {run["id"]: run["counts"] for run in json.loads(data)} == {
        "one": {"done": 3},
        "two": {"done": 1, "failed": 1},
    }
    again, _ = ask(server, "/runs", If_None_Match=answer.headers["ETag"])
    assert again.status == 304


def test_what_is_on_a_page_is_asked_for_once(server, tmp_path):
    answer, data = ask(server, "/data?run=one&run=two")
    length = int.from_bytes(data[:4], "little")
    assert json.loads(data[4 : 4 + length])["jobs"] == 5
    tag = answer.headers["ETag"]
    assert ask(server, "/data?run=one&run=two", If_None_Match=tag)[0].status == 304
    (tmp_path / "outputs/one/0/history.csv").write_bytes(b"")
    assert ask(server, "/data?run=one&run=two", If_None_Match=tag)[0].status == 200


@pytest.mark.parametrize("path", ["/", "/runs", "/run?run=one", "/data?run=one", "/files/one/0/log.txt"])
def test_without_the_token_nothing_is_said(server, path):
    for token in ("", "wrong", server.token[:-1], server.token + "x", "%C3%A9", "%FF"):
        answer, data = ask(server, path, token=token)
        assert answer.status in (403, 404)
        assert b"one" not in data


def test_by_another_name_nothing_is_said(server):
    """A page of another site may have pointed its own name at this address."""
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", ""):
        assert ask(server, "/runs", Host=host)[0].status == 403
    assert ask(server, "/runs", Host=f"localhost:{server.server_port}")[0].status == 200


def test_only_a_page_of_its_own_changes_anything(server, tmp_path):
    own = f"http://127.0.0.1:{server.server_port}"
    for headers in (
        {},
        {"Origin": own},
        {"X_Mini": "1"},
        {"Origin": "http://evil.example", "X_Mini": "1"},
        {"Origin": "null", "X_Mini": "1"},
        {"Origin": own, "X_Mini": "1", "Sec_Fetch_Site": "cross-site"},
    ):
        assert ask(server, "/cancel?run=one", "POST", **headers)[0].status == 403
        assert ask(server, "/retry?run=one", "POST", **headers)[0].status == 403
    assert ask(server, "/cancel?run=one")[0].status == 404
    assert not (tmp_path / "outputs/one/cancel").exists()
    answer, data = ask(server, "/cancel?run=one", "POST", Origin=own, X_Mini="1")
    assert (answer.status, data) == (200, b"one is not running")


def test_files_are_those_of_runs_and_never_run(server, tmp_path):
    (tmp_path / "outputs/secret.txt").write_text("secret")
    (tmp_path / "outputs/one/0/page.html").write_text("<script>1</script>")
    (tmp_path / "outputs/one/0/out").symlink_to(tmp_path / "outputs/secret.txt")
    answer, data = ask(server, "/files/one/0/log.txt")
    assert data == b"the log of job 0\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer, _ = ask(server, "/files/one/0/page.html")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"page.html" in ask(server, "/files/one/0/")[1]
    for path in (
        "/files/one/../secret.txt",
        "/files/one/%2e%2e/secret.txt",
        "/files/one/0/out",
        "/files/one//etc/passwd",
        "/files/../secret.txt",
        "/files/nosuch/x",
        "/files/one/nosuch",
        "/files/one/..%2fsecret.txt",
    ):
        answer, data = ask(server, path)
        assert answer.status == 404
        assert b"secret" not in data.replace(b"secret.txt", b"")


def test_a_page_shows_at_most_ten_runs(server):
    assert ask(server, "/run")[0].status == 409
    assert ask(server, "/data?" + "&".join(f"run=r{i}" for i in range(11)))[0].status == 409
    assert ask(server, "/run?run=nosuch")[0].status == 404


def fails_at_first(marker):
    if not marker.exists():
        marker.touch()
        raise ValueError("not yet")
    return {"loss": 1.0}


def test_a_run_is_cancelled_and_repeated(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        failing = apparatus.spawn(fails_at_first, [tmp_path / "marker"], name="failing")
        sleeping = apparatus.spawn(time.sleep, [600], name="sleeping")
    failing.wait(60)
    with serving(tmp_path / "outputs") as server:
        own = {"Origin": f"http://127.0.0.1:{server.server_port}", "X_Mini": "1"}
        answer, data = ask(server, "/cancel?run=sleeping", "POST", **own)
        assert (answer.status, data) == (200, b"sleeping: 1 cancelled")
        assert sleeping.status().state is RunState.STOPPED
        answer, data = ask(server, "/retry?run=failing", "POST", **own)
        assert answer.status == 200, data
        deadline = time.monotonic() + 120
        while Run.open("failing").status().counts != {"done": 1}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
