"""How well a mesh fits its drawings: scores, and pictures of both on top of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from scipy import ndimage

from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.contours import ContourViews, render_contours, render_masks
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import Appearance, render_views
from backend.render.shading import headlight
from backend.sketches.camera import posed
from backend.sketches.drawing import Drawing, coverage

SCORED_PIXELS = 256
LINE_TOLERANCE = 0.02
"""Share of the picture's size within which a drawn line counts as met."""
_DEPTH_STEP_METRES = 0.08
_CREASE_CHORD = 2 * math.sin(math.radians(20.0) / 2)
"""Between the unit normals of neighbouring pixels that show a crease of 20 degrees."""
_INK_COLOUR = np.array([214.0, 36.0, 48.0])


@dataclass(frozen=True)
class SketchScore:
    name: str
    silhouette_iou: float | None
    """Of the drawn and the rendered shape, 0 to 1; None where the drawing encloses nothing."""
    lines_met: float | None
    """Share of the drawn lines within `LINE_TOLERANCE` of a rendered contour; None for outlines."""

    def __str__(self) -> str:
        """`front: IoU 0.94, 91 % of the lines met`."""
        facts = []
        if self.silhouette_iou is not None:
            facts.append(f"IoU {self.silhouette_iou:.2f}")
        if self.lines_met is not None:
            facts.append(f"{100 * self.lines_met:.0f} % of the lines met")
        return f"{self.name}: {', '.join(facts)}"


def fit_sentence(scores: Sequence[SketchScore]) -> str:
    """For the user, when the mesh is finished."""
    return "how well the drawings fit: " + "; ".join(map(str, scores))


@torch.no_grad()
def sketch_scores(rasteriser: Rasteriser, mesh: TriangleMesh, drawings: Sequence[Drawing]) -> list[SketchScore]:
    """One score per drawing."""
    if not drawings:
        return []
    device = mesh.positions.device
    masks = render_masks(rasteriser, mesh, posed([each.camera for each in drawings]).to(device), SCORED_PIXELS)
    scores = []
    for drawing, mask in zip(drawings, masks[..., 0].cpu().numpy(), strict=True):
        iou = None if drawing.shape is None else _iou(coverage(drawing.shape, SCORED_PIXELS) > 0.5, mask > 0.5)
        met = lines_met(rasteriser, mesh, drawing) if drawing.sketch.drawn == "lines" else None
        scores.append(SketchScore(drawing.name, iou, met))
    return scores


@torch.no_grad()
def overlays(
    rasteriser: Rasteriser,
    mesh: TriangleMesh,
    appearance: Appearance,
    drawings: Sequence[Drawing],
    resolution: int = 384,
) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The lines of each drawing, red, over the textured mesh as its camera sees it."""
    if not drawings:
        return []
    cameras = posed([drawing.camera for drawing in drawings]).to(mesh.positions.device)
    views = render_views(rasteriser, mesh, appearance, cameras, resolution, lighting=headlight(cameras), supersample=2)
    pictures = []
    for drawing, image in zip(drawings, views.images.clamp(0, 1).cpu().numpy() * 255, strict=True):
        share = coverage(drawing.line_ink(), resolution)[..., None] * 0.85
        pictures.append((image * (1 - share) + _INK_COLOUR * share).round().astype(np.uint8))
    return pictures


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@torch.no_grad()
def lines_met(rasteriser: Rasteriser, mesh: TriangleMesh, drawing: Drawing) -> float:
    """Share of the ink of any drawing, 0 to 1, that lies within `LINE_TOLERANCE` of a rendered contour."""
    device = mesh.positions.device
    views = render_contours(rasteriser, mesh, posed([drawing.camera]).to(device), SCORED_PIXELS)
    contours = _contours(views)
    if not contours.any():
        return 0.0
    distances = ndimage.distance_transform_edt(~contours) / SCORED_PIXELS
    drawn = coverage(drawing.line_ink(), SCORED_PIXELS)
    return float((drawn * (distances <= LINE_TOLERANCE)).sum() / drawn.sum())


def _contours(views: ContourViews) -> Bool[np.ndarray, "height width"]:
    """Pixels of the first view on either side of a silhouette, of a step in depth or of a crease.

    Yes or no, unlike `contour_strength`, which spreads a line over the pixels around it: what is measured is not the
    term that was minimised.
    """
    covered = views.masks[0, ..., 0].cpu().numpy() > 0.5
    depths, normals = views.depths[0, ..., 0].cpu().numpy(), views.normals[0].cpu().numpy()
    contours = np.zeros_like(covered)
    for axis in (0, 1):  # between rows, then between columns
        inside, depth, normal, contour = (each.swapaxes(0, axis) for each in (covered, depths, normals, contours))
        stepped = np.abs(np.diff(depth, axis=0)) >= _DEPTH_STEP_METRES
        turned = np.linalg.norm(np.diff(normal, axis=0), axis=-1) >= _CREASE_CHORD
        line = (inside[1:] != inside[:-1]) | (inside[1:] & inside[:-1] & (stepped | turned))
        contour[1:] |= line  # a view of `contours`
        contour[:-1] |= line
    return contours
