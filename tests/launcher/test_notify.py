"""Notices of a run: to a real HTTP server on loopback, by a command, and through Hydra's callback."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import hydra
import pytest

from mini import Run, notify
from mini.errors import OptionError

APPLICATION = """
import hydra

@hydra.main(version_base=None, config_path=None, config_name=None)
def main(config):
    if config.x == 2:
        raise ValueError("too bad")
    return {"y": config.x}

main()
"""


@pytest.fixture
def server():
    """A webhook that keeps what it is sent; answers 500 where the path says so."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if "broken" in self.path else 204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.got, httpd.url = got, f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture
def application():
    Path("pyproject.toml").write_text('[project]\nname = "notify"\n')
    Path("main.py").write_text(APPLICATION)

    def run(*overrides, code):
        command = [sys.executable, "main.py", *overrides]
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


SWEEP = ("-m", "hydra/launcher=apparatus", "hydra.sweep.dir=outputs/run", "+x=1,2,3")


def test_a_webhook_is_told_of_the_first_failure_and_of_the_end(application, server):
    application(*SWEEP, f"hydra.launcher.notify={server.url}/hook", code=1)
    failure, end = [body for _, _, body in server.got]
    assert {kind for _, kind, _ in server.got} == {"application/json"}
    assert (failure["event"], failure["run"], failure["job"]) == ("failure", "run", 1)
    assert "too bad" in failure["text"]
    assert end["counts"] == {"done": 2, "failed": 1}
    assert end["text"] == end["content"] == "run is over: 2 done, 1 failed"
    assert "/hook" not in Path("outputs/run/run.json").read_text()


def test_only_what_was_asked_for_is_told(application, server):
    application(*SWEEP, f"hydra.launcher.notify={{webhook: '{server.url}', events: [end]}}", code=1)
    assert [body["event"] for _, _, body in server.got] == ["end"]


def test_a_webhook_that_fails_is_a_warning_without_its_address(application, server):
    printed = application(*SWEEP, f"hydra.launcher.notify={server.url}/broken-secret", code=1)
    assert "the webhook at 127.0.0.1 could not be told of the failure of run: it answered 500" in printed
    assert "broken-secret" not in printed


def test_a_command_gets_the_notice(application, tmp_path):
    script = tmp_path / "told.sh"
    script.write_text('#!/bin/sh\necho "$MINI_EVENT $MINI_RUN" >>events\ncat >>bodies; echo >>bodies\n')
    script.chmod(0o755)
    application(*SWEEP, f"hydra.launcher.notify={{command: '{script}'}}", code=1)
    assert sorted(Path("events").read_text().splitlines()) == ["end run", "failure run"]
    assert {json.loads(line)["event"] for line in Path("bodies").read_text().splitlines()} == {"end", "failure"}


def test_a_detached_run_tells_too(application, server):
    application(*SWEEP, f"hydra.launcher.notify={server.url}", "hydra.launcher.detach=true", code=0)
    Run.open("outputs/run").wait(60)
    for _ in range(600):
        if len(server.got) == 2:
            break
        threading.Event().wait(0.1)
    assert [body["event"] for _, _, body in server.got] == ["failure", "end"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nobody", "is no address"),
        ({}, "names nobody"),
        ({"webhok": "https://x"}, "did you mean 'webhook'"),
        ({"command": "no-such-command-here"}, "there is no command"),
        ({"webhook": "https://x", "events": ["never"]}, "end and failure"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(value, message):
    with pytest.raises(OptionError, match=message):
        notify.parse(value)


def test_a_desktop_without_a_way_to_show_anything_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OptionError, match="neither notify-send nor osascript"):
        notify.parse("desktop")


def test_a_desktop_is_told_by_notify_send(monkeypatch, tmp_path):
    program = tmp_path / "notify-send"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >shown\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    notice = notify.Notice("end", "run", "run is over", {}, "outputs/run", 1.0)
    assert notify.send(notify.parse("desktop"), notice) == []
    assert Path("shown").read_text().splitlines() == ["--", "mini: run", "run is over"]


@pytest.mark.parametrize("launcher", ["basic", "apparatus"])
def test_the_callback_tells_with_any_launcher(application, server, launcher):
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text(
        f"hydra:\n  callbacks:\n    tell:\n      _target_: mini.launcher.callback.Notify\n      webhook: {server.url}\n"
    )
    Path("main.py").write_text(
        APPLICATION.replace("config_path=None, config_name=None", "config_path='conf', config_name='config'")
    )
    overrides = ["-m", "hydra.sweep.dir=outputs/run", f"hydra/launcher={launcher}", "+x=1,2,2"]
    application(*overrides, code=1)
    # Before 1.4 Hydra calls nobody at the end of a sweep in which a job has failed.
    end = ["end"] if hydra.__version__.startswith("1.4") else []
    assert [body["event"] for _, _, body in server.got] == ["failure", *end]
    application("-m", "hydra.sweep.dir=outputs/good", f"hydra/launcher={launcher}", "+x=1,3", code=0)
    end = server.got[-1][2]
    assert end["event"] == "end"
    assert end["counts"] == ({"done": 2} if launcher == "apparatus" else {})
