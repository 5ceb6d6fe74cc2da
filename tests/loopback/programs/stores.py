"""Dicts, queues, secrets and a volume."""

import os
from pathlib import Path

import modal

app = modal.App("larder")
jars = modal.Volume.from_name("jars-of-the-larder", create_if_missing=True)
label = modal.Secret.from_dict({"LABEL": "plum"})


@app.function(volumes={"/jars-of-the-larder": jars}, secrets=[label], env={"YEAR": "1999"})
def preserve(done, todo):
    while (fruit := todo.get(block=False)) is not None:
        Path("/jars-of-the-larder", fruit).write_text(f"{os.environ['LABEL']} {os.environ['YEAR']}")
        done[fruit] = True
    jars.commit()
    return sorted(path.name for path in Path("/jars-of-the-larder").iterdir())


@app.local_entrypoint()
def main():
    with modal.Dict.ephemeral() as done, modal.Queue.ephemeral() as todo:
        todo.put_many(["a", "b"])
        assert todo.len() == 2
        assert preserve.remote(done, todo) == ["a", "b"]
        assert sorted(done.keys()) == ["a", "b"]
    assert b"".join(jars.read_file("a")) == b"plum 1999"
    with jars.batch_upload() as batch:
        batch.put_file(__file__, "recipes/program.py")
    assert [entry.path for entry in jars.listdir("/", recursive=True)][-1] == "recipes/program.py"
    jars.remove_file("recipes/program.py")
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
