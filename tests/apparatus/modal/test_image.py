"""What goes into an image, from real lock files and real projects."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini import RehearsalApparatus
from mini.apparatus.groups import Image
from mini.apparatus.modal.image import source
from mini.apparatus.modal.image.build import make_image
from mini.apparatus.modal.image.plan import changes, plan, too_large
from mini.apparatus.modal.image.requirements import uv_freeze
from mini.errors import UsageError

PROJECT = Path(__file__).parents[3]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def copy(tmp_path):
    """Makes copies of this project that may be changed."""

    def make(name, **edits):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("pyproject.toml", "uv.lock"):
            text = (PROJECT / file).read_text()
            for old, new in edits.get(file.partition(".")[0], ()):
                text, count = re.subn(old, new, text)
                assert count, old
            (folder / file).write_text(text)
        shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    return make


def another_version(name, version):
    """Edits that let the lock have another version of a distribution."""
    locked = re.search(rf'name = "{name}"\nversion = "([^"]+)"', (PROJECT / "uv.lock").read_text())[1]
    return [
        (rf'(name = "{name}"\nversion = )"{re.escape(locked)}"', rf'\1"{version}"'),
        (rf"{name}-{re.escape(locked)}", f"{name}-{version}"),
    ]


def recorded(project, spec=None):
    """The build steps a control plane was sent, layer by layer."""
    with RehearsalApparatus("image", project=project, isolated=False, image=spec or Image()) as apparatus:
        apparatus.ready()
        images = apparatus.loopback.state.images
        return {
            image_id: (list(image.dockerfile_commands), [bytes(file.data) for file in image.context_files])
            for image_id, image in images.items()
        }


def test_only_a_pin_changes_a_layer(copy):
    before = recorded(copy("before"))
    dev = copy("dev", uv=another_version("pyte", "0.8.0"))
    assert recorded(dev) == before
    ruff = copy("ruff", pyproject=[("line-length = 120", "line-length = 100")])
    assert recorded(ruff) == before
    source = copy("source")
    (source / "src" / "app" / "train.py").write_text("# edited\n")
    assert recorded(source) == before
    pin = recorded(copy("pin", uv=another_version("optax", "0.2.5")))
    changed = [name for name in pin if name not in before]
    assert len(changed) == len([name for name in before if name not in pin]) == 1
    assert b"optax==0.2.5" in b"".join(pin[changed[0]][1])


def test_an_apt_package_is_one_layer_below_the_pins(copy):
    project = copy("project")
    plain, more = recorded(project), recorded(project, Image(apt=("ffmpeg",)))
    assert len(more) == len(plain) + 1
    (apt,) = [name for name, (commands, _) in more.items() if any("ffmpeg" in command for command in commands)]
    (pins,) = [name for name, (_, files) in more.items() if files]
    assert any(apt in command or "base" in command for command in more[pins][0])
    kinds = [layer.kind for layer in plan(Image(apt=("ffmpeg",)), project).layers]
    assert kinds == ["base", "apt", "pins"]


def test_everything_in_the_order_that_caches_best():
    spec = Image(
        base="debian:trixie",
        apt=("git",),
        pip=("einops",),
        run=("true",),
        env=(("A", "1"),),
        builder="app.image.with_jemalloc",
    )
    made = plan(spec, PROJECT)
    assert [layer.kind for layer in made.layers] == ["base", "apt", "pins", "pip", "run", "env", "builder"]
    assert any("libjemalloc2" in line for line in made.layers[-1].lines), "an edited builder is another image"
    import modal

    assert isinstance(make_image(made), modal.Image)


def test_the_pins_are_the_containers_and_have_hashes():
    pins = {pin.name: pin for pin in uv_freeze(PROJECT, python=HERE).pins}
    assert "jax-cuda13-plugin" in pins
    assert {"polars", "hydra-core", "optax"} <= pins.keys()
    assert not {"pytest", "ruff", "ipdb", "modal", "uv", "hydra-apparatus"} & pins.keys()
    assert all(pin.hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", h) for h in pin.hashes) for pin in pins.values())
    without = {pin.name for pin in uv_freeze(PROJECT, ["cuda", "dev", "local"], python=HERE).pins}
    assert "jax-cuda13-plugin" not in without


def test_markers_are_the_containers():
    old = {str(pin) for pin in uv_freeze(PROJECT, python="3.11").pins}
    new = {str(pin) for pin in uv_freeze(PROJECT, python="3.13").pins}
    assert {p for p in old if p.startswith("jax==")} != {p for p in new if p.startswith("jax==")}


def test_groups_are_counted():
    groups = uv_freeze(PROJECT, ["bench", "dev", "docs", "local"], python=HERE, counts=True).groups
    assert set(groups) == {"the project", "app", "cuda"}
    assert all(groups.values())


@pytest.fixture
def odd(tmp_path):
    """A project with git, path and workspace dependencies, a namespace package and a single module."""
    build = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'

    def package(folder, name, where):
        (folder / where / name).mkdir(parents=True)
        (folder / where / name / "__init__.py").write_text("")
        (folder / where / name / "data.yaml").write_text("x: 1\n")
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "0.1"\nrequires-python = ">=3.11"\n{build}'
        )

    package(tmp_path / "by-git", "bygit", "src")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path / "by-git", check=True)
    package(tmp_path / "by-path", "bypath", ".")
    project = tmp_path / "project"
    package(project / "members" / "one", "member", "src")
    (project / "src" / "mine" / "__pycache__").mkdir(parents=True)
    (project / "src" / "mine" / "__init__.py").write_text("")
    (project / "src" / "mine" / "template.txt").write_text("t")
    (project / "src" / "mine" / "__pycache__" / "x.pyc").write_text("")
    (project / "src" / "space" / "inner").mkdir(parents=True)
    (project / "src" / "space" / "inner" / "module.py").write_text("")
    (project / "src" / "single.py").write_text("")
    (project / "src" / "not_a_package").mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "odd"\nversion = "0.1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["bygit", "bypath", "member"]\n'
        "[dependency-groups]\ndev = []\nextra = []\n"
        f'[tool.uv.sources]\nbygit = {{git = "file://{tmp_path}/by-git"}}\nbypath = {{path = "../by-path"}}\n'
        'member = {workspace = true}\n[tool.uv.workspace]\nmembers = ["members/*"]\n'
        "[tool.uv]\npackage = false\n"
    )
    subprocess.run(["uv", "lock", "--offline", "-q"], cwd=project, check=True)
    return project


def test_dependencies_that_are_no_files_of_an_index_are_never_turned_into_one(odd):
    requirements = uv_freeze(odd, python=HERE)
    assert requirements.pins == ()
    assert [local.name for local in requirements.local] == ["bygit", "bypath", "member"]


def test_a_git_dependency_that_is_not_installed_here_is_named(odd):
    with pytest.raises(UsageError, match=r"git dependency bygit .* run `uv sync`"):
        plan(Image(), odd)


def test_the_source_of_dependencies_is_shipped(odd, monkeypatch):
    site = odd / "site"
    shutil.copytree(odd.parent / "by-git" / "src" / "bygit", site / "bygit")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=odd.parent / "by-git", capture_output=True, text=True, check=True
    ).stdout.strip()
    info = site / "bygit-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bygit\nVersion: 0.1\n")
    (info / "RECORD").write_text("bygit/__init__.py,,\nbygit/data.yaml,,\nbygit-0.1.dist-info/RECORD,,\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "x", "vcs_info": {"vcs": "git", "commit_id": commit}}))
    monkeypatch.syspath_prepend(site)
    made = plan(Image(), odd)
    shipped = {part.remote: {file.name for file in part.files} for part in made.source.shipped}
    own = {remote for remote in shipped if remote in ("/root/mini", "/root/hydra_plugins/mini_launcher")}
    assert shipped.keys() - own == {
        *("/root/mine", "/root/space", "/root/single.py", "/root/bygit", "/root/bypath", "/root/member"),
    }
    assert shipped["/root/bygit"] == shipped["/root/member"] == {"__init__.py", "data.yaml"}
    assert shipped["/root/mine"] == {"__init__.py", "template.txt"}
    assert shipped["/root/space"] == {"module.py"}


def test_packages_are_found_anew(odd):
    (odd / "src" / "later.py").write_text("")
    assert "later.py" in [part.name for part in source.packages(odd).shipped]


def test_a_compiled_part_is_refused(odd):
    (odd / "src" / "mine" / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    with pytest.raises(UsageError, match=r"mine has a compiled part, .*fast.*built for this machine"):
        source.packages(odd)


def test_a_lock_that_is_behind(copy):
    project = copy("project", pyproject=[(r'"cloudpickle>=3\.1,', '"cloudpickle>=99,')])
    with pytest.raises(UsageError, match=r"uv.lock is behind pyproject.toml; run `uv lock`"):
        plan(Image(), project)


def test_an_unknown_group():
    with pytest.raises(UsageError, match="no group 'cdua'; did you mean 'cuda'"):
        plan(Image(exclude_groups=("cdua",)), PROJECT)


def test_no_uv(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert plan(Image(), PROJECT).requirements.pins, "the one that is installed beside this package is enough"
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(UsageError, match=r"uv, which reads uv.lock, .* nor on the PATH; run `pip install uv`"):
        plan(Image(), PROJECT)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Image(files=(("nowhere.txt", "/data/x"),)), "nowhere.txt is not there"),
        (Image(files=(("pyproject.toml", "data/x"),)), "no absolute path"),
        (Image(builder="app.nowhere.f"), "image.builder=app.nowhere.f cannot be imported"),
        (Image(builder="app.image.nothing"), "cannot be imported"),
        (Image(builder="app.image.__doc__"), "is a str and not a function"),
        (Image(python="3.5"), rf"image.python=3.5 is not the Python that runs here, {HERE}.*uv run --python 3.5"),
    ],
)
def test_bad_values_are_refused_without_modal(spec, said):
    with pytest.raises(UsageError, match=said):
        plan(spec, PROJECT)


def test_a_builder_that_returns_no_image():
    made = plan(Image(builder="builtins.repr"), PROJECT)
    with pytest.raises(UsageError, match=r"returned str and not a modal\.Image"):
        make_image(made)


def test_what_is_large_is_asked_about(tmp_path, copy):
    project = copy("project")
    with (project / "src" / "app" / "weights.bin").open("wb") as file:
        file.truncate(11 * 2**20)
    assert "weights.bin (11 MiB) would be shipped" in too_large(plan(Image(), project))
    assert too_large(plan(Image(max_upload=None), project)) is None
    assert too_large(plan(Image(), PROJECT)) is None
    with (
        RehearsalApparatus("large", project=project, isolated=False) as apparatus,
        pytest.raises(UsageError, match=r"weights.bin.*image.max_upload=MIB"),
    ):
        apparatus.run(abs, -1)


def test_extra_files_are_in_the_container(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    spec = Image(files=((str(tmp_path / "notes.txt"), "/root/notes.txt"),), env=(("OF_THE_IMAGE", "1"),))
    with RehearsalApparatus("files", project=PROJECT, isolated=False) as apparatus:
        seen = apparatus.w(image=spec).run(
            lambda: (Path("notes.txt").read_text(), __import__("os").environ["OF_THE_IMAGE"])
        )
    assert seen == ("hello", "1")


def test_the_hugging_face_cache_is_one_volume_for_all_containers():
    def look():
        import os

        Path(os.environ["HF_HOME"], "model").write_text("weights")
        return os.environ["HF_HOME"]

    with RehearsalApparatus("hf", project=PROJECT, isolated=False) as apparatus:
        plain = plan(Image(), PROJECT)
        cached = Image(hf_cache=True)
        assert apparatus.w(image=cached).run(look) == "/cache/huggingface"
        assert plan(cached, PROJECT).key == plain.key
        assert ("volume", "main", "huggingface-cache") in apparatus.loopback.state.named


def test_a_given_image_wins_over_all():
    import modal

    with RehearsalApparatus("given", project=PROJECT, isolated=False, image=Image(apt=("ffmpeg",))) as apparatus:
        apparatus.w(image=modal.Image.debian_slim().apt_install("sox")).ready()
        commands = str(apparatus.loopback.state.images)
        assert "sox" in commands
        assert "ffmpeg" not in commands


def test_reading_never_builds_an_image():
    with RehearsalApparatus("reading", project=Path("/nowhere")) as apparatus:
        assert apparatus.volume.listdir("") == []
        assert not apparatus.loopback.state.images


def test_a_dependency_that_is_not_declared_fails_in_rehearsal(copy):
    # What is taken out of the lock's project is as good as never declared.
    gone = [
        (r'    \{ name = "scikit-learn"[^\n]*\n', ""),
        (r"\nreport = \[\n\]", ""),
        (r'(provides-extras = .*)"report", ', r"\1"),
    ]
    here = [(r'    # Ships the handwritten[^\n]*\n    "scikit-learn>=1.7",\n', ""), (r"\nreport = \[[^\n]*", "")]
    project = copy("project", pyproject=here, uv=gone)

    def use():
        import sklearn

        return sklearn.__name__

    with RehearsalApparatus("undeclared", project=PROJECT) as apparatus:
        assert apparatus.run(use) == "sklearn"
    with (
        RehearsalApparatus("undeclared", project=project) as apparatus,
        pytest.raises(ModuleNotFoundError, match="sklearn"),
    ):
        apparatus.run(use)


def cli(*arguments, cwd=PROJECT):
    return subprocess.run(
        [sys.executable, "-m", "mini.cli", "image", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_the_plan_can_be_shown():
    shown = cli("image.apt=[ffmpeg]")
    assert shown.returncode == 0, shown.stderr
    for part in ("debian_slim", "ffmpeg", "polars==", "group cuda", "/root/app", "train.py"):
        assert part in shown.stdout
    as_json = json.loads(cli("--json", "image=jemalloc").stdout)
    assert as_json["layers"][-1]["kind"] == "builder"
    assert "py.typed" in next(part for part in as_json["shipped"] if part["name"] == "mini")["files"]


def test_what_changed_since_a_run_is_said_layer_by_layer(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    before = plan(Image(apt=("sox",), exclude_groups=("local", "dev", "bench", "docs")), PROJECT)
    (run / "run.json").write_text(json.dumps({"images": [before.as_json()]}))
    shown = cli("image.apt=[ffmpeg]", "--diff", str(run)).stdout.splitlines()
    assert shown == ["apt      - sox", "apt      + ffmpeg"]
    assert changes(before.as_json(), before) == []
    same = cli("image.apt=[sox]", "--diff", str(run)).stdout
    assert before.key in same


@pytest.mark.parametrize("arguments", [["image.atp=[x]"], ["image=nothing"], ["--diff", "nowhere"]])
def test_wrong_usage(arguments):
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
