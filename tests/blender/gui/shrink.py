"""Makes pictures for the documentation of those that a scenario took: the viewport with its sidebar.

    shrink.py SHOTS PICTURES

Takes the PNG files whose names begin with `blender-`. Fails if one is too large for a repository.
"""

import sys
from pathlib import Path

from PIL import Image

VIEWPORT = (0, 49, 1320, 809)
"""Of the display: left, upper, right, lower."""
COLOURS = 255
MOST_BYTES = 150_000


def main(shots: Path, pictures: Path) -> None:
    for path in sorted(shots.glob("blender-*.png")):
        found = Image.open(path).convert("RGB").crop(VIEWPORT)
        small = found.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=8, dither=Image.Dither.NONE)
        small.save(pictures / path.name, optimize=True)
        size = (pictures / path.name).stat().st_size
        if size > MOST_BYTES:
            sys.exit(f"{path.name} has {size} bytes, and at most {MOST_BYTES} are wanted")


main(Path(sys.argv[1]), Path(sys.argv[2]))
