"""Inputs side by side in threads of one container, and calls from threads and an event loop here."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import modal

app = modal.App("loom")
meeting = threading.Barrier(2)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=2)
def weave(thread):
    meeting.wait(60)
    return thread * 2


@app.function()
def cut(thread):
    return thread[0]


@app.local_entrypoint()
def main():
    assert list(weave.map("ab")) == ["aa", "bb"]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(cut.remote, ["ab", "cd", "ef"])) == ["a", "c", "e"]

    async def at_once():
        return await asyncio.gather(*(cut.remote.aio(word) for word in ("gh", "ij")))

    assert asyncio.run(at_once()) == ["g", "i"]
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
