"""Handles of calls: polled, cancelled, gathered, counted, and asked for by an id that is not known."""

import time

import modal

app = modal.App("errands")


@app.function()
def wait(seconds):
    time.sleep(seconds)
    return seconds


@app.function()
def refuse():
    raise KeyError("no")


@app.local_entrypoint()
def main():
    call = wait.spawn(600)
    try:
        call.get(timeout=0)
    except TimeoutError:
        pass
    else:
        raise AssertionError("a call that runs has no result")
    call.cancel()
    try:
        call.get(timeout=60)
    except modal.exception.RemoteError:
        pass
    else:
        raise AssertionError("a cancelled call has no result")
    done = wait.spawn(0)
    assert done.get() == 0
    assert done.get(timeout=0) == 0
    assert done.num_inputs() == 1
    assert modal.FunctionCall.gather(wait.spawn(0), wait.spawn(0.1)) == [0, 0.1]
    try:
        modal.FunctionCall.gather(wait.spawn(0), refuse.spawn())
    except KeyError:
        pass
    else:
        raise AssertionError("a call that fails fails its group")
    graph = done.get_call_graph()
    assert [entry.status.name for entry in graph] == ["SUCCESS"]
    try:
        modal.FunctionCall.from_id("fc-01234567890123456789AB").get(timeout=0)
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
