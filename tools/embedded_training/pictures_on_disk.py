"""Reads the shards that `python -m tools.embedded_world --dataset` writes, and hands out random batches."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class PictureShards:
    """All pictures and captions of a folder of shards, in memory (size x size x 3 bytes a picture)."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.npz"))
        if not self.paths:
            raise SystemExit(
                f"no pictures in {folder}; make them with: "
                f"python -m tools.embedded_world --dataset {folder}/world.npz --count 40000 --seed 1"
            )
        shards = [np.load(path, allow_pickle=False) for path in self.paths]
        self.images = torch.from_numpy(
            np.concatenate([shard["images"] for shard in shards])
        )  # [pictures, H, W, 3] uint8
        self.coverage = (
            torch.from_numpy(np.concatenate([shard["coverage"] for shard in shards]))
            if all("coverage" in shard for shard in shards)
            else None
        )  # [pictures, H / 8, W / 8] uint8
        self.drawings = (
            torch.from_numpy(np.concatenate([shard["drawings"] for shard in shards]))
            if all("drawings" in shard and shard["drawings"].size for shard in shards)
            else None
        )  # [pictures, H, W] uint8, ink
        self.captions = [caption for shard in shards for caption in json.loads(str(shard["captions"]))]
        self.shape_ids = torch.from_numpy(np.concatenate([shard["shape_ids"] for shard in shards])).long()
        self.colour_ids = torch.from_numpy(np.concatenate([shard["colour_ids"] for shard in shards])).long()

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[1]

    def description(self) -> str:
        """Where the pictures come from: the record of the data set, and one hash over all shards in their order."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(path.read_bytes())
        records = [index.read_text().strip() for index in sorted(self.paths[0].parent.glob("*.json"))]
        return f"{len(self)}, {' '.join(records) or 'no record'}, SHA-256 {digest.hexdigest()}"

    def __len__(self) -> int:
        return len(self.captions)

    def moved_to(self, device: torch.device) -> PictureShards:
        """The same with the pictures in the memory of a device, where a step finds them without a copy."""
        moved = copy.copy(self)
        moved.images = self.images.to(device)
        return moved

    def batch(self, indices: Tensor, device: torch.device | str, size: int | None = None) -> Tensor:
        """Pictures as a diffusion model takes them: [batch, 3, height, width] floats in [-1, 1].

        Args:
            size: Of the result; a divisor of the pictures' own, over whose blocks is averaged.
        """
        pictures = self.images[indices.to(self.images.device)].to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return pictures if size in (None, self.size) else functional.interpolate(pictures, size, mode="area")
