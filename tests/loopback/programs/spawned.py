"""Calls that are begun and fetched later, together and by their id."""

import modal

app = modal.App("kiln")


@app.function()
def fire(pot):
    return f"{pot}, fired"


@app.local_entrypoint()
def main():
    calls = [fire.spawn(pot) for pot in ("bowl", "jug")]
    assert modal.FunctionCall.gather(*calls) == ["bowl, fired", "jug, fired"]
    again = modal.FunctionCall.from_id(calls[0].object_id)
    assert again.get(timeout=30) == "bowl, fired"
    fire.spawn_map(["cup"])
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
