"""Backgrounds: in range, different, repeatable."""

import pytest
import torch

from backend.errors import BadInput
from backend.render.backgrounds import sample_backgrounds


def test_mixed_backgrounds_are_colours_and_differ_between_views():
    backgrounds = sample_backgrounds(64, 32, torch.Generator().manual_seed(0))

    assert backgrounds.shape == (64, 32, 32, 3)
    assert 0 <= backgrounds.min() <= backgrounds.max() <= 1
    is_plain = backgrounds.flatten(1, 2).std(dim=1).amax(dim=1) < 1e-6
    assert 0.25 < is_plain.float().mean() < 0.75  # half of them, by chance
    assert backgrounds.mean(dim=(1, 2)).std(dim=0).min() > 0.1


def test_plain_backgrounds_are_plain():
    assert sample_backgrounds(8, 16, torch.Generator().manual_seed(1), "plain").flatten(1, 2).std(dim=1).max() < 1e-6


def test_a_seed_gives_the_same_backgrounds():
    first, second = (sample_backgrounds(4, 8, torch.Generator().manual_seed(2)) for _ in range(2))

    assert torch.equal(first, second)


def test_an_unknown_kind_is_refused():
    with pytest.raises((BadInput, TypeError)):
        sample_backgrounds(1, 8, torch.Generator(), "stripes")
