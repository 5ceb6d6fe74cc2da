"""Where Modal refuses, the control plane refuses; what Modal ends, it ends."""

import os
import signal
import subprocess
import sys

import modal
import pytest

from mini.loopback.apps import silent
from mini.loopback.state import App

pytestmark = pytest.mark.timeout(180)
IMAGE = modal.Image.debian_slim()


def an_app(name, **functions):
    """An app of functions that travel by value."""
    app = modal.App(name)
    for tag, function in functions.items():
        app.function(serialized=True, image=IMAGE, name=tag)(function)
    return app


def test_a_gpu_that_is_none_is_refused(client):
    for gpu, said in {
        "H10": "Invalid GPU type: 'H10'; did you mean 'H100'",
        "RTX4090": "Invalid GPU type",
        "T4:9": "at most 8",
        "A10:5": "at most 4",
    }.items():
        app = modal.App("gpu")
        app.function(serialized=True, image=IMAGE, name="f", gpu=gpu)(lambda: 1)
        with pytest.raises(modal.exception.InvalidError, match=said), app.run(client=client):
            pass


def test_one_of_several_gpus_that_is_none_is_refused(client):
    app = modal.App("gpus")
    app.function(serialized=True, image=IMAGE, name="f", gpu=["H100", "L4O"])(lambda: 1)
    with pytest.raises(modal.exception.InvalidError, match="L4O"), app.run(client=client):
        pass


@pytest.mark.parametrize("kind", [modal.Dict, modal.Queue, modal.Volume])
def test_what_is_there_is_not_created_again(client, kind):
    kind.objects.create("once", client=client)
    with pytest.raises(modal.exception.AlreadyExistsError):
        kind.objects.create("once", client=client)
    kind.objects.create("once", allow_existing=True, client=client)


def test_a_secret_is_not_created_again_and_keeps_its_values(client):
    modal.Secret.objects.create("once", {"A": "1"}, client=client)
    with pytest.raises(modal.exception.AlreadyExistsError):
        modal.Secret.objects.create("once", {"A": "2"}, client=client)
    with pytest.raises(modal.exception.NotFoundError, match="B"):
        modal.Secret.from_name("once", required_keys=["B"], client=client).hydrate()


def test_a_volume_of_another_version_is_refused(client):
    modal.Volume.from_name("one", version=1, create_if_missing=True, client=client).hydrate()
    with pytest.raises(modal.exception.InvalidError, match="version"):
        modal.Volume.from_name("one", version=2, client=client).hydrate()


def test_what_is_not_there_is_not_found(client):
    for missing in (
        modal.Volume.from_name("nowhere", client=client),
        modal.Queue.from_name("nowhere", client=client),
        modal.Secret.from_name("nowhere", client=client),
        modal.Environment.from_name("nowhere", client=client),
        modal.Function.from_name("nowhere", "f", client=client),
    ):
        with pytest.raises(modal.exception.NotFoundError):
            missing.hydrate()
    with pytest.raises(modal.exception.NotFoundError):
        modal.FunctionCall.from_id("fc-0000000000000000000000", client=client).get(timeout=0)
    with pytest.raises(modal.exception.NotFoundError):
        an_app("homeless", f=lambda: 1).deploy(client=client, environment_name="nowhere")


def test_a_partition_of_a_queue_is_full_at_some_time(client):
    import queue

    with modal.Queue.ephemeral(client=client) as made:
        made.put_many(range(5000))
        with pytest.raises(queue.Full):
            made.put(1, block=False)


def test_an_app_is_silent_once_no_heartbeat_came_for_long():
    def app(**fields):
        made = App("ap-1", "a")
        made.heard = 100.0
        for name, value in {"ephemeral": True, **fields}.items():
            setattr(made, name, value)
        return made

    one = app()
    assert silent([one], 109.0, 10.0) == []
    assert silent([one], 111.0, 10.0) == [one]
    others = [app(deployed=True), app(detached=True), app(stopped_at=1.0), app(ephemeral=False)]
    assert silent(others, 1000.0, 10.0) == []


def test_an_ephemeral_app_ends_when_its_client_is_gone(plane, tmp_path, until):
    file = tmp_path / "program.py"
    file.write_text(
        "import modal, time\n"
        "app = modal.App('left')\n"
        "wait = app.function(serialized=True, image=modal.Image.debian_slim(), name='wait')(lambda: time.sleep(600))\n"
        "with app.run():\n    wait.remote()\n"
    )
    token_id, secret = plane.token
    place = {"MODAL_SERVER_URL": plane.url, "MODAL_TOKEN_ID": token_id, "MODAL_TOKEN_SECRET": secret}
    process = subprocess.Popen([sys.executable, str(file)], env={**os.environ, **place})
    until(lambda: any(item.task_id for item in plane.state.inputs.values()), 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (app,) = plane.state.apps.values()
    assert not app.stopped
    plane.state.silence = 0.0
    until(lambda: app.over)
    assert any("its client is gone" in line.text for line in app.logs)
    assert not any(function.tasks for function in plane.state.functions.values())


def test_a_detached_app_ends_with_its_last_call(client, plane, until):
    app = an_app("goes-on", wait=lambda name: __import__("modal").Queue.from_name(name).get(timeout=120))
    modal.Queue.from_name("door", create_if_missing=True, client=client).hydrate()
    with app.run(client=client, detach=True):
        (function,) = plane.state.functions.values()
        call = modal.Function.from_id(function.id, client=client).spawn("door").object_id
    (made,) = plane.state.apps.values()
    assert not made.stopped
    modal.Queue.from_name("door", client=client).put("open")
    assert modal.FunctionCall.from_id(call, client=client).get(timeout=120) == "open"
    until(lambda: made.stopped)


def test_an_input_for_an_app_that_is_stopped_ends(client, plane):
    from modal._utils.async_utils import synchronizer
    from modal_proto import api_pb2

    async def put(inner, call_id):
        request = api_pb2.FunctionPutInputsRequest(
            function_call_id=call_id, inputs=[api_pb2.FunctionPutInputsItem(idx=1)]
        )
        await inner._stub.FunctionPutInputs(request)

    app = an_app("stops", f=lambda: 1)
    app.deploy(client=client)
    call = modal.Function.from_name("stops", "f", client=client).spawn()
    assert call.get(timeout=120) == 1
    modal.App.lookup("stops", client=client).stop()
    synchronizer.create_blocking(put)(client, call.object_id)
    *_, last = plane.state.inputs.values()
    assert last.output.result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED


def test_what_is_deployed_anew_replaces_the_containers(client, plane, until):
    an_app("grows", f=lambda: "first").deploy(client=client)
    assert modal.Function.from_name("grows", "f", client=client).remote() == "first"
    (function,) = plane.state.functions.values()
    (old,) = function.tasks
    an_app("grows", f=lambda: "second").deploy(client=client)
    until(lambda: old not in function.tasks)
    assert modal.Function.from_name("grows", "f", client=client).remote() == "second"
    (app,) = plane.state.apps.values()
    assert [one.version for one in app.published] == [1, 2]


def test_a_function_that_fails_in_a_build_fails_the_build(program):
    shown = program(
        "import modal\n"
        "def burn():\n    raise RuntimeError('the oven is too hot')\n"
        "app = modal.App('burns', image=modal.Image.debian_slim().run_function(burn))\n"
        "@app.function()\ndef bake():\n    pass\n"
        "@app.local_entrypoint()\ndef main():\n    bake.remote()\n",
        code=1,
        command=(sys.executable, "-m", "modal", "run"),
    )
    assert "the oven is too hot" in shown
