"""Retries and timeouts."""

import modal

app = modal.App("bakery")
attempts = modal.Dict.from_name("attempts-of-the-bakery", create_if_missing=True)


@app.function(retries=modal.Retries(max_retries=3, initial_delay=0.0, backoff_coefficient=1.0))
def bake(loaf):
    tries = attempts.get(loaf, 0) + 1
    attempts[loaf] = tries
    if tries < 3:
        raise RuntimeError("burnt")
    return tries


@app.function(timeout=1)
def prove():
    import time

    time.sleep(600)


@app.local_entrypoint()
def main():
    assert bake.remote("rye") == 3
    assert bake.spawn("oat").get() == 3
    try:
        prove.remote()
    except modal.exception.FunctionTimeoutError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
