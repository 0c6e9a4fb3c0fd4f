"""Pictures on disk: shards of a fixed size beside an index, written one by one, so that an interrupted run goes on.

`OUT.npz` is the name that is given; the shards lie beside it as `OUT-00000.npz`, `OUT-00001.npz`, ... and `OUT.json`
says how many pictures there are, of which seed and size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from backend.errors import BadInput
from tools.embedded_world.pictures import Pictures, render_pictures

SHARD_SIZE = 5000
FORMAT = 3


def write_dataset(
    path: Path,
    count: int,
    seed: int,
    *,
    size: int = 64,
    workers: int = 1,
    shard_size: int = SHARD_SIZE,
    variants: tuple[int, int] = (0, 24),
    with_drawings: bool = False,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> list[Path]:
    """Renders `count` pictures into shards; shards that are there already are kept.

    Args:
        with_drawings: Whether each picture comes with a drawing of its lines.
        on_progress: Called with the number of pictures that have been added.

    Raises:
        BadInput: The path does not end in .npz, or belongs to another seed, size or count.
    """
    if path.suffix != ".npz":
        raise BadInput(f"a dataset's name must end in .npz, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT, "count": count, "seed": seed, "size": size, "shard_size": shard_size,
        "variants": list(variants), "with_drawings": with_drawings,
    }  # fmt: skip
    index = path.with_suffix(".json")
    if index.exists() and (found := json.loads(index.read_text())) != record:
        raise BadInput(
            f"{index} belongs to another dataset ({found}), not to {record}; choose another name or delete it"
        )
    index.write_text(json.dumps(record) + "\n")

    shards = [_shard_path(path, number) for number in range(-(-count // shard_size))]
    missing = []
    for number, shard in enumerate(shards):
        first = number * shard_size
        length = min(shard_size, count - first)
        if shard.exists():
            on_progress(length)
        else:
            missing.append((shard, length, seed, size, first, variants, with_drawings))
    if workers <= 1:
        for task in missing:
            _write_shard(*task, on_progress=on_progress)
        return shards
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_write_shard, *task) for task in missing]):
            on_progress(future.result())
    return shards


def load_dataset(path: Path) -> Pictures:
    """All shards of a dataset that are there, in their order."""
    index = path.with_suffix(".json")
    if not index.exists():
        raise BadInput(f"there is no dataset {path}: {index.name} is missing; write it with "
                       f"python -m tools.embedded_world --dataset {path}")  # fmt: skip
    record = json.loads(index.read_text())
    numbers = range(-(-record["count"] // record["shard_size"]))
    shards = [_shard_path(path, number) for number in numbers]
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing:
        raise BadInput(f"{path} is not complete: {', '.join(missing)} missing; run the command that began it again")
    return join_pictures([_read_shard(shard) for shard in shards])


def join_pictures(pictures: list[Pictures]) -> Pictures:
    """One after the other."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in pictures])
        for name in Pictures.__dataclass_fields__
        if name != "captions"
    }
    return Pictures(captions=[caption for part in pictures for caption in part.captions], **arrays)


def _shard_path(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number:05d}.npz")


def _write_shard(
    shard: Path,
    count: int,
    seed: int,
    size: int,
    first: int,
    variants: tuple[int, int],
    with_drawings: bool,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> int:
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other
    parts = []
    for start in range(first, first + count, 100):
        length = min(100, first + count - start)
        parts.append(render_pictures(length, seed, size, first=start, variants=variants, with_drawings=with_drawings))
        on_progress(length)
    pictures = join_pictures(parts)
    arrays = {name: getattr(pictures, name) for name in Pictures.__dataclass_fields__ if name != "captions"}
    unfinished = shard.with_suffix(f".part-{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, captions=np.array(json.dumps(pictures.captions)), **arrays)
    unfinished.replace(shard)  # whole or not at all
    return count


def _read_shard(shard: Path) -> Pictures:
    with np.load(shard, allow_pickle=False) as data:
        arrays = {name: data[name] for name in Pictures.__dataclass_fields__ if name != "captions"}
        return Pictures(captions=json.loads(str(data["captions"])), **arrays)
