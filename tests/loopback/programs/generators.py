"""Generators: consumed as they yield, ended early, and one that fails on its way."""

import modal

app = modal.App("letters")
heard = modal.Queue.from_name("letters-that-were-heard", create_if_missing=True)


@app.function()
def spell(word):
    yield from word


@app.function()
async def spell_backwards(word):
    for letter in reversed(word):
        yield letter


@app.function()
def stumble():
    yield "a"
    heard.get(timeout=200)  # Modal does not promise that what was yielded comes before the failure
    raise ValueError("no further letters")


@app.function()
def big(pieces):
    for _ in range(pieces):
        yield b"x" * 3_000_000


@app.local_entrypoint()
def main():
    assert list(spell.remote_gen("owl")) == ["o", "w", "l"]
    assert list(spell_backwards.remote_gen("owl")) == ["l", "w", "o"]
    assert next(iter(spell.remote_gen("first"))) == "f"
    assert [len(piece) for piece in big.remote_gen(2)] == [3_000_000] * 2
    letters = stumble.remote_gen()
    seen = [next(letters)]
    heard.put("a")
    try:
        seen.extend(letters)
    except ValueError as error:
        seen.append(str(error))
    assert seen == ["a", "no further letters"]
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
