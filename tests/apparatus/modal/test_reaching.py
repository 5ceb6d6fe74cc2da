"""Whether Modal can be reached, and what is said when not. None of these may hang: each has seconds."""

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import certifi
import pytest
import trustme

from mini import ModalApparatus
from mini.errors import ConnectionRefused, TokenError
from mini.loopback.plane import Loopback

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(20)


def point_at(monkeypatch, url, token=("ak-any", "as-any")):
    from modal.config import config

    def get(name, *_, **__):
        return {"server_url": url, "token_id": token[0], "token_secret": token[1]}.get(name)

    monkeypatch.setattr(config, "get", get)


def first_job():
    with ModalApparatus("test", project=PROJECT) as apparatus:
        apparatus.run(abs, -1)


def test_no_token(monkeypatch):
    point_at(monkeypatch, "http://127.0.0.1:9", (None, None))
    with pytest.raises(TokenError, match=r"no Modal token; run `mini auth`.*MODAL_TOKEN_ID.*apparatus=rehearsal"):
        first_job()


def test_a_token_that_is_refused(monkeypatch):
    with Loopback() as loopback:
        loopback.faults.refuse_token = True
        point_at(monkeypatch, loopback.url, loopback.token)
        with pytest.raises(TokenError, match=r"refused the token; run `mini auth`"):
            first_job()
        assert not loopback.state.images


def test_nothing_listens(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    point_at(monkeypatch, f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectionRefused, match=f"127.0.0.1:{port} refuses the connection"):
        first_job()


def test_no_such_host(monkeypatch):
    point_at(monkeypatch, "https://modal.invalid")
    with pytest.raises(ConnectionRefused, match=r"modal.invalid:443 has no address \(DNS\)"):
        first_job()


def test_a_server_that_takes_connections_and_says_nothing(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        point_at(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ConnectionRefused, match="did not answer within 3 s"):
            first_job()


def test_a_proxy_that_is_not_there(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    point_at(monkeypatch, "https://api.modal.invalid")
    with pytest.raises(ConnectionRefused, match=f"the proxy 127.0.0.1:{port} of HTTPS_PROXY refuses"):
        first_job()


def test_the_second_address_serves_when_the_first_does_not(monkeypatch):
    with Loopback() as loopback:
        point_at(monkeypatch, f"https://modal.invalid,{loopback.url}", loopback.token)
        first_job()


@pytest.fixture(scope="module")
def private():
    """A control plane behind a certificate of an authority nobody knows."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile() as file, Loopback(certificate=context) as loopback:
        yield loopback, file


def check(loopback, cache, **environment):
    token_id, secret = loopback.token
    token = {"MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret, "MODAL_SERVER_URL": loopback.url}
    return subprocess.run(
        [sys.executable, "-m", "mini.apparatus.modal.auth", "--check"],
        env={**os.environ, **token, "XDG_CACHE_HOME": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_a_certificate_nobody_trusts(private, tmp_path):
    loopback, _ = private
    checked = check(loopback, tmp_path)
    assert checked.returncode == 1
    assert "has a certificate nobody here trusts (TLS: " in checked.stderr
    assert "SSL_CERT_FILE" in checked.stderr


def test_the_authority_of_the_network_is_trusted_when_it_is_named(private, tmp_path):
    loopback, authority = private
    for _ in range(2):  # idempotent: the second finds the file
        checked = check(loopback, tmp_path, SSL_CERT_FILE=authority)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert loopback.token[1] not in checked.stdout
    (bundle,) = (tmp_path / "mini" / "tls").iterdir()
    known = Path(certifi.__file__).with_name("cacert.pem")
    assert known.read_bytes().rstrip() in bundle.read_bytes()
    assert bundle.stat().st_mode & 0o077 == 0


def test_an_authority_that_is_not_there_is_named(private, tmp_path):
    loopback, _ = private
    checked = check(loopback, tmp_path, SSL_CERT_FILE=str(tmp_path / "none.pem"))
    assert checked.returncode == 1
    assert "none.pem, which is not there" in checked.stderr


def test_auth_writes_modals_own_file(tmp_path):
    file = tmp_path / "modal.toml"
    with Loopback(sign_in=True) as loopback:
        environment = {
            **os.environ,
            "MODAL_SERVER_URL": loopback.url,
            "MODAL_CONFIG_PATH": str(file),
            "BROWSER": "true",
        }
        run = [sys.executable, "-m", "mini.apparatus.modal.auth"]
        made = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=20)
        assert made.returncode == 0, made.stderr
        assert loopback.token[1] not in made.stdout + made.stderr
        assert loopback.token[1] in file.read_text()
        checked = subprocess.run([*run, "--check"], env=environment, capture_output=True, text=True, timeout=20)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert str(file) in checked.stdout


def test_auth_knows_nothing_else():
    asked = subprocess.run(
        [sys.executable, "-m", "mini.apparatus.modal.auth", "--chek"], capture_output=True, text=True, timeout=20
    )
    assert asked.returncode == 2
    assert "--check" in asked.stderr
