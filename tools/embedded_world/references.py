"""Renders of the world for prompts such as `a red mug`, in folders that `sketchbridge table --references` reads.

    python -m tools.embedded_world.references --out table/references [--prompts FILE] [--count 8] [--size 64]

Instances, cameras, lights and backgrounds are drawn as for the training pictures, without flaws and without paintings;
no instance is one that the prior has seen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from backend.diffusion.diffusers_prior import load_prior
from backend.errors import BadInput
from backend.evaluation.table_plan import DEFAULT_PROMPTS, folder_name, read_prompts, words_of
from backend.tasks.setting_up import choose_device
from tools.embedded_world.captions import CaptionShares
from tools.embedded_world.colours import COLOUR_NAMES
from tools.embedded_world.pictures import render_pictures
from tools.embedded_world.shapes import SHAPE_NAMES

UNFLAWED = CaptionShares(painting=0, blockout=0, flawed=0, quality_words=0)
UNSEEN_VARIANTS = (24, 40)
SEED = 41


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, help="a text file, one prompt a line; default: those of the table")
    parser.add_argument("--count", type=int, default=8, help="of each prompt; twice the table's seeds give a floor")
    parser.add_argument("--size", type=int, help="in pixels; default: that of the embedded prior")
    arguments = parser.parse_args()
    size = arguments.size or load_prior("embedded", choose_device("cpu")).image_size
    try:
        prompts = DEFAULT_PROMPTS if arguments.prompts is None else read_prompts(arguments.prompts)
        for number, prompt in enumerate(prompts):
            write_references(prompt, arguments.out / folder_name(prompt), arguments.count, size, SEED + number)
    except BadInput as error:
        sys.exit(str(error))
    print(f"{arguments.count} renders of each of {len(prompts)} prompts are in {arguments.out}")


def write_references(prompt: str, folder: Path, count: int, size: int, seed: int) -> None:
    """So many renders of one prompt as 00.png, 01.png, ...

    Raises:
        BadInput: The prompt does not name one colour and one shape of the world.
    """
    colour, shape = words_of(prompt, COLOUR_NAMES), words_of(prompt, SHAPE_NAMES)
    if colour is None or shape is None:
        raise BadInput(
            f"the prompt {prompt!r} must name one colour ({', '.join(COLOUR_NAMES)}) and one shape"
            f" ({', '.join(SHAPE_NAMES)}) of the world, such as 'a red mug'"
        )
    pairs = frozenset({(colour, shape)})
    # Neighbours of the sequence share their instance, so every fourth is taken: as many instances as pictures.
    renders = render_pictures(4 * count, seed, size, variants=UNSEEN_VARIANTS, shares=UNFLAWED, pairs=pairs).images[::4]
    folder.mkdir(parents=True, exist_ok=True)
    for number, render in enumerate(renders):
        Image.fromarray(render).save(folder / f"{number:02d}.png")


if __name__ == "__main__":
    main()
