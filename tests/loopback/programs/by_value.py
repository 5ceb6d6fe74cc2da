"""Functions that travel by value: closures and lambdas; and values of one's own classes."""

from dataclasses import dataclass

import modal

app = modal.App("foundry")


@dataclass
class Bell:
    note: str
    weight: int = 1


def bronze(weight):
    def cast(note):
        return note, weight

    return cast


heavy = app.function(serialized=True, name="heavy")(bronze(90))
times_two = app.function(serialized=True, name="times-two")(lambda x: x * 2)


@app.function()
def ring(bell: Bell):
    return bell.note * bell.weight


@app.local_entrypoint()
def main():
    assert heavy.remote("c") == ("c", 90)
    assert times_two.remote(5) == 10
    assert ring.remote(Bell("g", 2)) == "gg"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
