"""What drawings ask of a surface, as terms for the loop: `SketchTerms` is one of its `FurtherTerms`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.appearance.material import Material
from backend.geometry.triangle_mesh import TriangleMesh
from backend.losses.sketch import colour_loss, contour_strength, line_loss, outside_loss, silhouette_loss
from backend.posed_cameras import PosedCameras
from backend.render.contours import render_contours, render_masks
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import FieldAppearance, render_views
from backend.sketch_config import SketchConfig
from backend.sketches.camera import posed
from backend.sketches.drawing import Drawing, coverage, resampled


@dataclass(frozen=True)
class _Group:
    """Drawings that are compared in one way, as tensors [views, height, width, channels]."""

    cameras: PosedCameras
    weights: Tensor
    """[views]."""
    wanted: Tensor
    """Coverage of the shape, ink of the lines, or colours."""
    distances: Tensor
    """To the border or to the nearest line; of colours where there are any."""


class SketchTerms:
    """Every drawing seen from its own camera, compared with what was drawn, weighted.

    Args:
        drawings: With their cameras fitted; those with a shape are held to it, those of lines to the lines as well.
            Scribbles are too rough for that: see `sketches.control`.
    """

    def __init__(
        self, drawings: Sequence[Drawing], config: SketchConfig, rasteriser: Rasteriser, device: torch.device
    ) -> None:
        self._config, self._rasteriser, self._device = config, rasteriser, device
        size = config.resolution
        self._outlines = self._group(
            [drawing for drawing in drawings if drawing.shape is not None and drawing.sketch.drawn != "scribble"],
            lambda drawing: (
                coverage(_shape(drawing), size)[..., None],
                resampled(drawing.signed_distances(), size)[..., None],
            ),
        )
        self._lines = self._group(
            [drawing for drawing in drawings if drawing.sketch.drawn == "lines"],
            lambda drawing: (
                coverage(drawing.ink, size)[..., None],
                resampled(drawing.line_distances(), size)[..., None],
            ),
        )
        self._colours = self._group(
            [drawing for drawing in drawings if drawing.sketch.has_colour_hints],
            lambda drawing: _hints(drawing, size),
        )

    def __call__(self, mesh: TriangleMesh, texture: Callable[[Tensor], Material], progress: float) -> dict[str, Tensor]:
        """Weighted terms by name. An empty mesh gets none: there is nothing that could move."""
        if mesh.is_empty:
            return {}
        config, size = self._config, self._config.resolution
        terms: dict[str, Tensor] = {}
        if self._outlines is not None and config.outline_weight.at(progress) > 0:
            group = self._outlines
            masks = render_masks(self._rasteriser, mesh, group.cameras, size)
            wrong = silhouette_loss(masks, group.wanted, group.distances, config.tolerance.at(progress))
            terms["sketched outlines"] = config.outline_weight.at(progress) * (wrong * group.weights).sum()
            if config.outside_weight.at(progress) > 0:
                tolerance = config.tolerance.at(progress) + 0.5 / size  # half a pixel: what masks show is theirs
                outside = outside_loss(group.cameras.project(mesh.positions), group.distances, tolerance)
                terms["outside of outlines"] = config.outside_weight.at(progress) * (outside * group.weights).sum()
        if self._lines is not None and config.line_weight.at(progress) > 0:
            group = self._lines
            views = render_contours(self._rasteriser, mesh, group.cameras, size)
            contours = contour_strength(views.masks, views.depths, views.normals)
            wrong = line_loss(contours, group.wanted, group.distances, config.line_tolerance.at(progress))
            terms["sketched lines"] = config.line_weight.at(progress) * (wrong * group.weights).sum()
        if self._colours is not None and config.colour_weight.at(progress) > 0:
            group = self._colours
            seen = render_views(self._rasteriser, mesh.detach(), FieldAppearance(texture), group.cameras, size)
            wrong = colour_loss(seen.images, group.wanted, group.distances * (seen.masks > 0.5))
            terms["sketched colours"] = config.colour_weight.at(progress) * (wrong * group.weights).sum()
        return terms

    def _group(
        self, drawings: Sequence[Drawing], rasters: Callable[[Drawing], tuple[np.ndarray, np.ndarray]]
    ) -> _Group | None:
        drawings = [drawing for drawing in drawings if drawing.sketch.weight > 0]
        if not drawings:
            return None
        wanted, distances = zip(*(rasters(drawing) for drawing in drawings), strict=True)
        return _Group(
            posed([drawing.camera for drawing in drawings]).to(self._device),
            torch.tensor([drawing.sketch.weight for drawing in drawings], dtype=torch.float32, device=self._device),
            torch.from_numpy(np.stack(wanted)).float().to(self._device),
            torch.from_numpy(np.stack(distances)).float().to(self._device),
        )


def _shape(drawing: Drawing) -> np.ndarray:
    assert drawing.shape is not None  # the group has only those
    return drawing.shape


def _hints(drawing: Drawing, size: int) -> tuple[np.ndarray, np.ndarray]:
    hints = drawing.sketch.colour_hints()
    assert hints is not None  # the group has only those
    colours, places = hints
    share = coverage(places, size)[..., None]
    # Pixels at the rim of a stroke hold a part of its colour over black.
    channels = [resampled(colours[..., channel] / 255.0, size) for channel in range(3)]
    return np.stack(channels, axis=-1) / np.maximum(share, 1e-3), share
