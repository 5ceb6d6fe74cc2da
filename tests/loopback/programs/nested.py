"""A function that calls others of its app."""

import modal

app = modal.App("relay")


@app.function()
def last(word):
    return word + "!"


@app.function()
def first(word):
    return "".join(last.map([word, word])) + last.remote("end")


@app.local_entrypoint()
def main():
    assert first.remote("go") == "go!go!end!"
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
