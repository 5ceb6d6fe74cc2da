"""Arguments and results of some megabytes, which travel as blobs."""

import modal

app = modal.App("freight")


@app.function()
def double(load):
    return load * 2


@app.local_entrypoint()
def main():
    assert len(double.remote(b"x" * 5_000_000)) == 10_000_000
    assert [len(load) for load in double.map([b"x" * 3_000_000] * 3)] == [6_000_000] * 3
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
