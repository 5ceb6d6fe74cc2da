"""A plain function: called, mapped over one and two iterables, and with failures as values."""

import modal

app = modal.App("seeds")


@app.function()
def weigh(seed, unit=1):
    if seed < 0:
        raise ValueError(f"no seed weighs {seed}")
    return seed * unit


@app.local_entrypoint()
def main():
    assert weigh.local(2) == 2
    assert weigh.remote(3, unit=2) == 6
    assert list(weigh.map(range(5))) == [0, 1, 2, 3, 4]
    assert list(weigh.starmap([(1, 10), (2, 20)])) == [10, 40]
    assert sorted(weigh.map([3, 1, 2], order_outputs=False)) == [1, 2, 3]
    good, bad = weigh.map([1, -1], return_exceptions=True)
    assert good == 1
    assert isinstance(bad, ValueError)
    weigh.for_each([1, 2])
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
