"""How to hold colours in space: which field is fastest on one CPU core, and which settles best under noise.

    python benchmarks/texture_field.py [--write]

One torch thread. `--write` puts the tables into benchmarks/results under today's date.
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from measuring import milliseconds  # noqa: E402

from backend.appearance import texture_field_kernels as kernels  # noqa: E402
from backend.appearance.texture_field import (  # noqa: E402
    TextureField,
    TextureFieldConfig,
    _rows,
    _sum_of_grids_in_torch,
)
from backend.machine import processor_name  # noqa: E402

POINTS = 30_000


class PlainTorch(TextureField):
    """The same grids, looked up as on a GPU."""

    def colours(self, positions: Tensor) -> Tensor:
        logits = _sum_of_grids_in_torch(positions, self.config.resolutions, self.hash_masks, list(self.grids))
        return torch.sigmoid(logits + self.initial_logits)[:, :3]


class EmbeddingBag(TextureField):
    """The same grids, each looked up by one weighted embedding_bag over the 8 corners."""

    def colours(self, positions: Tensor) -> Tensor:
        total = self.initial_logits
        for resolution, hash_mask, grid in zip(self.config.resolutions, self.hash_masks, self.grids, strict=True):
            along = ((positions + 1) * (0.5 * resolution)).clamp(0, resolution)
            cell = along.long().clamp(max=resolution - 1)
            steps = torch.tensor([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)])
            fraction = (along - cell)[:, None]
            weights = torch.where(steps == 1, fraction, 1 - fraction).prod(-1)  # [points, 8]
            rows = _rows((cell[:, None] + steps).reshape(-1, 3), resolution, hash_mask).view(-1, 8)
            total = total + nn.functional.embedding_bag(rows, grid, per_sample_weights=weights, mode="sum")
        return torch.sigmoid(total)[:, :3]


class GridSample(nn.Module):
    """Dense grids by torch's own trilinear grid_sample."""

    def __init__(self, resolutions: tuple[int, ...]) -> None:
        super().__init__()
        self.grids = nn.ParameterList(torch.zeros(1, kernels.CHANNELS, r + 1, r + 1, r + 1) for r in resolutions)

    def colours(self, positions: Tensor) -> Tensor:
        points = positions[None, None, None]
        logits = sum(nn.functional.grid_sample(g, points, align_corners=True)[0, :, 0, 0].T for g in self.grids)
        return torch.sigmoid(logits)[:, :3]


class HashGridWithNetwork(nn.Module):
    """Müller et al. 2022: two features a level, concatenated, and a network; compiled loops look the features up."""

    def __init__(self, level_count: int, finest: int, log2_rows: int, width: int = 32) -> None:
        super().__init__()
        growth = (finest / 16) ** (1 / (level_count - 1))
        self.resolutions = np.array([int(16 * growth**level + 1e-6) for level in range(level_count)])
        sizes = [min((r + 1) ** 3, 2**log2_rows) for r in self.resolutions]
        self.first_rows = np.concatenate([[0], np.cumsum(sizes)])
        self.is_hashed = np.array([(r + 1) ** 3 > 2**log2_rows for r in self.resolutions])
        torch.manual_seed(0)
        self.table = nn.Parameter(1e-4 * (2 * torch.rand(int(self.first_rows[-1]), 2) - 1))
        self.network = nn.Sequential(nn.Linear(2 * level_count, width), nn.ReLU(), nn.Linear(width, kernels.CHANNELS))

    def colours(self, positions: Tensor) -> Tensor:
        features = _HashFeatures.apply(positions, self.table, self.resolutions, self.first_rows, self.is_hashed)
        return torch.sigmoid(self.network(features))[:, :3]


class _HashFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, table, *levels):
        features = torch.zeros(len(positions), 2 * len(levels[0]))
        hash_features(positions.numpy(), table.detach().numpy(), *levels, features.numpy(), False)
        ctx.positions, ctx.levels, ctx.shape = positions, levels, table.shape
        return features

    @staticmethod
    def backward(ctx, gradient):
        table_gradient = torch.zeros(ctx.shape)
        hash_features(ctx.positions.numpy(), table_gradient.numpy(), *ctx.levels, gradient.contiguous().numpy(), True)
        return None, table_gradient, None, None, None


@njit(nogil=True, cache=True, fastmath=True)
def hash_features(positions, table, resolutions, first_rows, is_hashed, features, is_backward):
    """Adds features from the table, or gradients to it."""
    for point in range(len(positions)):
        for level in range(len(resolutions)):
            r = resolutions[level]
            x = min(max((positions[point, 0] + 1) * 0.5 * r, 0.0), float(r))
            y = min(max((positions[point, 1] + 1) * 0.5 * r, 0.0), float(r))
            z = min(max((positions[point, 2] + 1) * 0.5 * r, 0.0), float(r))
            cx, cy, cz = min(int(x), r - 1), min(int(y), r - 1), min(int(z), r - 1)
            fx, fy, fz = np.float32(x - cx), np.float32(y - cy), np.float32(z - cz)
            mask = first_rows[level + 1] - first_rows[level] - 1
            for corner in range(8):
                dx, dy, dz = corner & 1, (corner >> 1) & 1, corner >> 2
                weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy) * (fz if dz else 1 - fz)
                if is_hashed[level]:
                    row = ((cx + dx) ^ ((cy + dy) * 2654435761) ^ ((cz + dz) * 805459861)) & mask
                else:
                    row = ((cz + dz) * (r + 1) + cy + dy) * (r + 1) + cx + dx
                row += first_rows[level]
                for channel in range(2):
                    if is_backward:
                        table[row, channel] += weight * features[point, 2 * level + channel]
                    else:
                        features[point, 2 * level + channel] += weight * table[row, channel]


class Ours(TextureField):
    def colours(self, positions: Tensor) -> Tensor:
        return self(positions).albedo


def grids(*resolutions: int, log2_rows: int = 19, kind: type[TextureField] = Ours) -> TextureField:
    return kind(TextureFieldConfig(resolutions, log2_rows))


FIELDS: dict[str, Callable[[], nn.Module]] = {
    "sum of grids 16 32 64, compiled (**ours**)": lambda: grids(16, 32, 64),
    "sum of grids 16 32 64 128, hashed from 2^19": lambda: grids(16, 32, 64, 128),
    "sum of grids 16 32 64 128, hashed from 2^16": lambda: grids(16, 32, 64, 128, log2_rows=16),
    "sum of grids 16 32 64, torch indexing": lambda: grids(16, 32, 64, kind=PlainTorch),
    "sum of grids 16 32 64, embedding_bag": lambda: grids(16, 32, 64, kind=EmbeddingBag),
    "sum of grids 16 32 64, grid_sample": lambda: GridSample((16, 32, 64)),
    "one grid 64, compiled": lambda: grids(64),
    "hash grid 8 x 2 to 128, 2^15, network 32": lambda: HashGridWithNetwork(8, 128, 15),
    "hash grid 16 x 2 to 512, 2^16, network 32": lambda: HashGridWithNetwork(16, 512, 16),
}

FITS: tuple[tuple[str, float], ...] = (
    ("sum of grids 16 32 64, compiled (**ours**)", 0.03),
    ("sum of grids 16 32 64, compiled (**ours**)", 0.06),
    ("sum of grids 16 32 64 128, hashed from 2^19", 0.03),
    ("one grid 64, compiled", 0.03),
    ("one grid 64, compiled", 0.06),
    ("hash grid 8 x 2 to 128, 2^15, network 32", 0.005),
    ("hash grid 8 x 2 to 128, 2^15, network 32", 0.01),
    ("hash grid 8 x 2 to 128, 2^15, network 32", 0.02),
)
MARKS = (50, 100, 200, 400)


def points_in_pixel_order(count: int) -> Tensor:
    """Points on a bumpy ball as 8 views show them, row by row."""
    side = int(math.sqrt(count / 8 * 4 / math.pi)) + 1
    y, x = torch.meshgrid(torch.linspace(1, -1, side), torch.linspace(-1, 1, side), indexing="ij")
    is_seen = x**2 + y**2 < 1
    x, y = x[is_seen], y[is_seen]
    front = torch.stack([x, y, (1 - x**2 - y**2).sqrt()], dim=-1)
    views = []
    for angle in torch.arange(8) * (math.pi / 4):
        cos, sin = angle.cos(), angle.sin()
        turn = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        views.append(on_blob(front @ turn.T))
    return torch.cat(views)[:count]


def on_blob(directions: Tensor) -> Tensor:
    return directions * (0.7 + 0.1 * torch.sin(5 * directions[:, :1]) * torch.sin(6 * directions[:, 1:2]))


def true_colours(positions: Tensor) -> Tensor:
    """Red above with white dots, cream below, a little uneven: sharp borders and smooth change."""
    is_cap = positions[:, 1:2] > 0.15
    is_dot = is_cap & (torch.sin(7 * positions).prod(-1, keepdim=True) > 0.35)
    colours = torch.where(is_cap, torch.tensor([0.85, 0.1, 0.12]), torch.tensor([0.93, 0.9, 0.82]))
    colours = torch.where(is_dot, torch.tensor([0.97, 0.97, 0.95]), colours)
    return (colours + 0.1 * torch.sin(3 * positions[:, :1])).clamp(0.02, 0.98)


def speed_rows() -> Iterator[str]:
    positions = points_in_pixel_order(POINTS)
    yield "| field | parameters | forward | forward + backward | Adam step |"
    yield "|---|---|---|---|---|"
    for name, make in FIELDS.items():
        field = make()
        optimiser = torch.optim.Adam(field.parameters(), fused=True)

        def step(field: nn.Module = field) -> None:
            field.zero_grad()
            field.colours(positions).sum().backward()

        with torch.no_grad():
            forward = milliseconds(lambda field=field: field.colours(positions), repeats=9)
        both, adam = milliseconds(step, repeats=9), milliseconds(optimiser.step, repeats=9)
        count = sum(parameter.numel() for parameter in field.parameters())
        yield f"| {name} | {count:,} | {forward:.1f} | **{both:.1f}** | {adam:.1f} |"


def fit(name: str, rate: float, noise: float) -> list[float]:
    """PSNR on points that were not learnt, after 50, 100, 200 and 400 steps of Adam."""
    generator = torch.Generator().manual_seed(0)
    field = FIELDS[name]()
    if isinstance(field, HashGridWithNetwork):
        groups = [
            {"params": [field.table], "lr": rate},
            {"params": list(field.network.parameters()), "lr": 0.2 * rate},
        ]
    else:
        groups = field.parameter_groups(rate)
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    test = on_blob(nn.functional.normalize(torch.randn(20_000, 3, generator=generator), dim=-1))
    values = []
    for step in range(1, MARKS[-1] + 1):
        points = on_blob(nn.functional.normalize(torch.randn(12_000, 3, generator=generator), dim=-1))
        colours = field.colours(points)
        # As in score distillation: noise at each pixel, and a broad one that differs from step to step.
        waves, phase = torch.randn(3, 3, generator=generator), torch.rand(3, generator=generator)
        broad = torch.sin(2 * points @ waves + 2 * math.pi * phase)
        disturbance = noise * (torch.randn(colours.shape, generator=generator) + broad)
        optimiser.zero_grad()
        colours.backward((colours.detach() - true_colours(points) + disturbance) / len(points))
        optimiser.step()
        if step in MARKS:
            with torch.no_grad():
                values.append(-10 * float((field.colours(test) - true_colours(test)).square().mean().log10()))
    return values


def fit_rows() -> Iterator[str]:
    heads = " | ".join(f"{mark} steps" for mark in MARKS)
    yield f"| field | rate | {heads} | with noise, {heads} |"
    yield "|---" * (2 + 2 * len(MARKS)) + "|"
    for name, rate in FITS:
        clean, noisy = fit(name, rate, 0.0), fit(name, rate, 1.0)
        yield f"| {name} | {rate} | " + " | ".join(f"{value:.1f}" for value in clean + noisy) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/results")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    today = datetime.date.today().isoformat()
    lines = [
        f"# Texture fields, {today}",
        "",
        f"`python benchmarks/texture_field.py`, one thread, {processor_name()}, {platform.machine()}, "
        f"torch {torch.__version__}, shared machine.",
        "",
        f"## Speed: {POINTS:,} points, CPU milliseconds, least of several runs",
        "",
        "Points lie as pixels of 8 views do. All give 5 channels (albedo, roughness, metallic). Bar: 8 ms.",
        "",
        *speed_rows(),
        "",
        "## How well a known colouring is learnt: PSNR in dB",
        "",
        "A bumpy ball with a red cap, white dots and a sharp border; 12,000 points a step, Adam. With noise: each "
        "gradient carries pixel noise and a broad wave, each as large as the full range of colours.",
        "",
        *fit_rows(),
    ]
    print("\n".join(lines))
    if write:
        (FOLDER / "results" / f"texture_field-{today}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
