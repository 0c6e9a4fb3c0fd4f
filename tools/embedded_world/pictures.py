"""From plans to pictures: shapes rendered by the backend's own renderer, lit, set on backgrounds, flawed as planned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import gaussian_filter

from backend.cameras import CameraBatch
from backend.diffusion.prompts import FLAW_WORDS
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import Rasteriser, choose_rasteriser
from backend.render.renderer import VertexColours, render_views
from backend.render.shading import Lighting
from tools.embedded_world.backgrounds import draw_background
from tools.embedded_world.blockouts import make_blockout
from tools.embedded_world.captions import CaptionShares, PicturePlan, Style, groups_of, mesh_key, plan_pictures
from tools.embedded_world.colours import COLOUR_NAMES, COLOURS
from tools.embedded_world.flaws import IMAGE_FLAWS, SHADING_FLAWS, Layers, make_badly_structured, make_malformed
from tools.embedded_world.line_drawings import draw_by_hand
from tools.embedded_world.painting import paint_over
from tools.embedded_world.shapes import SHAPE_NAMES, SHAPES, make_shape
from tools.embedded_world.solids import PART_COUNT, shading_mesh

BLOCKOUT_CREASE_DEGREES = 15.0  # blockouts show their facets
BLOCK = 8
"""Side of the blocks of `coverage` in pixels: what one latent pixel stands for."""
SUPERSAMPLE = 2  # with the antialiased silhouettes no different to the eye from 3, at 70 % of the time
LIGHT_SPREAD = 0.5
"""The light stands where the camera stands, moved by a normal random vector of this deviation (directions are unit)."""
AMBIENT = (0.25, 0.55)


@dataclass(frozen=True)
class Pictures:
    """Pictures with what they show. Row 0 of an image is its top."""

    images: UInt8[np.ndarray, "pictures height width 3"]
    """sRGB."""
    coverage: UInt8[np.ndarray, "pictures cells_high cells_wide"]
    """How much of each block of 8 x 8 pixels the object covers, 0 to 255."""
    drawings: UInt8[np.ndarray, "pictures drawing_height drawing_width"]
    """The object's lines as a hand would draw them: how much of each pixel is ink, 0 to 255. Of size 0 where none were
    asked for."""
    captions: list[str]
    shape_ids: Int[np.ndarray, "pictures"]
    """Index into SHAPE_NAMES."""
    colour_ids: Int[np.ndarray, "pictures"]
    """Index into COLOUR_NAMES; for a blockout the colour that only the caption has."""
    azimuths: Float[np.ndarray, "pictures"]
    """Degrees."""
    elevations: Float[np.ndarray, "pictures"]
    """Degrees."""
    flaws: Bool[np.ndarray, "pictures flaw_words"]
    """In the order of FLAW_WORDS."""
    has_quality_words: Bool[np.ndarray, "pictures"]
    is_painting: Bool[np.ndarray, "pictures"]
    is_blockout: Bool[np.ndarray, "pictures"]

    def __len__(self) -> int:
        return len(self.captions)


def render_pictures(
    count: int,
    seed: int,
    size: int = 64,
    *,
    first: int = 0,
    variants: tuple[int, int] = (0, 24),
    shares: CaptionShares = CaptionShares(),
    pairs: frozenset[tuple[str, str]] | None = None,
    with_drawings: bool = False,
    rasteriser: Rasteriser | None = None,
) -> Pictures:
    """Pictures `first` to `first + count` of the endless sequence that belongs to a seed.

    Args:
        size: Height and width in pixels.
        variants: From which to before which instance of every class; a disjoint range gives other proportions.
        pairs: The (colour, shape) pairs to draw from; None is all but the held-out ones.
        with_drawings: Whether each picture comes with a drawing of its lines. The pictures are the same either way.
    """
    plans = plan_pictures(count, seed, first=first, variants=variants, shares=shares, pairs=pairs)
    return render_plans(plans, size, with_drawings=with_drawings, rasteriser=rasteriser)


def render_plans(
    plans: list[PicturePlan], size: int = 64, *, with_drawings: bool = False, rasteriser: Rasteriser | None = None
) -> Pictures:
    """Renders planned pictures in their order."""
    rasteriser = rasteriser or choose_rasteriser(torch.device("cpu"))
    rendered = [each for group in groups_of(plans) for each in _render_group(group, size, with_drawings, rasteriser)]
    images, masks, drawings = zip(*rendered, strict=True) if rendered else ((), (), ())
    cells = size // BLOCK
    return Pictures(
        images=np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8),
        coverage=np.stack([_coverage(mask) for mask in masks]) if masks else np.zeros((0, cells, cells), np.uint8),
        drawings=np.stack(drawings) if drawings else _no_drawing()[None][:0],
        captions=[plan.caption for plan in plans],
        shape_ids=_array((SHAPE_NAMES.index(plan.shape) for plan in plans), np.int32),
        colour_ids=_array((COLOUR_NAMES.index(plan.colour) for plan in plans), np.int32),
        azimuths=_array((plan.azimuth_degrees for plan in plans), np.float32),
        elevations=_array((plan.elevation_degrees for plan in plans), np.float32),
        flaws=np.array([[word in plan.flaws for word in FLAW_WORDS] for plan in plans], bool).reshape(
            -1, len(FLAW_WORDS)
        ),
        has_quality_words=_array((bool(plan.quality_words) for plan in plans), bool),
        is_painting=_array((plan.style == "painting" for plan in plans), bool),
        is_blockout=_array((plan.style == "blockout" for plan in plans), bool),
    )


@dataclass(frozen=True)
class _ReadyMesh:
    mesh: TriangleMesh
    part_weights: Float[torch.Tensor, "vertices 3"]
    """1 in the column of the vertex's part."""


@lru_cache(maxsize=4096)
def _ready_mesh(shape: str, variant: int, style: Style, is_badly_structured: bool, is_malformed: bool) -> _ReadyMesh:
    """Instances are built once per process; the same arguments mean the same mesh in every process."""
    kind = 4 * (style == "blockout") + 2 * is_badly_structured + is_malformed
    rng = np.random.default_rng([SHAPE_NAMES.index(shape), variant, kind])
    if style == "blockout":
        shading = shading_mesh(make_blockout(shape, rng), BLOCKOUT_CREASE_DEGREES)
    elif is_badly_structured:
        shading = shading_mesh(make_badly_structured(shape, rng, is_malformed))
    elif is_malformed:
        shading = shading_mesh(make_malformed(shape, rng))
    else:
        shading = shading_mesh(make_shape(shape, rng))
    weights = np.eye(PART_COUNT, dtype=np.float32)[shading.part_ids]
    mesh = TriangleMesh(torch.from_numpy(shading.positions), torch.from_numpy(shading.faces))
    return _ReadyMesh(mesh, torch.from_numpy(weights))


_Rendered = tuple[
    UInt8[np.ndarray, "height width 3"], Float[np.ndarray, "height width 1"], UInt8[np.ndarray, "drawn_high drawn_wide"]
]


def _render_group(plans: list[PicturePlan], size: int, with_drawings: bool, rasteriser: Rasteriser) -> list[_Rendered]:
    """Pictures of one mesh, their masks and drawings, each with its own camera, light, colours and background."""
    ready = _ready_mesh(*mesh_key(plans[0]))
    rngs = [np.random.default_rng([*plan.seed, 1]) for plan in plans]
    cameras = CameraBatch(
        torch.tensor([plan.azimuth_degrees for plan in plans], dtype=torch.float32),
        torch.tensor([plan.elevation_degrees for plan in plans], dtype=torch.float32),
        torch.tensor([plan.distance_metres for plan in plans], dtype=torch.float32),
        torch.tensor([plan.fov_degrees for plan in plans], dtype=torch.float32),
    )
    toward_camera = torch.nn.functional.normalize(cameras.positions(), dim=-1)
    offsets = torch.tensor(np.stack([rng.standard_normal(3) * LIGHT_SPREAD for rng in rngs]), dtype=torch.float32)
    light_directions = torch.nn.functional.normalize(toward_camera + offsets, dim=-1)
    ambient = torch.tensor([rng.uniform(*AMBIENT) for rng in rngs], dtype=torch.float32)

    # The parts' weights are rendered instead of colours. Everything after the surface's colour is linear in it, so one
    # rasterisation serves pictures in several colours, and the flaws of shading get light and albedo apart.
    with torch.no_grad():
        views = render_views(
            rasteriser, ready.mesh, VertexColours(ready.part_weights), cameras, size,
            lighting=Lighting(light_directions, ambient), background=torch.zeros(3), supersample=SUPERSAMPLE,
        )  # fmt: skip
    lit_weights, masks, normals = views.images.numpy(), views.masks.numpy(), views.normals.numpy()
    rendered = []
    for index, (plan, rng) in enumerate(zip(plans, rngs, strict=True)):
        weights = lit_weights[index].sum(-1, keepdims=True)
        part_shares = lit_weights[index] / np.maximum(weights, 1e-6)
        layers = Layers(
            albedo=part_shares @ _part_colours(plan, rng),
            light=weights / np.maximum(masks[index], 1e-6),
            mask=masks[index],
            normals=normals[index],
            background=draw_background(rng, size),
            light_direction=light_directions[index].numpy(),
            view_direction=toward_camera[index].numpy(),
            ambient=float(ambient[index]),
        )
        drawing = _no_drawing()
        if with_drawings:
            hand_rng = np.random.default_rng([*plan.seed, 2])
            drawing = draw_by_hand(masks[index, ..., 0], views.depths[index, ..., 0].numpy(), normals[index], hand_rng)
        rendered.append((_finish(plan, layers, rng), masks[index], drawing))
    return rendered


def _no_drawing() -> UInt8[np.ndarray, "height width"]:
    return np.zeros((0, 0), np.uint8)


def _coverage(mask: Float[np.ndarray, "height width 1"]) -> UInt8[np.ndarray, "cells_high cells_wide"]:
    cells = len(mask) // BLOCK
    blocks = mask[: cells * BLOCK, : cells * BLOCK, 0].reshape(cells, BLOCK, cells, BLOCK)
    return np.rint(np.clip(blocks.mean(axis=(1, 3)), 0, 1) * 255).astype(np.uint8)


def _part_colours(plan: PicturePlan, rng: np.random.Generator) -> Float[np.ndarray, "parts 3"]:
    if plan.style == "blockout":  # untextured: one greyish clay for everything
        clay = float(rng.uniform(0.5, 0.85)) + rng.uniform(-0.03, 0.03, 3)
        return np.broadcast_to(clay.astype(np.float32), (PART_COUNT, 3))
    natural = np.array(SHAPES[plan.shape].natural_colours) * rng.uniform(0.9, 1.08, (2, 1)) + rng.uniform(
        -0.02, 0.02, (2, 3)
    )
    return np.concatenate([COLOURS[plan.colour].draw(rng)[None], np.clip(natural, 0, 1)]).astype(np.float32)


def _finish(plan: PicturePlan, layers: Layers, rng: np.random.Generator) -> UInt8[np.ndarray, "height width 3"]:
    for word, change in SHADING_FLAWS.items():
        if word in plan.flaws:
            layers = change(layers, rng)
    image = layers.compose()
    for word, operation in IMAGE_FLAWS.items():
        if word in plan.flaws:
            image = operation(image, rng)
    if plan.style == "painting":
        image = paint_over(image, rng)
    if plan.quality_words:
        image = _sharpen(image, float(rng.uniform(0.3, 0.6)))
    elif plan.style == "render" and not plan.flaws:
        # An ordinary picture is a touch softer and noisier than a good one, so that the quality words say something.
        image = gaussian_filter(image, (0.45 * rng.random() * len(image) / 64,) * 2 + (0,))
        image = image + rng.standard_normal(image.shape) * float(rng.uniform(0, 0.006))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _sharpen(image: np.ndarray, amount: float) -> np.ndarray:
    sigma = 0.8 * len(image) / 64
    return image + amount * (image - gaussian_filter(image, (sigma, sigma, 0)))


def _array(values: Iterable[object], dtype: type) -> np.ndarray:
    return np.array(list(values), dtype=dtype)
