"""The reference of the options is what the code says."""

from pathlib import Path

from mini.apparatus import reference

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == reference.markdown(), "run ./go docs"
