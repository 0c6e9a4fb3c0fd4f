"""The training of the embedded prior's ControlNet, in small; and what is shipped."""

import hashlib
import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image

from backend.diffusion import EMBEDDED_CONTROL_FOLDER
from tools import train_embedded_control
from tools.embedded_training.architecture import make_denoiser
from tools.embedded_training.control import drawn_conditions, make_control_network
from tools.embedded_world.dataset import write_dataset


def test_the_network_begins_as_the_u_net_and_adds_nothing():
    torch.manual_seed(0)
    denoiser = make_denoiser(128)

    network = make_control_network(denoiser).eval()

    assert torch.equal(network.conv_in.weight, denoiser.conv_in.weight)
    down, middle = network(
        torch.randn(1, 24, 16, 16), torch.tensor([5]), torch.randn(1, 7, 160),
        controlnet_cond=torch.rand(1, 3, 128, 128), return_dict=False,
    )  # fmt: skip
    assert all(added.abs().max() == 0 for added in (*down, middle))


def test_drawings_are_read_as_white_lines_on_black():
    drawings = torch.zeros(2, 8, 8, dtype=torch.uint8)
    drawings[1, :4] = 255

    conditions = drawn_conditions(drawings, 4)

    assert conditions.shape == (2, 3, 4, 4)
    assert conditions[0].max() == 0
    assert conditions[1, :, :2].min() == 1


def test_training_writes_a_folder_that_diffusers_loads_and_goes_on_where_it_stopped(tmp_path, capsys):
    write_dataset(tmp_path / "drawn" / "world.npz", 24, seed=4, size=128, with_drawings=True)
    options = {
        "pictures": tmp_path / "drawn", "folder": tmp_path, "batch_size": 4, "judged": 8, "target": tmp_path / "net",
    }  # fmt: skip

    train_embedded_control.main(steps=2, **options)
    first = ControlNetModel.from_pretrained(tmp_path / "net").state_dict()
    train_embedded_control.main(steps=4, **options)

    printed = capsys.readouterr().out
    assert "control: going on from step 2" in printed
    second = ControlNetModel.from_pretrained(tmp_path / "net").state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    hashes = json.loads((tmp_path / "net" / "manifest.json").read_text())["files"]
    assert set(hashes) == {"config.json", "diffusion_pytorch_model.safetensors"}
    provenance = (tmp_path / "net" / "PROVENANCE.md").read_text()
    assert "Steps: 4 in" in provenance
    assert "| t = 950 | 0." in provenance
    with Image.open(tmp_path / "samples" / "control.png") as sheet:
        assert sheet.size == (6 * 256, 2 * 128)
        assert np.asarray(sheet).std() > 10


def test_pictures_without_drawings_are_refused(tmp_path):
    write_dataset(tmp_path / "plain" / "world.npz", 4, seed=4, size=128)

    with pytest.raises(SystemExit, match="come without drawings; render them anew with --drawings"):
        train_embedded_control.main(pictures=tmp_path / "plain", folder=tmp_path, target=tmp_path / "net")


def test_the_shipped_network_is_that_of_the_manifest_and_small():
    hashes = json.loads((EMBEDDED_CONTROL_FOLDER / "manifest.json").read_text())["files"]

    for name, expected in hashes.items():
        assert hashlib.sha256((EMBEDDED_CONTROL_FOLDER / name).read_bytes()).hexdigest() == expected
    sizes = [path.stat().st_size for path in EMBEDDED_CONTROL_FOLDER.iterdir()]
    assert sum(sizes) < 8e6
    assert not [path for path in EMBEDDED_CONTROL_FOLDER.iterdir() if path.suffix in (".bin", ".pt", ".ckpt")]
