"""Queues: partitions, waiting, several at once, reading without taking, and one between two containers."""

import queue

import modal

app = modal.App("bakery-queue")


@app.function()
def serve(line, out):
    while (guest := line.get(timeout=30)) != "last":
        out.put(f"served {guest}")
    return "closed"


@app.local_entrypoint()
def main():
    with modal.Queue.ephemeral() as line, modal.Queue.ephemeral() as out:
        serving = serve.spawn(line, out)
        line.put("ann")
        assert out.get(timeout=60) == "served ann"
        line.put_many(["bob", "last"])
        assert serving.get() == "closed"
        assert out.get() == "served bob"
        out.put_many(range(5), partition="numbers")
        assert out.len(partition="numbers") == 5
        assert out.len(total=True) == 5
        assert out.get_many(2, partition="numbers") == [0, 1]
        assert list(out.iterate(partition="numbers", item_poll_timeout=0.1)) == [2, 3, 4]
        assert out.len(partition="numbers") == 3
        out.clear(partition="numbers")
        assert out.get(block=False) is None
        try:
            out.get(timeout=0.1)
        except queue.Empty:
            pass
        else:
            raise AssertionError
    modal.Queue.objects.create("doors")
    assert "doors" in [one.name for one in modal.Queue.objects.list()]
    modal.Queue.objects.delete("doors")
    try:
        modal.Queue.from_name("doors").hydrate()
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
