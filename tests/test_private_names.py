"""No module uses a private name of another module, of a library or of Python, but for two modules."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.rglob("*.py"))

ALLOWED = {
    "mini/launcher/supported.py": {"*": "says for which versions of Hydra and OmegaConf, and what happens on others"},
    "mini/launcher/nodes.py": {"*": "the part of it that is about OmegaConf's nodes"},
    "mini/__init__.py": {"mini._tls": "private to users of the library, not to its modules"},
    "mini/apparatus/modal/auth.py": {"mini._tls": "private to users of the library, not to its modules"},
    "mini/apparatus/modal/runs.py": {"mini._tls": "private to users of the library, not to its modules"},
    "mini/apparatus/modal/session.py": {"mini._tls": "private to users of the library, not to its modules"},
}
"""By file: a private name used there, and the reason."""
DOCUMENTED = {"_exit", "_fields", "_replace", "_asdict", "_make"}
"""Public names of Python's that begin with an underscore."""


def private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name not in DOCUMENTED


def own_names(tree):
    """The private names a module defines, at any level, attributes of `self` and `cls` among them."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def used_names(tree):
    """The private names of others that a module imports, or reads from an object that is not `self` or `cls`."""
    own = {name for name in own_names(tree) if private(name)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if any(map(private, alias.name.split("."))))
            case ast.ImportFrom(module=module, names=names, level=0):
                if any(map(private, module.split("."))):
                    yield module
                yield from (f"{module}.{alias.name}" for alias in names if private(alias.name))
            case ast.ImportFrom():
                yield "a relative import"
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if private(name) and name not in own:
                yield name
            case ast.Subscript(value=ast.Attribute(attr="__dict__"), slice=ast.Constant(value=str(name))) if (
                private(name) and name not in own
            ):
                yield name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[ast.Name() as target, ast.Constant(value=str(name)), *_],
            ) if private(name) and name not in own and target.id not in ("self", "cls"):
                yield name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_private_name_of_another_module_is_used(file):
    allowed = ALLOWED.get(str(file.relative_to(SOURCE)), {})
    used = set(used_names(ast.parse(file.read_text(encoding="utf-8"))))
    if "*" not in allowed:
        assert used <= allowed.keys(), "put what is needed behind a public name, or on the list with a reason"
        assert allowed.keys() <= used, "a name on the list that is no longer used"


def test_the_list_names_files_that_exist():
    assert {str(file.relative_to(SOURCE)) for file in FILES} >= ALLOWED.keys()


@pytest.mark.parametrize(
    "text",
    [
        "from a._b import c",
        "import a._b",
        "from a import _b",
        "from ._a import b",
        "x._y",
        "f()._y = 1",
        "x.__dict__['_y']",
        "getattr(x, '_y', None)",
    ],
)
def test_a_private_name_is_found(text):
    assert list(used_names(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "from a import b",
        "self._x",
        "x.__class__",
        "class A:\n    def _x(self): ...\n    def y(self, other): return other._x()",
        "class A:\n    def __init__(self): self._x = 1\nA()._x",
        "getattr(self, '_x')",
    ],
)
def test_what_is_a_modules_own_is_not_found(text):
    assert not list(used_names(ast.parse(text)))
