"""Exceptions: of one's own, chained, of a map that stops, and results that do not travel."""

import modal

app = modal.App("courier")


class Lost(Exception):
    def __init__(self, parcel, place):
        super().__init__(parcel, place)
        self.parcel, self.place = parcel, place


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
    except Lost as error:
        lost = error
    assert (lost.parcel, lost.place) == ("glass", "river")
    done = []
    try:
        done.extend(carry.map(["book", "glass", "lamp"]))
    except Lost:
        done.append("lost")
    assert done == ["book", "lost"]
    mixed = list(carry.map(["book", "glass"], return_exceptions=True))
    assert mixed[0] == "book"
    assert isinstance(mixed[1], Lost)
    try:
        keep.remote()
    except TypeError as error:
        print("WORKED" if "lock" in str(error) else error)


if __name__ == "__main__":
    with app.run():
        main()
