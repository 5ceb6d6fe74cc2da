"""Nobody but who started a control plane gets in: not another user of the machine, not a web page."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import modal
import pytest
from grpclib import GRPCError, Status

from mini.loopback.plane import Loopback

pytestmark = pytest.mark.timeout(120)


def blob(client, data=b"x" * 100):
    """The addresses to put and to get a new blob."""
    from modal._utils.async_utils import synchronizer
    from modal_proto import api_pb2

    async def make(inner):
        made = await inner._stub.BlobCreate(api_pb2.BlobCreateRequest(content_length=len(data)))
        got = await inner._stub.BlobGet(api_pb2.BlobGetRequest(blob_id=made.blob_id))
        return made.upload_url, got.download_url

    return synchronizer.create_blocking(make)(client)


def ask(url, method="GET", body=None, path=None, **headers):
    """The status of one request, and what came with it; the path exactly as it is given."""
    parts = urllib.parse.urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as link:
        link.putrequest(method, parts.path if path is None else path, skip_host="Host" in headers)
        for name, value in headers.items():
            link.putheader(name, value)
        if body is not None:
            link.putheader("Content-Length", str(len(body)))
        link.endheaders(body)
        answer = link.getresponse()
        return answer.status, answer.read()


def call(plane, **metadata):
    """What a caller without Modal's client is answered."""
    from google.protobuf.empty_pb2 import Empty
    from grpclib.client import Channel
    from modal_proto.api_grpc import ModalClientStub

    async def make():
        channel = Channel("127.0.0.1", int(plane.url.rsplit(":", 1)[1]))
        try:
            await ModalClientStub(channel).WorkspaceNameLookup(Empty(), metadata=metadata)
            return Status.OK
        except GRPCError as error:
            return error.status
        finally:
            channel.close()

    return asyncio.run(make())


def headers(token_id, secret, **more):
    return {"x-modal-token-id": token_id, "x-modal-token-secret": secret, **more}


def test_the_token_is_another_one_each_time(plane):
    with Loopback() as other:
        assert not set(plane.token) & set(other.token)
        assert call(other, **headers(*plane.token)) is Status.UNAUTHENTICATED


def test_only_the_token_is_let_in(plane):
    token_id, secret = plane.token
    assert call(plane, **headers(token_id, secret)) is Status.OK
    for wrong in ({}, headers(token_id, "-"), headers(token_id, "as-any"), headers("ak-any", secret)):
        assert call(plane, **wrong) is Status.UNAUTHENTICATED
    assert call(plane, **headers(token_id, secret, origin="http://example.org")) is Status.PERMISSION_DENIED


def test_signing_in_gives_no_token(plane):
    done = subprocess.run(
        [sys.executable, "-m", "modal", "token", "new", "--no-verify"],
        env={**os.environ, "MODAL_SERVER_URL": plane.url, "MODAL_CONFIG_PATH": str(Path("modal.toml").absolute())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "only to who started it" in done.stdout + done.stderr
    assert not Path("modal.toml").exists()


def test_an_address_works_for_what_it_was_handed_out_for(client, plane):
    put, get = blob(client)
    assert ask(get)[0] == 404  # nothing is there yet
    assert ask(put, "PUT", b"x" * 100) == (200, b"stored")
    assert ask(get) == (200, b"x" * 100)
    assert ask(put)[0] == 404
    assert ask(get, "PUT", b"y")[0] == 404
    assert ask(get) == (200, b"x" * 100)
    (stored,) = (plane.state.folder / "blobs").iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "sent",
    [
        {"Host": "example.org"},
        {"Host": "localhost:1"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
    ],
)
def test_a_web_page_is_refused(client, sent):
    put, get = blob(client)
    ask(put, "PUT", b"mine")
    assert ask(get, **sent)[0] == 403
    assert ask(put, "PUT", b"theirs", **sent)[0] == 403
    assert ask(get) == (200, b"mine")


def test_no_path_leads_anywhere(client, plane, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("only mine")
    _, get = blob(client)
    parts = urllib.parse.urlsplit(get).path.split("/")
    to_secret = str(secret).lstrip("/")
    names = [
        "../" * 12 + to_secret,
        "..%2f" * 12 + to_secret.replace("/", "%2f"),
        "%2e%2e%2f" * 12 + to_secret.replace("/", "%2F"),
        urllib.parse.quote(str(secret), safe=""),
        str(secret),
        parts[2] + "%00",
        "%00",
        "",
        parts[2][:-1],
        "blobs",
    ]
    for name in names:
        for before in ("/", f"/{parts[1]}/", f"/{parts[1]}/{parts[2]}/", "/blobs/", "/blocks/", "/ranges/0/100/"):
            for method, body in (("GET", None), ("PUT", b"a stranger's")):
                status, answer = ask(get, method, body, path=before + name)
                assert status in (400, 403, 404, 405), before + name
                assert b"only mine" not in answer
    assert secret.read_text() == "only mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt"]


def test_what_a_client_names_never_becomes_a_path(client, plane):
    from modal._utils.async_utils import synchronizer
    from modal_proto import api_pb2

    file = api_pb2.MountFile(filename="/root/../../../x", sha256_hex="0" * 64)
    requests = [
        ("MountPutFile", api_pb2.MountPutFileRequest(sha256_hex="../../x", data=b"x")),
        ("MountPutFile", api_pb2.MountPutFileRequest(sha256_hex="0" * 64, data_blob_id="../x")),
        ("MountGetOrCreate", api_pb2.MountGetOrCreateRequest(files=[file])),
        ("BlobGet", api_pb2.BlobGetRequest(blob_id="../../../etc/passwd")),
        ("VolumeGetFile2", api_pb2.VolumeGetFile2Request(volume_id="../..", path="etc/passwd")),
    ]

    async def make(inner, name, request):
        await getattr(inner._stub, name)(request)

    for name, request in requests:
        with pytest.raises((modal.exception.InvalidError, modal.exception.NotFoundError)):
            synchronizer.create_blocking(make)(client, name, request)
    volume = modal.Volume.from_name("v", create_if_missing=True, version=2, client=client)
    with pytest.raises(modal.exception.InvalidError, match="leaves the volume"):
        list(volume.read_file("../../secret"))


STRANGER = """
import asyncio, json, os, sys, http.client, socket
from pathlib import Path
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError
from grpclib.client import Channel
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientStub
import grpclib.client, h2.connection, encodings.idna, asyncio.sslproto, concurrent.futures.thread

told = json.loads(sys.stdin.read())
if told["uid"] is not None:
    os.setgroups([]); os.setgid(told["uid"]); os.setuid(told["uid"])
found = {"uid": os.getuid()}

async def knock(name, request, **metadata):
    channel = Channel("127.0.0.1", told["port"])
    try:
        await getattr(ModalClientStub(channel), name)(request, metadata=metadata)
        return "let in"
    except GRPCError as error:
        return error.status.name
    finally:
        channel.close()

found["without a token"] = asyncio.run(knock("WorkspaceNameLookup", Empty()))
invented = {"x-modal-token-id": "ak-loopback", "x-modal-token-secret": "as-loopback"}
found["invented token"] = asyncio.run(knock("WorkspaceNameLookup", Empty(), **invented))
found["token flow"] = asyncio.run(knock("TokenFlowWait", api_pb2.TokenFlowWaitRequest()))
statuses = set()
for path in ("/", "/blobs/bl-0", "/x/" + told["name"], "/%2e%2e%2f%2e%2e%2fetc%2fpasswd"):
    link = http.client.HTTPConnection("127.0.0.1", told["files"], timeout=30)
    link.request("GET", path)
    statuses.add(link.getresponse().status)
found["files"] = sorted(statuses)
for name, path in told["paths"].items():
    try:
        if name == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(path)
        elif name == "folder":
            os.listdir(path)
        else:
            Path(path).read_bytes()
        found[name] = "let in"
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user of this machine")
def test_another_user_gets_nothing(client, plane, until):
    put, get = blob(client)
    ask(put, "PUT", b"x" * 100)
    (stored,) = (plane.state.folder / "blobs").iterdir()
    app = modal.App("busy")

    def wait():
        import time

        time.sleep(600)

    function = app.function(serialized=True, image=modal.Image.debian_slim(), name="wait")(wait)
    with app.run(client=client):
        waiting = function.spawn()
        until(lambda: any(item.task_id for item in plane.state.inputs.values()))
        socket = next(plane.state.sockets.iterdir())
        parts = urllib.parse.urlsplit(get)
        paths = {"socket": str(socket), "folder": str(plane.state.folder), "file": str(stored)}
        told = {
            "uid": 65534,
            "port": int(plane.url.rsplit(":", 1)[1]),
            "files": parts.port,
            "name": parts.path.split("/")[2],
            "paths": paths,
        }
        asked = subprocess.run(
            [sys.executable, "-c", STRANGER], input=json.dumps(told), capture_output=True, text=True, timeout=60
        )
        waiting.cancel()
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == {
        "uid": 65534,
        "without a token": "UNAUTHENTICATED",
        "invented token": "UNAUTHENTICATED",
        "token flow": "PERMISSION_DENIED",
        "files": [404],
        "socket": "PermissionError",
        "folder": "PermissionError",
        "file": "PermissionError",
    }
