import dataclasses
import textwrap
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.server.configuration import Housekeeping, Quotas, ServerConfig, read_configuration
from protocol.settings import Limits

FULL = """
devices = ["cuda:0", "cuda:1"]

[priors.sd15]
model = "models/sd15"
controlnet = "lllyasviel/control_v11p_sd15_scribble"
title = "Stable Diffusion 1.5"
resolution = 512
tasks = ["text", "texture"]

[priors.hub]
model = "someone/some-model"

[loras]
watercolour = "models/watercolour.safetensors"

[environments]
studio = "studio.exr"

[limits]
vertices = 100_000
requests_per_second = 20.0

[quotas]
result_bytes = 1_000_000_000
result_days = 30

[server]
heartbeat_seconds = 2
clients = 10
"""


@pytest.fixture
def read(tmp_path):
    """Reads a text as the configuration, in a folder that has the files of FULL."""
    (tmp_path / "models" / "sd15").mkdir(parents=True)
    (tmp_path / "models" / "watercolour.safetensors").touch()
    (tmp_path / "studio.exr").touch()

    def read_text(text):
        path = tmp_path / "server.toml"
        path.write_text(text)
        return read_configuration(path)

    return read_text


def test_an_empty_file_is_the_embedded_prior_and_the_defaults(read):
    config = read("")

    assert config == ServerConfig()
    assert [each.offered.name for each in config.priors] == ["embedded"]
    assert config.models["embedded"] == "embedded"


def test_everything_that_can_be_set(read, tmp_path):
    config = read(FULL)

    assert [each.offered.name for each in config.priors] == ["embedded", "sd15", "hub"]
    assert config.priors[1].offered.tasks == ("text", "texture")
    assert config.models["sd15"] == str(tmp_path / "models" / "sd15")
    assert config.controlnets == {"embedded": "embedded", "sd15": "lllyasviel/control_v11p_sd15_scribble"}
    assert config.models["hub"] == "someone/some-model"
    assert config.loras == {"watercolour": str(tmp_path / "models" / "watercolour.safetensors")}
    assert config.environments == {"studio": str(tmp_path / "studio.exr")}
    assert config.devices == ("cuda:0", "cuda:1")
    assert (config.limits.vertices, config.limits.requests_per_second) == (100_000, 20.0)
    assert config.quotas == Quotas(10**9, 30.0)
    assert config.server == dataclasses.replace(Housekeeping(), heartbeat_seconds=2.0, clients=10)


def test_the_example_in_the_documentation_has_every_key_with_its_default(read):
    document = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
    block = document[document.index("    devices =") :].split("\n\nClients name")[0]

    config = read(textwrap.dedent(block).replace('"studio.exr"', '"./studio.exr"'))

    assert config.limits == Limits()
    assert config.server == Housekeeping()
    assert config.quotas == Quotas(result_days=90.0)
    for table, record in (("limits", Limits), ("quotas", Quotas), ("server", Housekeeping)):
        lines = textwrap.dedent(block).split(f"[{table}]")[1].split("[")[0].splitlines()
        assert {line.split(" =")[0] for line in lines} >= {each.name for each in dataclasses.fields(record)}


def test_the_embedded_prior_can_be_left_out(read):
    config = read('embedded_prior = false\n[priors.hub]\nmodel = "a/b"\n')

    assert [each.offered.name for each in config.priors] == ["hub"]


@pytest.mark.parametrize(
    ("text", "field", "right"),
    [
        ("colour = 1", "colour is not known", "embedded_prior, devices, priors"),
        ("[limits]\nvertexes = 5", "limits.vertexes is not known", "message_bytes"),
        ("[limits]\nvertices = -5", "limits.vertices is -5", "a whole number from 4 to 5000000"),
        ("[limits]\nvertices = true", "limits.vertices is True", "a whole number"),
        ("[quotas]\nresult_days = nan", "quotas.result_days is nan", "a number from 0.01"),
        ('[quotas]\nresult_bytes = "5 GB"', "quotas.result_bytes is '5 GB'", "a whole number"),
        ("[server]\nclients = 0", "server.clients is 0", "a whole number from 1"),
        ("server = 7", "server is 7", r"a table, \[server\]"),
        ('devices = ["gpu"]', r"devices\[0\] is 'gpu'", "cpu"),
        ('devices = ["cpu", "cpu"]', "devices is", "each device once"),
        ("[priors.sd]", "priors.sd.model is None", "a diffusers folder or a hub id"),
        ('[priors.sd]\nmodel = "./missing"', "priors.sd.model is", "a folder that is there"),
        ('[priors.sd]\nmodel = "a/b"\ntasks = ["paint"]', r"priors.sd.tasks\[0\] is 'paint'", "one of text"),
        ('[priors.embedded]\nmodel = "a/b"', "priors is 'embedded'", "another name"),
        ('[priors."../x"]\nmodel = "a/b"', "a name in priors is '../x'", "letters, digits"),
        ("embedded_prior = false", "embedded_prior is False", "true"),
        ('[loras]\nx = "missing.safetensors"', "loras.x is", "that is there"),
        ("[loras]\nx = 7", "loras.x is 7", "one line of 1 to 4096"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_what_would_be_right(read, text, field, right):
    with pytest.raises(BadInput, match=f"(?s)server.toml: .*{field}.*{right}"):
        read(text)


def test_what_is_no_toml_is_told_with_its_line(read):
    with pytest.raises(BadInput, match=r"is no TOML.*line 2"):
        read("devices = []\n[limits\n")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_configuration(tmp_path / "missing.toml")
