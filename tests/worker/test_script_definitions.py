"""What a script may define, used by its jobs in other processes."""

import subprocess
import sys
import textwrap

import pytest

BEFORE = """
import abc, contextlib, dataclasses, enum, functools, operator, re, sys, types, typing
from mini import LocalApparatus
"""
AFTER = """
def job():
    return {uses}

if __name__ == "__main__":
    with LocalApparatus("test", workers=1) as apparatus:
        print(apparatus.run(job))
"""


@pytest.mark.parametrize(
    ("defines", "uses", "returned"),
    [
        (
            """
            @functools.lru_cache(maxsize=7)
            def fib(n):
                return n if n < 2 else fib(n - 1) + fib(n - 2)
            """,
            "fib(30), fib.cache_info().maxsize, fib.__name__, sys.modules['__main__'].fib is fib",
            "(832040, 7, 'fib', True)",
        ),
        (
            """
            class Model:
                @classmethod
                @functools.cache
                def name(cls):
                    return cls.__name__
                @functools.lru_cache
                def twice(self, x):
                    return 2 * x
                @functools.cached_property
                def size(self):
                    return 5
            """,
            "Model.name(), Model().twice(2), Model().size",
            "('Model', 4, 5)",
        ),
        (
            """
            @functools.singledispatch
            def show(x):
                return "any"
            @show.register
            def _(x: int):
                return "int"
            """,
            "show(1), show('a')",
            "('int', 'any')",
        ),
        (
            """
            T, PS = typing.TypeVar("T"), typing.ParamSpec("PS")
            UserId = typing.NewType("UserId", int)
            def timed(f: typing.Callable[PS, T]) -> typing.Callable[PS, T]:
                @functools.wraps(f)
                def inner(*args: PS.args, **kwargs: PS.kwargs) -> T:
                    return f(*args, **kwargs)
                return inner
            @timed
            def user() -> UserId:
                return UserId(3)
            """,
            "user(), typing.get_type_hints(user)['return'] is UserId",
            "(3, True)",
        ),
        (
            """
            class Colour(enum.Enum):
                RED = 1
            class Point(typing.NamedTuple):
                x: int
            @dataclasses.dataclass(slots=True, frozen=True)
            class Slots:
                a: int = 1
            class Base(abc.ABC):
                @abc.abstractmethod
                def f(self): ...
            class Child(Base):
                def f(self):
                    return super().f() or "child"
            @contextlib.contextmanager
            def seven():
                yield 7
            first = operator.itemgetter(0)
            digits = re.compile("[0-9]+")
            """,
            "Colour.RED is Colour(1), Point(1).x, Slots().a, Child().f(), first([7]), digits.match('12')[0]",
            "(True, 1, 1, 'child', 7, '12')",
        ),
    ],
    ids=["cached function", "cached methods", "singledispatch", "aliases", "classes"],
)
def test_jobs_have_what_the_script_defines(tmp_path, defines, uses, returned):
    script = tmp_path / "script.py"
    script.write_text(BEFORE + textwrap.dedent(defines) + AFTER.format(uses=uses))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == returned, done.stderr


def test_a_traceback_shows_the_lines_of_a_script_that_is_not_there(tmp_path):
    """As in a container, which has what the script defines, and not its file."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import linecache, os
            from mini import LocalApparatus

            class Model:
                def fit(self):
                    raise ValueError("too deep")  # of the class

            def job():
                Model().fit()  # of the function

            if __name__ == "__main__":
                linecache.getlines(__file__)
                os.remove(__file__)
                with LocalApparatus("test", workers=1) as apparatus:
                    apparatus.run(job)
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert "# of the class" in done.stderr
    assert "# of the function" in done.stderr
