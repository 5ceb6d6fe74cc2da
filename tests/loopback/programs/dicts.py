"""Dicts: all that can be asked of one, named, anonymous, created once and deleted."""

import modal

app = modal.App("phonebook")


@app.function()
def add(book, name, number):
    book[name] = number
    return sorted(book.keys())


@app.local_entrypoint()
def main():
    with modal.Dict.ephemeral() as book:
        book.update({"ann": 1, "bob": 2})
        assert add.remote(book, "cyd", 3) == ["ann", "bob", "cyd"]
        assert book["cyd"] == 3
        assert book.pop("ann") == 1
        assert book.pop("ann", None) is None
        assert "ann" not in book
        assert book.put("bob", 9, skip_if_exists=True) is False
        assert sorted(book.items()) == [("bob", 2), ("cyd", 3)]
        del book["cyd"]
        assert book.len() == 1
        try:
            book["cyd"]
        except KeyError:
            pass
        else:
            raise AssertionError
    modal.Dict.objects.create("yellow-pages")
    try:
        modal.Dict.objects.create("yellow-pages")
    except modal.exception.AlreadyExistsError:
        pass
    else:
        raise AssertionError
    assert "yellow-pages" in [one.name for one in modal.Dict.objects.list()]
    modal.Dict.objects.delete("yellow-pages")
    try:
        modal.Dict.from_name("yellow-pages").hydrate()
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
