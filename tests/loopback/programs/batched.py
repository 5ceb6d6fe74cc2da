"""Inputs that come together, and inputs that run side by side in one container."""

import modal

app = modal.App("mill")


@app.function()
@modal.batched(max_batch_size=4, wait_ms=200)
def grind(grains):
    return [(grain, len(grains)) for grain in grains]


@app.function(max_containers=1)
@modal.concurrent(max_inputs=3)
async def wait_for_each_other(name):
    import asyncio

    arrived.append(name)
    while len(arrived) < 3:
        await asyncio.sleep(0.05)
    return len(arrived)


arrived = []


@app.local_entrypoint()
def main():
    ground = list(grind.map(range(8)))
    assert [grain for grain, _ in ground] == list(range(8))
    assert max(size for _, size in ground) > 1
    assert list(wait_for_each_other.map("abc")) == [3, 3, 3]
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
