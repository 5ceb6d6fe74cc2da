"""A volume of version 1: uploaded to, listed, read, copied, written by containers, renamed and deleted."""

import io
import tempfile
from pathlib import Path

import modal

app = modal.App("archive-1")
shelf = modal.Volume.from_name("shelf-of-version-1", create_if_missing=True, version=1)


@app.function(volumes={"/shelf": shelf})
def write(name, text):
    target = Path("/shelf/notes", name)
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    shelf.commit()
    return sorted(path.name for path in Path("/shelf").rglob("*.txt"))


@app.function(volumes={"/other/place": shelf.with_mount_options(read_only=True)})
def read(name):
    shelf.reload()
    return Path("/other/place/notes", name).read_text()


@app.local_entrypoint()
def main():
    folder = Path(tempfile.mkdtemp())
    (folder / "inside.txt").write_text("inside")
    with shelf.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(b"from here"), "letters/one.txt")
        batch.put_file(io.BytesIO(b"x" * 9_000_000), "large.bin")
        batch.put_directory(folder, "folder")
    assert b"".join(shelf.read_file("letters/one.txt")) == b"from here"
    assert sum(map(len, shelf.read_file("large.bin"))) == 9_000_000
    assert "one.txt" in write.remote("two.txt", "from there")
    assert read.remote("two.txt") == "from there"
    shelf.copy_files(["letters/one.txt"], "notes/three.txt")
    assert b"".join(shelf.read_file("notes/three.txt")) == b"from here"
    names = {entry.path for entry in shelf.iterdir("/", recursive=True)}
    assert {"letters/one.txt", "large.bin", "notes/two.txt", "notes/three.txt", "folder/inside.txt"} <= names
    assert {entry.path for entry in shelf.listdir("notes")} == {"notes/two.txt", "notes/three.txt"}
    shelf.remove_file("letters", recursive=True)
    for gone in ("letters/one.txt", "never.txt"):
        try:
            b"".join(shelf.read_file(gone))
        except FileNotFoundError:
            continue
        raise AssertionError(gone)
    try:
        with shelf.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"again"), "large.bin")
    except FileExistsError:
        pass
    else:
        raise AssertionError
    assert "shelf-of-version-1" in [one.name for one in modal.Volume.objects.list()]
    modal.Volume.rename("shelf-of-version-1", "attic-of-version-1")
    modal.Volume.objects.delete("attic-of-version-1")
    try:
        modal.Volume.from_name("attic-of-version-1").hydrate()
    except modal.exception.NotFoundError:
        print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
