"""Timeouts of an attempt: of a call, of a begun one, of one input of a map, and of a method."""

import time

import modal

app = modal.App("eggs")


@app.function(timeout=1, max_containers=3)
def boil(minutes):
    time.sleep(600 if minutes > 9 else 0)
    return minutes


@app.cls(timeout=1)
class Pan:
    @modal.method()
    def fry(self):
        time.sleep(600)


def too_long(get):
    try:
        get()
    except modal.exception.FunctionTimeoutError:
        return True
    return False


@app.local_entrypoint()
def main():
    begun = boil.spawn(10)
    assert too_long(Pan().fry.remote)
    assert too_long(begun.get)
    soft, hard, medium = boil.map([3, 10, 6], return_exceptions=True)
    assert (soft, medium) == (3, 6)
    assert isinstance(hard, modal.exception.FunctionTimeoutError)
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
