"""Exceptions: of one's own, chained, of a map that stops, and results that do not travel."""

import modal

app = modal.App("courier")


class Lost(Exception):
    def __init__(self, parcel, place):
        super().__init__(parcel, place)
        self.parcel, self.place = parcel, place


def is_lost(error):
    """In a container this file is the module `failures`, and `__main__` is it where it is started as a script."""
    return (type(error).__module__, type(error).__name__) == ("failures", "Lost")


@app.function()
def carry(parcel):
    if parcel == "glass":
        try:
            {}["road"]
        except KeyError as error:
            raise Lost(parcel, "river") from error
    return parcel


@app.function()
def keep():
    import threading

    return threading.Lock()


@app.local_entrypoint()
def main():
    try:
        carry.remote("glass")
    except Exception as error:  # noqa: BLE001 - is_lost says which
        lost = error
    assert is_lost(lost)
    assert (lost.parcel, lost.place) == ("glass", "river")
    done = []
    try:
        done.extend(carry.map(["book", "glass", "lamp"]))
    except Exception as error:  # noqa: BLE001 - is_lost says which
        done.append("lost" if is_lost(error) else error)
    assert done == ["book", "lost"]
    mixed = list(carry.map(["book", "glass"], return_exceptions=True))
    assert mixed[0] == "book"
    assert is_lost(mixed[1])
    try:
        keep.remote()
    except TypeError as error:
        print("WORKED" if "lock" in str(error) else error)


if __name__ == "__main__":
    with app.run():
        main()
