"""The groups that say where a job runs."""

import pytest

from mini.apparatus import options, registry
from mini.apparatus.groups import Gpu, Image
from mini.errors import OptionError
from mini.launcher import spec


@pytest.mark.parametrize("kind", registry.kinds())
def test_the_config_group_of_an_engine_gives_its_defaults(kind):
    schema = registry.find(kind).options
    assert options.parse(schema, options.defaults(schema), "apparatus") == schema()


@pytest.mark.parametrize("schema", [*(registry.find(kind).options for kind in registry.OWN), Gpu, Image])
def test_every_option_has_a_line_of_help(schema):
    assert all(one.help and not one.help.endswith(".") for one in options.fields(schema).values())


def test_specs_that_say_the_same_are_equal():
    one = spec.parse({"gpu": {"name": "A100", "count": 2}, "image": {"env": {"A": 1, "B": 2}}})
    two = spec.parse({"image": {"env": {"B": 2, "A": 1}}, "gpu": {"count": 2, "name": "A100"}})
    assert one == two
    assert hash(one) == hash(two)
    assert one.gpu.option == "A100:2"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"gpu": "a100"}, "gpu must be a group of options, not 'a100'"),
        ({"gpu": {"count": True}}, "gpu.count=True is not possible: it must be a whole number, 1 or more"),
        ({"image": {"apt": "ffmpeg"}}, "image.apt='ffmpeg' is not possible"),
        ({"apparatus": {"kind": "debug", "pdb": 1}}, "apparatus.pdb=1 is not possible: it must be true or false"),
        ({"apparatus": {"kind": "local", "timeout": "soon"}}, "apparatus.timeout='soon' is not possible"),
    ],
)
def test_wrong_values_are_refused(config, said):
    with pytest.raises(OptionError) as caught:
        spec.parse(config)
    assert said in str(caught.value)
