"""What containers print, shown while they run and afterwards."""

from datetime import UTC, datetime, timedelta

import modal
import pytest

pytestmark = pytest.mark.timeout(120)


def talk(word):
    import sys

    print(f"said {word} ✓")
    print(f"warned {word}", file=sys.stderr)
    return word


def define(app, function=talk):
    # By value: the container has no module of that name.
    function.__module__ = "__main__"
    return app.function(serialized=True, image=modal.Image.debian_slim(), name=function.__name__)(function)


@pytest.fixture
def deployed(client):
    app = modal.App("talks")
    define(app)
    app.deploy(client=client)
    return modal.Function.from_name("talks", "talk", client=client)


def text(entries, **wanted):
    return "".join(
        entry.message for entry in entries if all(getattr(entry, name) == value for name, value in wanted.items())
    )


def test_prints_are_shown_while_an_ephemeral_app_runs(program):
    shown = program(
        "import modal, time\n"
        "app = modal.App('shows')\n"
        "def talk(word):\n    print(f'from the container {word}', flush=True)\n    time.sleep(word)\n"
        "talk = app.function(serialized=True, image=modal.Image.debian_slim())(talk)\n"
        "if __name__ == '__main__':\n"
        "    with modal.enable_output(), app.run():\n"
        "        call = talk.spawn(600)\n"
        "        for entry in app.logs.stream(timeout=60):\n"
        "            if 'from the container' in entry.message:\n"
        "                print('SEEN', entry.source, flush=True)\n"
        "                break\n"
        "        call.cancel()\n"
    )
    assert "from the container 600" in shown
    assert "SEEN stdout" in shown


def test_what_is_printed_last_is_not_lost_when_an_app_ends(program):
    shown = program(
        "import modal\n"
        "app = modal.App('shows')\n"
        "talk = app.function(serialized=True, image=modal.Image.debian_slim())(lambda: print('x' * 70000 + 'END'))\n"
        "if __name__ == '__main__':\n"
        "    with modal.enable_output(), app.run():\n"
        "        talk.remote()\n"
    )
    assert "xEND" in shown.replace("\n", "")


def test_the_logs_of_a_deployed_app_are_followed_and_fetched(client, deployed, until):
    begun = datetime.now(UTC) - timedelta(seconds=5)
    assert list(deployed.map(["a", "b"])) == ["a", "b"]
    app = modal.App.lookup("talks", client=client)
    until(lambda: "warned b" in text(app.logs.tail(1000)))
    for entries in (list(app.logs.fetch(since=begun)), list(app.logs.stream(timeout=3)), list(app.logs.tail(1000))):
        assert {"said a ✓", "said b ✓"} <= set(text(entries, source="stdout").splitlines())
        assert {"warned a", "warned b"} <= set(text(entries, source="stderr").splitlines())
    assert "warned" not in text(app.logs.fetch(since=begun, source="stdout"))
    assert set(text(app.logs.fetch(since=begun, search_text="said a")).split()) == {"said", "a", "✓"}
    assert text(app.logs.fetch(since=begun, until=begun + timedelta(seconds=1))) == ""


def test_the_logs_of_one_call_are_its_own(client, deployed, until):
    one, other = deployed.spawn("one"), deployed.spawn("other")
    assert (one.get(timeout=60), other.get(timeout=60)) == ("one", "other")
    until(lambda: "said one" in text(one.logs.tail(100)))
    assert "other" not in text(one.logs.tail(100))
    assert "said one" in text(one.logs.stream(timeout=30))


def test_following_ends_with_the_app(client, deployed):
    deployed.remote("last")
    app = modal.App.lookup("talks", client=client)
    app.stop()
    assert "said last" in text(modal.App.lookup(app.app_id, client=client).logs.stream(timeout=60))
