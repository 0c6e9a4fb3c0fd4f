"""Renders contact sheets and data sets of the embedded prior's world.

python -m tools.embedded_world --count 64 --seed 0 -o sheet.png
python -m tools.embedded_world --dataset /tmp/world.npz --count 30000 --seed 1 --workers 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from backend.errors import SketchbridgeError
from tools.embedded_world.contact_sheet import draw_contact_sheet
from tools.embedded_world.dataset import SHARD_SIZE, write_dataset
from tools.embedded_world.pictures import render_pictures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.embedded_world", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=64, help="number of pictures (default 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels (default 64)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render shards of a data set (default 1)")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help=f"pictures in a file of a data set, and in "
                        f"what a worker does at a time (default {SHARD_SIZE})")  # fmt: skip
    parser.add_argument("--variants", type=int, nargs=2, default=(0, 24), metavar=("FROM", "BEFORE"),
                        help="instances of every class (default 0 24); a disjoint range gives others")  # fmt: skip
    parser.add_argument("--drawings", action="store_true", help="with each picture of a data set a drawing of its "
                        "lines, as a hand would draw them; a contact sheet shows these instead")  # fmt: skip
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--sheet", type=Path, help="write a contact sheet with captions to this PNG")
    target.add_argument(
        "--dataset", type=Path, help="write a data set: OUT.npz becomes OUT.json and OUT-00000.npz, ..."
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if min(options.count, options.workers, options.shard_size) < 1 or options.size < 8:
        parser.error("--count, --workers and --shard-size must be at least 1, --size at least 8")
    variants = (options.variants[0], options.variants[1])
    try:
        if options.sheet is not None:
            pictures = render_pictures(
                options.count, options.seed, options.size, variants=variants, with_drawings=options.drawings
            )
            shown = 255 - pictures.drawings[..., None].repeat(3, axis=-1) if options.drawings else pictures.images
            draw_contact_sheet(shown, pictures.captions).save(options.sheet)
            print(f"{len(pictures)} pictures in {options.sheet}")
            return 0
        columns = (
            TextColumn("rendering"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            bar = progress.add_task("rendering", total=options.count)
            shards = write_dataset(
                options.dataset, options.count, options.seed, size=options.size, workers=options.workers,
                shard_size=options.shard_size, variants=variants,
                with_drawings=options.drawings,
                on_progress=lambda pictures: progress.advance(bar, pictures),
            )  # fmt: skip
        print(f"{options.count} pictures in {len(shards)} files beside {options.dataset}")
    except SketchbridgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
