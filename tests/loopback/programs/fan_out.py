"""A map within a map, results as they come, and hundreds of inputs."""

import modal

app = modal.App("anthill")


@app.function(max_containers=2)
@modal.concurrent(max_inputs=20)
def carry(grain):
    return grain + 1


@app.function()
def colony(size):
    return sum(carry.map(range(size)))


@app.local_entrypoint()
def main():
    assert sum(carry.map(range(600))) == sum(range(1, 601))
    assert list(colony.map([10, 20])) == [55, 210]
    assert sorted(carry.map(iter(range(50)), order_outputs=False)) == list(range(1, 51))
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
