"""What of a project ships: each way to lay one out, and what never leaves this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mini.apparatus.groups import Image
from mini.apparatus.modal.image import installed, selection, source
from mini.apparatus.modal.image.plan import plan
from mini.errors import UsageError
from mini.project import lock, root

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
OWN = {"mini", "hydra_plugins/mini_launcher"}


def lay_out(folder, *paths, **contents):
    for name in (*paths, *contents):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get(name, ""))
    return folder


def write(folder, contents):
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def places(found):
    """Where each file that ships is in the container, relative to /root."""
    parts = getattr(found, "source", found).shipped
    every = {part.place(file).removeprefix("/root/") for part in parts for file in part.files}
    return {place for place in every if not place.startswith(tuple(OWN))}


def left_out(found, folder):
    return {one.path.relative_to(folder).as_posix(): one.why for one in found.left_out}


def find(folder, chosen=None, script=None):
    return source.find(folder, chosen, source.launch(folder, script) if script else source.Launch())


# Layouts.


def test_a_src_layout(tmp_path):
    lay_out(
        tmp_path, "src/pkg/__init__.py", "src/pkg/data.csv", "src/one.py", "src/notes.txt", "tests/test_x.py", "a.py"
    )
    assert places(find(tmp_path)) == {"pkg/__init__.py", "pkg/data.csv", "one.py"}


def test_a_flat_layout_ships_what_can_be_imported(tmp_path):
    lay_out(tmp_path, "train.py", "helpers/__init__.py", "helpers/words.txt", "space/inner/x.py")
    lay_out(tmp_path, "conf/config.yaml", "README.md", "setup.py", "tests/__init__.py", "scripts/prepare.py")
    lay_out(tmp_path, "outputs/1/snapshot.py", "with-dash/x.py", "types.py")
    found = find(tmp_path)
    assert places(found) == {"train.py", "helpers/__init__.py", "helpers/words.txt", "space/inner/x.py"}
    why = left_out(found, tmp_path)
    assert why["conf"] == why["README.md"] == why["with-dash"] == source.NO_CODE
    assert why["setup.py"] == why["tests"] == why["scripts"] == why["outputs"] == source.NOT_RUN
    assert why["types.py"] == source.AT_START


def test_a_package_called_src_is_a_package(tmp_path):
    lay_out(tmp_path, "src/__init__.py", "src/models/__init__.py", "train.py")
    assert places(find(tmp_path)) == {"src/__init__.py", "src/models/__init__.py", "train.py"}


def test_the_neighbours_of_the_script_come_first(tmp_path):
    lay_out(tmp_path, "core.py", "scripts/train.py", "scripts/util.py", "scripts/core.py")
    found = find(tmp_path, script=tmp_path / "scripts" / "train.py")
    assert places(found) == {"train.py", "util.py", "core.py"}
    assert {part.path for part in found.shipped if part.name == "core.py"} == {tmp_path / "scripts" / "core.py"}
    assert left_out(found, tmp_path)["core.py"] == source.TAKEN
    under_src = lay_out(tmp_path / "other", "src/pkg/__init__.py", "run.py", "near.py")
    assert places(find(under_src, script=under_src / "run.py")) == {"pkg/__init__.py", "run.py", "near.py"}


def test_neither_the_home_folder_nor_an_environment_is_a_project(tmp_path, monkeypatch):
    lay_out(tmp_path, "home/private.py", "home/requirements.txt", "home/work/x.py")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert places(find(tmp_path / "home")) == set()
    assert root(tmp_path / "home" / "work") == tmp_path / "home" / "work"
    project = lay_out(
        tmp_path / "project", "train.py", "env/pyvenv.cfg", "env/lib/a.py", "pkg/__init__.py", "pkg/v/pyvenv.cfg"
    )
    found = find(project)
    assert places(found) == {"train.py", "pkg/__init__.py"}
    assert left_out(found, project) == {"env": selection.ENVIRONMENT, "pkg/v": selection.ENVIRONMENT}


@pytest.mark.parametrize("mark", ["requirements.txt", "setup.py", "environment.yml", "pyproject.toml"])
def test_the_root_is_found_from_a_subfolder(tmp_path, mark):
    lay_out(tmp_path, mark, "a/b/x.py")
    assert root(tmp_path / "a" / "b") == tmp_path


# What never ships.

SECRETS = [
    ".env",
    ".env.local",
    "prod.env",
    ".netrc",
    "key.pem",
    "server.key",
    "id_rsa",
    "credentials.json",
    "secrets.yaml",
]
SECRETS += ["credentials-prod.json", "service_account_x.json", ".pypirc", ".aws/config"]


@pytest.mark.parametrize("git", [True, False])
def test_secrets_and_what_git_ignores_stay_here(tmp_path, git):
    project = lay_out(tmp_path / "project", *(f"src/pkg/{name}" for name in SECRETS), "src/pkg/__init__.py")
    lay_out(project, "src/pkg/secrets.py", "src/pkg/.env.example", "src/pkg/id_rsa.pub", "src/pkg/keep.bin")
    lay_out(project, "src/pkg/big.bin", "src/pkg/cache/a.txt", "src/pkg/sub/x.tmp", "src/pkg/__pycache__/y.pyc")
    write(project, {".gitignore": "*.bin\ncache/\n!keep.bin\n", "src/pkg/sub/.gitignore": "*.tmp\n"})
    (project / "src" / "pkg" / "link").symlink_to(tmp_path)
    (project / "src" / "pkg" / "harmless.txt").symlink_to(project / "src" / "pkg" / ".env")
    if git:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    found = find(project)
    kept = {"__init__.py", "secrets.py", ".env.example", "id_rsa.pub", "keep.bin", "sub/.gitignore"}
    assert places(found) == {f"pkg/{name}" for name in kept}
    why = left_out(found, project / "src" / "pkg")
    assert {name for name, reason in why.items() if reason == selection.SECRET} == {*SECRETS, "harmless.txt"}
    assert {name for name, reason in why.items() if reason == selection.IGNORED} == {"big.bin", "cache", "sub/x.tmp"}
    assert why["link"] == selection.LINK


def test_what_git_tracks_ships_even_where_a_pattern_says_otherwise(tmp_path):
    write(tmp_path, {"pkg/__init__.py": "", "pkg/table.bin": "", ".gitignore": "*.bin\n"})
    for command in (["init", "-q"], ["add", "-f", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert places(find(tmp_path)) == {"pkg/__init__.py", "pkg/table.bin"}


def test_a_folder_that_the_repository_around_it_ignores_is_a_project_all_the_same(tmp_path):
    write(tmp_path, {".gitignore": "*\n", "project/train.py": "", "project/.gitignore": "x.py\n", "project/x.py": ""})
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert places(find(tmp_path / "project")) == {"train.py"}


def test_image_files_ship_what_is_ignored_but_no_secret(tmp_path):
    write(
        tmp_path,
        {"pyproject.toml": "", ".gitignore": "data\n", "data/a.csv": "1", "data/.env": "", "data/sub/b.csv": ""},
    )
    made = plan(Image(files=(("data", "/data"),)), tmp_path, launch=source.Launch())
    assert {place for place in places(made) if place.startswith("/data")} == {"/data/a.csv", "/data/sub/b.csv"}
    with pytest.raises(UsageError, match=r"image.files: data/.env looks like a secret.*use apparatus.secrets"):
        plan(Image(files=(("data/.env", "/x"),)), tmp_path, launch=source.Launch())


# image.source.


def test_image_source_says_it_all(tmp_path):
    lay_out(
        tmp_path, "train.py", "other.py", "lib/a/__init__.py", "lib/b.py", "conf/config.yaml", "src/pkg/__init__.py"
    )
    assert places(find(tmp_path, ["train.py", "conf"])) == {"train.py", "conf/config.yaml"}
    assert places(find(tmp_path, ["lib/"])) == {"a/__init__.py", "b.py"}
    assert places(find(tmp_path, ["lib"])) == {"lib/a/__init__.py", "lib/b.py"}
    assert places(find(tmp_path, ["src"])) == places(find(tmp_path, ["pkg"])) == {"pkg/__init__.py"}
    assert "app/train.py" in places(find(tmp_path, ["app"])), "a package that can be imported from elsewhere"
    assert places(find(tmp_path, [])) == set()


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuch", "nosuch is neither in"), ("data", "data is ignored by git"), (".env", "looks like a secret")],
)
def test_image_source_that_cannot_ship(tmp_path, name, said):
    write(tmp_path, {".gitignore": "data\n", "data/a.csv": "", ".env": ""})
    with pytest.raises(UsageError, match=said):
        find(tmp_path, [name])


# Modules of this process.


def test_modules_travel_by_value_where_they_cannot_be_imported_there(tmp_path, monkeypatch):
    write(tmp_path, {"near_module.py": "", "deep/inner_module.py": "", "far/far_module.py": ""})
    for folder in (tmp_path, tmp_path / "far"):
        monkeypatch.syspath_prepend(folder)
    import deep.inner_module
    import far_module
    import near_module

    found = {module.__name__ for module in source.by_value(source.own().and_then(find(tmp_path)).shipped)}
    mine = {deep.inner_module.__name__, far_module.__name__, near_module.__name__}
    assert found & mine == {"far_module"}, "which is far/far_module.py there"
    assert not {name for name in found if name.partition(".")[0] in ("mini", "pytest", "json", "modal")}
    for module in mine:
        monkeypatch.delitem(sys.modules, module)


# Versions.


def test_a_member_of_a_workspace_has_the_lock_of_its_root(tmp_path):
    build = 'requires-python = ">=3.11"\n[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    write(
        tmp_path,
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/out"]\n',
            "packages/a/pyproject.toml": '[project]\nname = "a"\nversion = "1"\ndependencies = ["b"]\n'
            + build
            + "[tool.uv.sources]\nb = {workspace = true}\n",
            "packages/b/pyproject.toml": '[project]\nname = "b"\nversion = "1"\n' + build,
            "packages/a/src/a/__init__.py": "",
            "packages/b/b/__init__.py": "",
            "packages/out/pyproject.toml": "",
        },
    )
    subprocess.run(["uv", "lock", "--offline", "-q"], cwd=tmp_path, check=True)
    member = tmp_path / "packages" / "a"
    assert lock(member / "src") == tmp_path / "uv.lock"
    assert lock(tmp_path / "packages" / "out") is None
    made = plan(Image(), member, launch=source.Launch())
    assert made.requirements.locked
    assert places(made) == {"a/__init__.py", "b/__init__.py"}
    assert {"cloudpickle", "hydra-core"} <= {pin.name for pin in made.requirements.pins}, "what this package needs"


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": '[project]\nname = "p"\nversion = "1"\ndependencies = ["scikit-learn>=1"]\n'},
        {
            "requirements.txt": "# needs\n-r more.txt\n--index-url https://index.example/simple\n",
            "more.txt": "scikit-learn>=1 # x\n",
        },
        {
            "pyproject.toml": '[dependency-groups]\nx = ["optax"]\n',
            "requirements.txt": "scikit-learn[none] >= 1 \\\n  ;python_version>'3'",
        },
    ],
)
def test_without_a_lock_the_versions_are_those_installed_here(tmp_path, files):
    write(tmp_path, files)
    found = plan(Image(), tmp_path, launch=source.Launch()).requirements
    import sklearn

    pins = {pin.name: pin.version for pin in found.pins}
    assert not found.locked
    assert pins["scikit-learn"] == sklearn.__version__
    assert {"numpy", "scipy", "cloudpickle", "polars"} <= pins.keys()
    assert ("optax" in pins) == ("pyproject.toml" in files and "optax" in files["pyproject.toml"])
    assert not {"pytest", "modal", "grpclib", "hydra-apparatus", "p"} & pins.keys()


def test_where_nothing_is_declared_all_but_tools_is_needed(tmp_path):
    pins = {pin.name for pin in plan(Image(), tmp_path, launch=source.Launch()).requirements.pins}
    assert {"scikit-learn", "jax", "optax", "hydra-core", "polars"} <= pins
    assert not {"pytest", "ruff", "mypy", "modal", "grpclib", "uv", "import-linter", "ipdb"} & pins


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"requirements.txt": "nosuch-thing\n"},
            r"requirements.txt declares nosuch-thing, .*not installed.*`pip install -r",
        ),
        ({"requirements.txt": "hydra-core>=99\n"}, r"declares hydra-core>=99, and version 1\.\S+ is installed here"),
        ({"requirements.txt": "-r gone.txt\n"}, r"gone.txt cannot be read"),
        ({"requirements.txt": "a b c\n"}, r"'a b c' is no requirement"),
        ({"requirements.txt": "-e ./lib\n", "lib/setup.py": ""}, r"lib, which is not installed here"),
        (
            {"pyproject.toml": '[project]\nname="p"\ndependencies=["nosuch-thing"]'},
            r"pyproject.toml declares.*run `uv lock`",
        ),
        (
            {"pyproject.toml": '[project]\nname="p"\n[dependency-groups]\ncuda=["jax[cuda13]"]'},
            r"which the extra needs.*`uv lock`",
        ),
    ],
)
def test_what_is_declared_and_not_here_is_refused_with_the_cure(tmp_path, files, said):
    with pytest.raises(UsageError, match=said):
        plan(Image(), write(tmp_path, files), launch=source.Launch())


def test_a_version_of_this_machine_alone_becomes_the_public_one(tmp_path, monkeypatch):
    site = write(
        tmp_path / "site",
        {
            "torchlike-2.1+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchlike\nVersion: 2.1+cpu\n",
            "ofconda-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ofconda\nVersion: 1.0\n",
            "ofconda-1.0.dist-info/direct_url.json": '{"url": "file:///nowhere/feedstock", "dir_info": {}}',
        },
    )
    monkeypatch.syspath_prepend(site)
    write(tmp_path, {"requirements.txt": "torchlike\nofconda\n"})
    pins = {str(pin) for pin in plan(Image(), tmp_path, launch=source.Launch()).requirements.pins}
    assert {"torchlike==2.1", "ofconda==1.0"} <= pins


def test_an_editable_dependency_ships_from_its_folder(tmp_path, monkeypatch):
    library = lay_out(tmp_path / "library", "src/libx/__init__.py", "pyproject.toml", "tests/test_x.py")
    info = "libx-1.dist-info"
    write(
        tmp_path / "site",
        {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: libx\nVersion: 1\nRequires-Dist: scikit-learn\n",
            f"{info}/direct_url.json": f'{{"url": "{library.as_uri()}", "dir_info": {{"editable": true}}}}',
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    write(tmp_path / "project", {"requirements.txt": "-e ../library\n", "train.py": ""})
    made = plan(Image(), tmp_path / "project", launch=source.Launch())
    assert places(made) == {"train.py", "libx/__init__.py"}
    assert "scikit-learn" in {pin.name for pin in made.requirements.pins}


# The whole way.

APPLICATION = {
    "requirements.txt": "hydra-core\n",
    "conf/config.yaml": "defaults:\n  - mini\n  - _self_\nx: 1\n",
    "{}train.py": (
        "import hydra\n\n\n"
        "@hydra.main(version_base='1.3', config_path='{}conf', config_name='config')\n"
        "def main(config):\n"
        "    import neighbour  # not before the job runs\n"
        "    return {{'y': neighbour.twice(config.x)}}\n\n\n"
        "if __name__ == '__main__':\n    main()\n"
    ),
    "{}neighbour.py": ("import os\n\n\ndef twice(x):\n    assert 'MODAL_TASK_ID' in os.environ\n    return 2 * x\n"),
}


@pytest.mark.parametrize(("folder", "up"), [("", ""), ("scripts/", "../")])
def test_a_flat_project_without_a_lock_runs_in_containers(tmp_path, folder, up):
    files = {
        name.format(folder): text.format(up) if "{}" in name and "train" in name else text
        for name, text in APPLICATION.items()
    }
    write(tmp_path, files)
    done = subprocess.run(
        [sys.executable, f"{folder}train.py", "x=1,2", "apparatus=rehearsal"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(installed.NOTE) == 1
    assert "2 done" in done.stdout
    shown = subprocess.run(
        [sys.executable, "-m", "mini.cli", "image", "--script", f"{folder}train.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "/root/neighbour.py" in shown
    assert installed.NOTE in shown
    assert Path(tmp_path, "outputs").is_dir()
