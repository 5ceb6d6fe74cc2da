"""An image with packages, commands, environment, files of this machine and a function that runs in its build."""

import os
import tempfile
from pathlib import Path

import modal

here = Path(tempfile.mkdtemp())
(here / "recipe.txt").write_text("salt")
(here / "spices").mkdir()
(here / "spices" / "list.txt").write_text("thyme")


def harvest():
    Path("harvest.txt").write_text("leeks")


image = (
    modal.Image.debian_slim(python_version=f"{os.sys.version_info.major}.{os.sys.version_info.minor}")
    .apt_install("git")
    .pip_install("cloudpickle")
    .uv_pip_install("tqdm")
    .run_commands("echo built")
    .run_function(harvest)
    .env({"SOUP": "leek and 'more'", "EMPTY": ""})
    .workdir("/root")
    .add_local_file(here / "recipe.txt", "/root/recipe.txt")
    .add_local_dir(here / "spices", "/root/spices")
)
app = modal.App("kitchen", image=image)
with image.imports():
    import cloudpickle


@app.function()
def cook():
    assert cloudpickle.__name__ == "cloudpickle"
    return [Path(name).read_text() for name in ("recipe.txt", "spices/list.txt", "harvest.txt")], os.environ["SOUP"]


@app.local_entrypoint()
def main():
    assert cook.remote() == (["salt", "thyme", "leeks"], "leek and 'more'")
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
