"""Classes: parameters, hooks, several methods, options of one instance, and a generator method."""

import modal

app = modal.App("library")


@app.cls()
class Shelf:
    room: str = modal.parameter(default="hall")
    size: int = modal.parameter(default=2)

    @modal.enter()
    def fill(self):
        self.books = [f"{self.room} {number}" for number in range(self.size)]

    @modal.method()
    def find(self, number):
        return self.books[number]

    @modal.method()
    def read(self):
        yield from self.books

    @modal.exit()
    def close(self):
        print("closed")


@app.local_entrypoint()
def main():
    attic = Shelf(room="attic", size=3)
    assert attic.find.remote(2) == "attic 2"
    assert list(attic.find.map([0, 1])) == ["attic 0", "attic 1"]
    assert list(attic.read.remote_gen()) == ["attic 0", "attic 1", "attic 2"]
    assert Shelf().find.remote(1) == "hall 1"
    assert Shelf.with_options(timeout=60)(size=1).find.spawn(0).get() == "hall 0"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
