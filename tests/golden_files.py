"""Golden files: what was once looked at and found right. `UPDATE_GOLDEN=1 make test` writes them anew."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


def assert_like_golden_picture(name, picture, mean_error=0.004):
    """Compares floats in [0, 1] [height, width, 3]; on failure the new picture lies beside the old one."""
    path = GOLDEN / f"{name}.png"
    new = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    if UPDATE:
        new.save(path)
    old = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    error = np.abs(old - np.asarray(new, dtype=np.float32) / 255).mean()
    if error > mean_error:
        new.save(GOLDEN / f"{name}-new.png")
    assert error <= mean_error, f"{name} differs by {error:.4f}; see tests/golden/{name}-new.png"


def assert_like_golden_numbers(name, numbers, tolerance=0.01):
    """Compares a list of numbers, each within `tolerance` of its own size."""
    path = GOLDEN / f"{name}.json"
    if UPDATE:
        path.write_text(json.dumps([round(number, 6) for number in numbers], indent=0) + "\n")
    np.testing.assert_allclose(numbers, json.loads(path.read_text()), rtol=tolerance, atol=1e-4)
