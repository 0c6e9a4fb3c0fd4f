"""Views of pictures by hand: four pixels, each of its own grey."""

import numpy as np
import pytest
import torch

from backend.illusions import HELD_FRAMES, TURNING_FRAMES, turning_frames, views_of

# 1 2
# 3 4
SQUARE = torch.tensor([[0.1, 0.2], [0.3, 0.4]])[None, :, :, None].expand(1, 2, 2, 3)


def greys(views):
    return [[[round(value, 4) for value in row] for row in view] for view in views[..., 0].tolist()]


@pytest.mark.parametrize(
    ("transform", "count", "expected"),
    [
        ("rotate-180", 2, [[[0.1, 0.2], [0.3, 0.4]], [[0.4, 0.3], [0.2, 0.1]]]),
        ("flip", 2, [[[0.1, 0.2], [0.3, 0.4]], [[0.3, 0.4], [0.1, 0.2]]]),
        (
            "rotate-90",  # counterclockwise
            4,
            [[[0.1, 0.2], [0.3, 0.4]], [[0.2, 0.4], [0.1, 0.3]], [[0.4, 0.3], [0.2, 0.1]], [[0.3, 0.1], [0.4, 0.2]]],
        ),
    ],
)
def test_the_views_are_the_turned_picture(transform, count, expected):
    assert greys(views_of(SQUARE, transform, count)) == expected


def test_an_overlay_is_the_product_with_the_second_picture_turned():
    base = torch.full((1, 2, 2, 3), 0.5)
    views = views_of(torch.cat([base, SQUARE]), "overlay", 2)

    torch.testing.assert_close(views[0, 0, 0, 0], torch.tensor(3 * 0.5 * 0.1).tanh())
    torch.testing.assert_close(views[1, 0, 0, 0], torch.tensor(3 * 0.5 * 0.2).tanh())  # the 2 has come here


def test_every_view_pulls_at_the_picture():
    picture = SQUARE.clone().requires_grad_()
    views_of(picture, "rotate-90", 4)[3, 0, 0, 0].backward()

    assert picture.grad.nonzero().tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("transform", "count"), [("rotate-180", 2), ("rotate-90", 3), ("rotate-90", 4), ("flip", 2), ("overlay", 3)]
)
def test_the_turn_rests_at_every_view_and_comes_back(transform, count):
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (2 if transform == "overlay" else 1, 16, 16, 3), dtype=np.uint8)
    frames = turning_frames(pictures, transform, count)
    views = (views_of(torch.from_numpy(pictures) / 255, transform, count) * 255).round().byte().numpy()
    per_view = HELD_FRAMES + TURNING_FRAMES - 1

    assert len(frames) == count * per_view
    for number, view in enumerate(views):
        held = frames[number * per_view : number * per_view + HELD_FRAMES]
        assert np.abs(held.astype(int) - view.astype(int)).max() <= 1  # rounded in another order
    # The last frames are nearly the first view again.
    change = [np.abs(frame.astype(int) - views[0].astype(int)).mean() for frame in frames[-TURNING_FRAMES + 1 :]]
    assert change[-1] == min(change)
