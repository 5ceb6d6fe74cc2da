"""Parse trees that are kept give what fresh ones give."""

from omegaconf import OmegaConf, base, grammar_parser

from mini.launcher.fast import grammar


def test_an_interpolation_is_parsed_once_and_resolved_anew(monkeypatch):
    monkeypatch.setattr(base, "parse", grammar_parser.parse)
    grammar.cache_parse_trees()
    first = base.parse
    grammar.cache_parse_trees()
    assert base.parse is first
    for value in (1, 2, "x"):
        config = OmegaConf.create({"a": value, "b": "${a}", "c": "<${.a}/${oc.select:none,${a}}>"})
        assert (config.b, config.c) == (value, f"<{value}/{value}>")
    assert base.parse.cache_info().hits > 0
