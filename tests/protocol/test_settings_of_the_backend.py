"""What the wire allows in `Settings` is what the backend's settings allow: no job is accepted to fail on a bound."""

from typing import get_args

import pytest

from backend.config import METHODS_FOR_MESHES, DeviceChoice, Quality, TextToMeshSettings
from backend.errors import BadInput
from backend.render.rasteriser import RasteriserChoice
from protocol.fields import Choice, Maybe, Number, Whole, defaults_of, kinds_of
from protocol.settings import Settings

KINDS = {name: kind.kind if isinstance(kind, Maybe) else kind for name, kind in kinds_of(Settings).items()}
BOUNDED = [name for name, kind in KINDS.items() if isinstance(kind, Whole | Number)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("method", METHODS_FOR_MESHES),
        ("quality", get_args(Quality)),
        ("device", get_args(DeviceChoice)),
        ("rasteriser", get_args(RasteriserChoice)),
    ],
)
def test_the_words_are_those_of_the_backend(name, words):
    assert KINDS[name] == Choice(tuple(words))


@pytest.mark.parametrize("name", BOUNDED)
def test_the_backend_takes_all_that_the_wire_allows(name):
    for value in (KINDS[name].low, KINDS[name].high):
        assert getattr(TextToMeshSettings(prompt="a cup", **{name: value}), name) == value


@pytest.mark.parametrize("name", [name for name in BOUNDED if name != "seed"])  # JSON has 53 bits, the backend 63
def test_the_wire_allows_all_that_the_backend_takes(name):
    for value in (KINDS[name].low - 1, KINDS[name].high + 1):
        with pytest.raises(BadInput):
            TextToMeshSettings(prompt="a cup", **{name: value})


def test_the_defaults_are_those_of_the_backend():
    of_the_backend = TextToMeshSettings(prompt="a cup").to_json()
    of_the_wire = defaults_of(Settings)

    assert (of_the_backend.pop("symmetry"), of_the_wire.pop("symmetry")) == (None, ())  # no mirror, in either form
    assert {name: of_the_backend[name] for name in of_the_wire if name in of_the_backend} == {
        name: value for name, value in of_the_wire.items() if name in of_the_backend
    }
    assert of_the_wire.keys() - of_the_backend.keys() == {"lora", "environment", "to_real"}
