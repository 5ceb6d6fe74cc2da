"""The groups that say where a job runs."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

import mini.conf
from mini import spec
from mini.errors import OptionError


@pytest.mark.parametrize(
    "path",
    sorted(Path(mini.conf.__file__).parent.glob("*/*.yaml")),
    ids=lambda p: f"{p.parent.name}={p.stem}",
)
def test_every_packaged_option_is_valid_and_says_all_its_keys(path):
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert node.pop("defaults") == ["_open"]
    parsed = getattr(spec.parse({path.parent.name: node}), path.parent.name)
    named = {field for field in node if field != "kind"}
    assert named == set(parsed.__dataclass_fields__) - {"kind"}


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
        ({"gpu": {"count": True}}, "gpu.count=True is not possible: it must be int"),
        ({"image": {"apt": "ffmpeg"}}, "image.apt='ffmpeg' is not possible"),
        ({"apparatus": {"kind": "debug", "pdb": 1}}, "apparatus.pdb=1 is not possible: it must be bool"),
        ({"apparatus": {"kind": "local", "timeout": "soon"}}, "apparatus.timeout='soon' is not possible"),
    ],
)
def test_wrong_values_are_refused(config, said):
    with pytest.raises(OptionError) as caught:
        spec.parse(config)
    assert said in str(caught.value)
