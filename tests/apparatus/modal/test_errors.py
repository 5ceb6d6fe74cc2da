"""What Modal's exceptions become here."""

import inspect

import modal
import pytest
from modal import exception

from mini.apparatus.modal.errors import CALLS, lost, translate
from mini.errors import CloudError, MiniError
from mini.job import State

EXCEPTIONS = {
    name: kind
    for name, kind in vars(exception).items()
    if inspect.isclass(kind)
    and issubclass(kind, Exception)
    and not issubclass(kind, Warning)
    and name[0] != "_"
    and kind.__module__ == exception.__name__
}
OF_SANDBOXES = {name for name in EXCEPTIONS if name.startswith("Sandbox")}  # nothing here has one


def test_every_exception_of_the_client_has_a_translation_and_no_other():
    assert set(CALLS) == EXCEPTIONS.keys() - OF_SANDBOXES


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_a_translation_says_what_was_being_done_and_what_modal_said(name):
    try:
        error = EXCEPTIONS[name]("its own words")
    except TypeError:
        error = EXCEPTIONS[name]("im-1", "its own words") if name == "ImageBuildError" else None
    if error is None:
        pytest.skip("made by Modal's client only")
    translated = translate(error, "do it")
    assert isinstance(translated, MiniError)
    assert str(translated).startswith("cannot do it: ")
    assert name in str(translated)


def test_exceptions_of_others_are_left_alone():
    error = ValueError("mine")
    assert translate(error, "do it") is error


def test_a_new_exception_of_a_kind_that_is_known_is_translated_as_that_kind():
    class Newer(exception.Error):
        pass

    Newer.__module__ = "modal.exception"
    assert type(translate(Newer("x"), "do it")) is CloudError


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (exception.FunctionTimeoutError("hit its timeout"), State.TIMEOUT, "more than 60 s"),
        (exception.RemoteError("Input was cancelled"), State.CANCELLED, "stopped before it finished"),
        (exception.RemoteError("the container ran out of memory"), State.LOST, "ask for more with memory="),
        (exception.RemoteError("no room: zoom lost"), State.LOST, "container was lost"),
        (exception.InternalFailure("boom"), State.LOST, "container was lost (InternalFailure: boom)"),
        (exception.OutputExpiredError(), State.LOST, "gone from Modal's memory"),
        (ModuleNotFoundError("No module named 'x'", name="x"), State.FAILED, "could not import x"),
    ],
)
def test_what_came_instead_of_an_outcome_is_told_apart(error, state, said):
    got, failure = lost(error, 60)
    assert got is state
    assert said in failure.message


def test_the_client_is_the_version_these_were_read_from():
    assert modal.__version__.startswith("1.6.")
