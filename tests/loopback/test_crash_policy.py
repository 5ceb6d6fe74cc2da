"""Containers that die at their start, that are taken away, or that never become ready."""

import modal
import pytest

from mini.loopback import crashes
from mini.loopback.crashes import CrashLoop

pytestmark = pytest.mark.timeout(180)
IMAGE = modal.Image.debian_slim()


def test_pauses_grow_and_have_a_limit():
    loop, pauses = CrashLoop(), []
    for _ in range(20):
        pauses.append(loop.pause)
        loop.died("exited")
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[crashes.LIMIT - 1] <= crashes.SHORT  # an ephemeral app tells within seconds
    assert pauses[-1] == crashes.LONGEST


def test_one_that_starts_ends_the_series():
    loop = CrashLoop()
    for _ in range(crashes.LIMIT):
        assert not loop.limit_reached
        loop.died("exited")
    assert loop.limit_reached
    loop.started()
    assert (loop.limit_reached, loop.pause) == (False, 0)


def test_later_inputs_get_one_container_more():
    loop = CrashLoop()
    for _ in range(crashes.LIMIT):
        loop.died("exited")
    loop.gave_up()
    assert not loop.limit_reached
    loop.died("exited")
    assert loop.limit_reached


@pytest.mark.parametrize(
    ("code", "said"), [(3, "exited with code 3"), (-9, r"signal 9 \(SIGKILL\)"), (None, "could not be started")]
)
def test_a_death_is_described(code, said):
    import re

    assert re.search(said, crashes.describe(code, "Traceback …\nKeyError: 'x'\n"))
    assert crashes.describe(code, "Traceback …\nKeyError: 'x'\n").endswith("KeyError: 'x'")


def dies_at_start(app, **options):
    """A function whose module raises when a container reads it."""

    class Poison:
        def __reduce__(self):
            return (exec, ("import os, sys; print('the end of its words', file=sys.stderr, flush=True); os._exit(7)",))

    poison = Poison()
    return app.function(serialized=True, image=IMAGE, name="poison", **options)(lambda x: poison)


def test_inputs_of_an_ephemeral_app_fail_after_some_deaths(client, plane):
    app = modal.App("dies")
    function = dies_at_start(app, max_containers=4)
    with app.run(client=client):
        results = list(function.map(range(20), return_exceptions=True))
        for result in results:
            assert isinstance(result, modal.exception.RemoteError)
            assert "8 containers exited before they were ready" in str(result)
            assert "exited with code 7" in str(result)
            assert "the end of its words" in str(result)
        (call,) = plane.state.calls.values()
        statuses = {item.output.result.status for item in call.inputs.values()}
        assert statuses == {modal_status("INIT_FAILURE")}
        assert {item.output.result.exitcode for item in call.inputs.values()} == {7}
        assert 8 <= plane.state.requests["ContainerHello"] <= 12


def modal_status(name):
    from modal_proto import api_pb2

    return api_pb2.GenericResult.GenericStatus.Value(f"GENERIC_STATUS_{name}")


def test_a_deployed_app_starts_containers_again_and_says_so(client, plane, until):
    app = modal.App("dies-deployed")
    dies_at_start(app)
    app.deploy(client=client)
    call = modal.Function.from_name("dies-deployed", "poison", client=client).spawn(1)
    deployed = modal.App.lookup("dies-deployed", client=client)
    until(lambda: plane.state.requests["ContainerHello"] > 4)
    system = [entry.message for entry in deployed.logs.tail(1000, source="system")]
    assert any("exited with code 7" in line and "the next starts in" in line for line in system)
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    (function,) = plane.state.functions.values()
    assert len(function.tasks) <= 1
    deployed.stop()
    until(lambda: not function.tasks)


def test_a_container_that_is_never_ready_fails_its_inputs(client, plane):
    class Slow:
        def __reduce__(self):
            return (exec, ("import time; time.sleep(600)",))

    slow, app = Slow(), modal.App("slow")
    function = app.function(serialized=True, image=IMAGE, name="slow", startup_timeout=2)(lambda: slow)
    with app.run(client=client), pytest.raises(modal.exception.RemoteError, match="startup timeout of 2 s"):
        function.remote()


def test_a_preempted_container_gives_its_input_to_another_and_loses_nothing(client, plane, tmp_path):
    plane.faults.preempt_every = 2

    def note(folder, x):
        import os
        import time
        from pathlib import Path

        with Path(folder, str(x)).open("a") as file:
            file.write(f"{os.environ['MODAL_TASK_ID']}\n")
        time.sleep(0.2)
        return x

    app = modal.App("preempted")
    function = app.function(serialized=True, image=IMAGE, name="note", max_containers=1)(note)
    with app.run(client=client):
        assert list(function.map([str(tmp_path)] * 4, range(4))) == [0, 1, 2, 3]
    assert all(item.losses == 0 for item in plane.state.inputs.values())
    assert len({name for path in tmp_path.iterdir() for name in path.read_text().split()}) > 1


def test_a_preempted_container_that_does_not_end_is_killed(client, plane, tmp_path):
    plane.faults.preempt_every, plane.faults.preempt_grace = 1, 1.0

    def stubborn(folder):
        import time
        from pathlib import Path

        mark = Path(folder, "mark")
        if mark.exists():
            return "second"
        mark.touch()
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                Path(folder, "interrupted").touch()
        return "late"

    app = modal.App("stubborn")
    function = app.function(serialized=True, image=IMAGE, name="stubborn", max_containers=1)(stubborn)
    with app.run(client=client):
        call = function.spawn(str(tmp_path))
        while not (tmp_path / "mark").exists():
            pass
        plane.faults.preempt_every = 0
        assert call.get(timeout=90) == "second"
    (item,) = plane.state.inputs.values()
    assert item.losses == 0
