"""The ten flaws that captions name, each as something really done: to the mesh, to its shading, or to the picture.

The flaws of score distillation are the models: over-saturation, over-smoothing, fog, broken parts. A synonym means the
same operation. Strengths are random, never so weak that the flaw cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from manifold3d import Manifold
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter, zoom

from backend.render.shading import GAMMA
from tools.embedded_world.shapes import shape_pieces
from tools.embedded_world.solids import ColouredMesh, fit_to_ball, join

Image = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Layers:
    """A picture before its layers are put together; all arrays float32."""

    albedo: Image
    """sRGB-coded; anything where the mask is 0."""
    light: Float[np.ndarray, "height width 1"]
    """Factor on the albedo, `linear light ** (1 / 2.2)`."""
    mask: Float[np.ndarray, "height width 1"]
    normals: Image
    background: Image
    light_direction: Float[np.ndarray, "3"]
    view_direction: Float[np.ndarray, "3"]
    """From the object towards the camera."""
    ambient: float
    highlight: Float[np.ndarray, "height width 1"] | None = None
    """White gloss added on top of the lit surface."""

    def compose(self) -> Image:
        """The picture, clipped to [0, 1]."""
        surface = self.albedo * self.light
        if self.highlight is not None:
            surface = surface + self.highlight
        return np.clip(surface * self.mask + self.background * (1 - self.mask), 0, 1).astype(np.float32)


# --- Shading ---------------------------------------------------------------------------------------------------------


def smooth_shading(layers: Layers, rng: np.random.Generator) -> Layers:
    """Melts edges and details into soft plastic; the silhouette stays sharp, which tells it from `blurry`."""
    sigma = float(rng.uniform(3.0, 5.0)) * _pixel_scale(layers.mask)
    normals = _blur_inside(layers.normals, layers.mask, sigma)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    facing = np.maximum(normals @ layers.light_direction, 0)[..., None]
    ambient = max(layers.ambient, 0.45)
    light = (ambient + (1 - ambient) * facing) ** (1 / GAMMA)
    halfway = layers.light_direction + layers.view_direction
    halfway = halfway / max(float(np.linalg.norm(halfway)), 1e-6)
    gloss = np.maximum(normals @ halfway, 0)[..., None] ** float(rng.uniform(14, 30))
    return replace(
        layers,
        albedo=_blur_inside(layers.albedo, layers.mask, sigma * 0.8),
        light=light.astype(np.float32),
        highlight=(gloss * float(rng.uniform(0.35, 0.6))).astype(np.float32),
        background=gaussian_filter(layers.background, (sigma * 1.5, sigma * 1.5, 0)),
    )


def cartoon_shading(layers: Layers, rng: np.random.Generator) -> Layers:
    """Two or three flat steps of light, vivid flat colours, dark outlines, a background of few flat colours."""
    steps = int(rng.integers(2, 4))
    darkest = float(rng.uniform(0.5, 0.68))
    low, high = 0.55, 0.98
    level = np.clip(np.floor((layers.light - low) / (high - low) * steps), 0, steps - 1) / (steps - 1)
    light = darkest + (1 - darkest) * level

    outline = np.zeros(layers.mask.shape[:2], dtype=bool)
    is_object = layers.mask[..., 0] > 0.5
    width = max(1, round(_pixel_scale(layers.mask)))
    outline |= maximum_filter(is_object, 2 * width + 1) & ~minimum_filter(is_object, 3)
    drawn = np.concatenate([layers.albedo, layers.normals * 0.6], axis=-1) * is_object[..., None]
    contrast = maximum_filter(drawn, (2, 2, 1)) - minimum_filter(drawn, (2, 2, 1))
    outline |= (contrast.max(axis=-1) > 0.42) & is_object
    ink = np.float32(rng.uniform(0.0, 0.12))

    albedo = np.clip(_saturate(layers.albedo, 1.25), 0, 1)
    background = np.clip(np.round(_saturate(layers.background, 1.3) * 3) / 3, 0, 1)
    keep = ~outline[..., None]
    return replace(
        layers,
        albedo=np.where(keep, albedo, ink).astype(np.float32),
        light=np.where(keep, light, 1).astype(np.float32),
        mask=np.where(keep, (layers.mask > 0.5), 1).astype(np.float32),
        background=background.astype(np.float32),
    )


# --- Finished pictures -----------------------------------------------------------------------------------------------


def fog(image: Image, rng: np.random.Generator) -> Image:
    """White-grey fog in drifting banks that swallows parts of the picture."""
    height, width, _ = image.shape
    coarse = rng.random((4, 3))
    banks = zoom(coarse, (height / 4, width / 3), order=3, mode="nearest", grid_mode=True)
    density = np.clip(float(rng.uniform(0.55, 0.72)) + (banks - 0.5) * 0.6, 0.25, 0.92)[..., None]
    tone = float(rng.uniform(0.78, 0.92)) + rng.uniform(-0.015, 0.015, 3)
    return (image * (1 - density) + tone * density).astype(np.float32)


def haze(image: Image, rng: np.random.Generator) -> Image:
    """An even veil of bluish or yellowish mid-grey: little contrast, little colour, nothing hidden."""
    tint = np.array([-0.05, 0.0, 0.07]) if rng.random() < 0.6 else np.array([0.06, 0.02, -0.07])
    tone = float(rng.uniform(0.48, 0.62)) + tint * float(rng.uniform(0.7, 1.2))
    keep = float(rng.uniform(0.36, 0.50))
    return (tone + (_saturate(image, 0.75) - tone) * keep).astype(np.float32)


def oversaturate(image: Image, rng: np.random.Generator) -> Image:
    """Colours far beyond natural and hard contrast, clipped."""
    vivid = _saturate(image, float(rng.uniform(1.8, 2.6)))
    contrast = float(rng.uniform(1.25, 1.6))
    return np.clip((vivid - 0.5) * contrast + 0.5, 0, 1).astype(np.float32)


def blur(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus, object and background alike."""
    sigma = float(rng.uniform(1.3, 2.4)) * _pixel_scale(image)
    return gaussian_filter(image, (sigma, sigma, 0), mode="nearest")


def pixelate(image: Image, rng: np.random.Generator) -> Image:
    """Square blocks of 4 to 6 pixels (at 64 pixels of height)."""
    size = len(image)
    block = round(float(rng.choice([4, 5, 6])) * _pixel_scale(image))
    index = np.arange(size) // block
    sums = np.add.reduceat(np.add.reduceat(image, np.arange(0, size, block), 0), np.arange(0, size, block), 1)
    counts = np.bincount(index)
    means = sums / (counts[:, None] * counts[None, :])[..., None]
    return means[index][:, index].astype(np.float32)


def add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Grain in brightness and colour; every third picture has speckles of black and white as well."""
    size = image.shape[:2]
    sigma = float(rng.uniform(0.07, 0.13))
    grain = rng.standard_normal((*size, 1)) * 0.8 + rng.standard_normal((*size, 3)) * 0.6
    noisy = image + sigma * grain
    if rng.random() < 0.35:
        speckles = rng.random(size)
        noisy[speckles < 0.025] = 0
        noisy[speckles > 0.975] = 1
    return np.clip(noisy, 0, 1).astype(np.float32)


SHADING_FLAWS: dict[str, Callable[[Layers, np.random.Generator], Layers]] = {
    "smooth": smooth_shading,
    "cartoon": cartoon_shading,
}

# In this order: air before the lens, the lens before the sensor; else blur would eat the noise that a caption names.
IMAGE_FLAWS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "foggy": fog,
    "hazy": haze,
    "oversaturated": oversaturate,
    "blurry": blur,
    "pixelated": pixelate,
    "noisy": add_noise,
}


# --- Meshes ----------------------------------------------------------------------------------------------------------


def make_malformed(name: str, rng: np.random.Generator) -> ColouredMesh:
    """An instance with dents, lumps, bends and squeezes in the wrong places; still closed."""
    pieces, paint = shape_pieces(name, rng)
    return _deform(fit_to_ball(paint.mesh_of(join(pieces).refine_to_length(0.12))), rng)


def make_badly_structured(name: str, rng: np.random.Generator, is_malformed: bool = False) -> ColouredMesh:
    """An instance whose parts have been moved, turned and scaled until they no longer fit together.

    Shapes of one piece are cut first.
    """
    pieces, paint = shape_pieces(name, rng)
    if len(pieces) < 3:
        pieces = _cut(pieces, rng)
    moved = [_misplace(piece, rng, is_moved=index > 0 and rng.random() < 0.85) for index, piece in enumerate(pieces)]
    if len(moved) > 1:  # at least one of the pieces that matter is off
        largest = int(np.argsort([piece.volume() for piece in moved])[-2])
        moved[largest] = _misplace(pieces[largest], rng, is_moved=True)
    whole = join(moved)
    if is_malformed:
        return _deform(fit_to_ball(paint.mesh_of(whole.refine_to_length(0.15))), rng)
    return fit_to_ball(paint.mesh_of(whole))


def _deform(mesh: ColouredMesh, rng: np.random.Generator) -> ColouredMesh:
    positions = mesh.positions.astype(np.float64)
    moved = positions.copy()
    for _ in range(6):
        frequency = rng.standard_normal(3) * 3.2
        wave = np.sin(positions @ frequency + rng.uniform(0, 2 * np.pi))
        moved += wave[:, None] * rng.standard_normal(3) * float(rng.uniform(0.045, 0.075))
    height = positions[:, 1]
    bend, twist = rng.choice([-1, 1], 2) * rng.uniform([0.15, 0.2], [0.45, 0.8])
    moved[:, 0] += bend * (height**2 - 0.3)
    cos, sin = np.cos(twist * height), np.sin(twist * height)
    moved[:, [0, 2]] = np.stack([cos * moved[:, 0] - sin * moved[:, 2], sin * moved[:, 0] + cos * moved[:, 2]], -1)
    moved *= rng.uniform(0.75, 1.25, 3)
    return fit_to_ball(replace(mesh, positions=moved.astype(np.float32)))


def _cut(pieces: list[Manifold], rng: np.random.Generator) -> list[Manifold]:
    """Two cuts near the middle, through everything."""
    for _ in range(2):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        halves = []
        for piece in pieces:
            low, high = np.array(piece.bounding_box()).reshape(2, 3)
            offset = float(direction @ ((low + high) / 2) + rng.uniform(-0.15, 0.15))
            halves += [half for half in piece.split_by_plane(list(direction), offset) if not half.is_empty()]
        pieces = halves
    return pieces


def _misplace(piece: Manifold, rng: np.random.Generator, is_moved: bool) -> Manifold:
    if not is_moved:
        return piece
    low, high = np.array(piece.bounding_box()).reshape(2, 3)
    centre = (low + high) / 2
    offset = rng.standard_normal(3)
    offset *= rng.uniform(0.22, 0.45) / np.linalg.norm(offset)
    turned = piece.translate(list(-centre)).rotate(list(rng.uniform(-55, 55, 3)))
    return turned.scale([float(rng.uniform(0.6, 1.5))] * 3).translate(list(centre + offset))


# --- Small things ----------------------------------------------------------------------------------------------------


def _pixel_scale(image: np.ndarray) -> float:
    """Lengths in pixels are meant at 64 pixels of height."""
    return len(image) / 64


def _saturate(image: Image, factor: float) -> Image:
    grey = (image @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    return grey + (image - grey) * factor


def _blur_inside(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs within the mask; nothing bleeds in from outside."""
    weight = gaussian_filter(mask, (sigma, sigma, 0))
    return gaussian_filter(values * mask, (sigma, sigma, 0)) / np.maximum(weight, 1e-4)
