"""Inception and CLIP: used where their weights are, else left out with a sentence; nothing is downloaded."""

import numpy as np
import pytest
import torch

from backend.evaluation import further_features
from backend.evaluation.distances import frechet_distance
from backend.evaluation.further_features import INCEPTION_FILE, FurtherFeatures, features_on_this_machine

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _an_empty_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(further_features, "CLIP_ID", str(tmp_path / "no-clip"))


def test_a_machine_without_weights_is_told_what_would_have_to_be_where(tmp_path):
    found = features_on_this_machine(CPU)

    assert found.extractors == ()
    assert str(tmp_path / "checkpoints" / INCEPTION_FILE) in found.missing[0]
    assert found.missing[1].startswith("No CLIP features: the weights of")


def test_a_file_that_is_not_the_published_one_is_not_opened(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / INCEPTION_FILE).write_bytes(b"a pickle that does harm")

    found = features_on_this_machine(CPU)

    assert found.extractors == ()
    assert "is not the file that torch-fidelity published" in found.missing[0]


def test_clip_from_a_folder_of_safetensors_gives_features(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    small = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16,
        projection_dim=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(small).save_pretrained(tmp_path / "no-clip")

    found = features_on_this_machine(CPU)

    (name, extract), *others = found.extractors
    assert (name, others) == ("CLIP", [])
    features = extract(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    assert features.shape == (3, 8)
    assert features.std() > 0


def test_the_distance_is_that_of_the_features():
    def means(images):
        return images.float().mean(dim=(2, 3))

    ours, theirs = (np.random.default_rng(i).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8) for i in (0, 1))

    found = FurtherFeatures((("means", means),)).distances(ours, theirs)

    expected = frechet_distance(ours.mean((1, 2)), theirs.mean((1, 2)))
    assert found["Fréchet distance, means"].estimate == pytest.approx(expected, rel=1e-4)
