"""Asynchronous functions, generators of both kinds, and calls from an event loop."""

import asyncio

import modal

app = modal.App("tides")


@app.function()
async def height(hour):
    await asyncio.sleep(0.01)
    return hour % 12


@app.function()
def rising(hours):
    yield from range(hours)


@app.function()
async def falling(hours):
    for hour in reversed(range(hours)):
        yield hour


async def ask():
    assert await height.remote.aio(14) == 2
    assert [value async for value in height.map.aio([1, 13])] == [1, 1]
    assert [value async for value in falling.remote_gen.aio(3)] == [2, 1, 0]


@app.local_entrypoint()
async def main():
    await ask()
    assert [value async for value in rising.remote_gen.aio(3)] == [0, 1, 2]
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        asyncio.run(ask())
        print("WORKED")
