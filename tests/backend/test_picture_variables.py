"""What is optimised: pixels come back as they were given, and coarse grids move areas together."""

import pytest
import torch

from backend.picture_variables import PixelVariable


def test_pixels_come_back_as_they_were_given_to_half_a_level():
    pictures = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    pictures[0, 0, 0] = torch.tensor([0.0, 1.0, 0.5])

    assert (PixelVariable(pictures).pictures() - pictures).abs().max() <= 1 / 512 + 1e-6


def test_the_grids_double_from_at_least_four_to_the_picture():
    sides = [tensor.shape[-1] for tensor in PixelVariable(torch.full((1, 64, 64, 3), 0.5)).tensors]
    odd = [tensor.shape[-1] for tensor in PixelVariable(torch.full((1, 50, 50, 3), 0.5)).tensors]

    assert sides == [4, 8, 16, 32, 64]
    assert odd == [25, 50]


def test_a_coarse_number_moves_a_whole_area():
    variable = PixelVariable(torch.full((1, 32, 32, 3), 0.5))
    with torch.no_grad():
        variable.tensors[0][0, 0, 0, 0] = 1.0
    moved = (variable.pictures()[0, :, :, 0] - 0.5).abs() > 1e-6

    # A cell of 8 pixels, and half a cell more on the sides where there is a neighbour to blend with.
    assert moved[:12, :12].all()
    assert moved.sum() == 12 * 12


def test_pictures_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="square, got 8 x 16"):
        PixelVariable(torch.zeros(1, 8, 16, 3))
