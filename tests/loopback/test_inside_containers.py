"""What a function that runs in a container may ask for with Modal's own client: calls, apps and dicts."""

from contextlib import contextmanager

import modal
import pytest

pytestmark = pytest.mark.timeout(120)
IMAGE = modal.Image.debian_slim()


def serialized(app, function, **options):
    return app.function(serialized=True, image=IMAGE, name=function.__name__, **options)(function)


@contextmanager
def opened(client, *functions):
    """An ephemeral app with some functions."""
    app = modal.App("ephemeral")
    made = [serialized(app, function) for function in functions]
    with app.run(client=client):
        yield made


def deploy(client, name, **functions):
    app = modal.App(name)
    for function in functions.values():
        serialized(app, function)
    app.deploy(client=client)
    return {tag: modal.Function.from_name(name, tag, client=client) for tag in functions}


def test_a_container_cancels_a_call(client, plane, until):
    def wait(seconds):
        import time

        time.sleep(seconds)

    def cancel(call_id):
        import modal

        modal.FunctionCall.from_id(call_id).cancel()

    with opened(client, wait, cancel) as (waiting, cancelling):
        call = waiting.spawn(600)
        until(lambda: any(item.task_id for item in plane.state.inputs.values()))
        cancelling.remote(call.object_id)
        with pytest.raises(modal.exception.RemoteError):
            call.get(timeout=60)


def test_a_deployed_app_stops_itself_and_gives_its_last_result(client, plane, until):
    def stop(name):
        import modal

        modal.App.lookup(name).stop()
        return "stopped"

    def wait():
        import time

        time.sleep(600)

    functions = deploy(client, "stops-itself", stop=stop, wait=wait)
    waiting = functions["wait"].spawn()
    until(lambda: any(item.task_id for item in plane.state.inputs.values()))
    assert functions["stop"].remote("stops-itself") == "stopped"
    with pytest.raises(modal.exception.RemoteError):
        waiting.get(timeout=60)
    until(lambda: not any(function.tasks for function in plane.state.functions.values()))
    with pytest.raises(modal.exception.NotFoundError):
        modal.App.lookup("stops-itself", client=client)
    with pytest.raises(modal.exception.NotFoundError):
        modal.Function.from_name("stops-itself", "wait", client=client).hydrate()
    with pytest.raises(modal.exception.NotFoundError):
        functions["wait"].spawn()


def test_an_app_that_was_stopped_is_still_known_by_its_id(client):
    def one():
        return 1

    deploy(client, "known", one=one)
    app = modal.App.lookup("known", client=client)
    assert app.info().functions.keys() == {"one"}
    app.stop()
    again = modal.App.lookup(app.app_id, client=client)
    assert again.info().lifecycle.stopped_at is not None


def test_a_dict_from_inside(client):
    def use(name):
        import modal

        found = modal.Dict.from_name(name)
        seen = [found.get("a"), found.put("a", 2, skip_if_exists=True), found.put("b", 3, skip_if_exists=True)]
        found.update({"c": 4, "d": 5})
        seen += [found.len(), sorted(found.items()), found.contains("c"), "x" in found, found.pop("c"), found.len()]
        return [*seen, sorted(found.keys()), sorted(found.values())]

    with modal.Dict.ephemeral(client=client) as anonymous:
        anonymous["k"] = 1
        assert modal.Dict.from_id(anonymous.object_id, client=client)["k"] == 1
        anonymous.clear()
        assert anonymous.len() == 0
    modal.Dict.from_name("shared", create_if_missing=True, client=client)["a"] = 1
    with opened(client, use) as (function,):
        assert function.remote("shared") == [
            *(1, False, True, 4, [("a", 1), ("b", 3), ("c", 4), ("d", 5)], True, False, 4, 3),
            *(["a", "b", "d"], [1, 3, 5]),
        ]


def test_a_dict_deleted_from_inside_is_gone(client, plane):
    def delete(name):
        import modal

        modal.Dict.objects.delete(name)

    held = modal.Dict.from_name("short-lived", create_if_missing=True, client=client)
    held["a"] = 1
    with opened(client, delete) as (function,):
        function.remote("short-lived")
    with pytest.raises(modal.exception.NotFoundError):
        modal.Dict.from_name("short-lived", client=client).hydrate()
    with pytest.raises(modal.exception.NotFoundError):
        held["a"]
    assert not plane.state.dicts
    with pytest.raises(modal.exception.NotFoundError):
        modal.Dict.objects.delete("short-lived", client=client)
    modal.Dict.objects.delete("short-lived", allow_missing=True, client=client)


def test_a_dict_is_made_once_and_listed(client):
    modal.Dict.objects.create("one", client=client)
    modal.Dict.objects.create("one", allow_existing=True, client=client)
    with pytest.raises(modal.exception.AlreadyExistsError):
        modal.Dict.objects.create("one", client=client)
    modal.Dict.objects.create("two", client=client)
    assert [found.name for found in modal.Dict.objects.list(client=client)] == ["two", "one"]


def test_an_app_that_is_not_there(client):
    with pytest.raises(modal.exception.NotFoundError):
        modal.App.lookup("nowhere", client=client)
    assert modal.App.lookup("made", create_if_missing=True, client=client).app_id
