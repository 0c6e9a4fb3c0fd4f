"""The four operations of differentiable rasterisation, behind one interface, in nvdiffrast's conventions.

The conventions, once (Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering"):
- clip space is OpenGL's: a point is visible if |x|, |y|, |z| <= w;
- row 0 of an image is at y = -1. Our cameras turn y over, so that row 0 shows the top of the scene;
- a rasterised pixel is (u, v, z/w, triangle + 1), zeros where nothing is; u and v weigh the first and second corner;
- the gradient of coverage comes from `antialias` alone.
"""

from __future__ import annotations

import warnings
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import BadInput, MissingRasteriser

ClipPositions = Float[Tensor, "views vertices 4"]
Faces = Int[Tensor, "faces 3"]
Raster = Float[Tensor, "views height width 4"]
FilterMode = Literal["auto", "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BoundaryMode = Literal["wrap", "clamp", "zero"]
RasteriserChoice = Literal["auto", "portable", "nvdiffrast", "cuda"]


@runtime_checkable
class Rasteriser(Protocol):
    """Rasterise, interpolate, texture, antialias. All tensors float32 (faces int32) on one device."""

    name: str
    """Shown by `sketchbridge doctor` and kept in the run's record."""

    def rasterize(
        self, clip_positions: ClipPositions, faces: Faces, resolution: tuple[int, int]
    ) -> tuple[Raster, Raster]:
        """Finds the nearest triangle of each pixel.

        Returns:
            The raster, and the image-space derivatives (du/dX, du/dY, dv/dX, dv/dY) in pixels.
            u, v and their derivatives carry gradient to x, y and w of the positions; z/w and the id carry none.
        """
        ...

    def interpolate(
        self,
        attributes: Float[Tensor, "views_or_1 vertices channels"],
        raster: Raster,
        faces: Faces,
        raster_derivatives: Raster | None = None,
        differentiate: Literal["all"] | list[int] | None = None,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width derivatives"]]:
        """Interpolates vertex attributes; zero where nothing is. Also (dA/dX, dA/dY) per chosen attribute."""
        ...

    def texture(
        self,
        texture: Float[Tensor, "views_or_1 texture_height texture_width channels"],
        uv: Float[Tensor, "views height width 2"],
        uv_derivatives: Float[Tensor, "views height width 4"] | None = None,
        filter_mode: FilterMode = "auto",
        boundary_mode: BoundaryMode = "wrap",
    ) -> Float[Tensor, "views height width channels"]:
        """Looks a texture up. (0, 0) is the outer corner of the first texel of row 0; centres at (i + 0.5) / size."""
        ...

    def antialias(
        self,
        colours: Float[Tensor, "views height width channels"],
        raster: Raster,
        clip_positions: ClipPositions,
        faces: Faces,
    ) -> Float[Tensor, "views height width channels"]:
        """Blends pixel pairs across silhouettes; the gradient of coverage goes to x, y and w of the positions."""
        ...


def choose_rasteriser(device: torch.device, choice: str = "auto") -> Rasteriser:
    """The rasteriser for a device: nvdiffrast on CUDA where it is installed, the portable one elsewhere.

    Args:
        choice: A `RasteriserChoice`; `cuda` names our own kernels on CUDA. `auto` does not take them as long as they
            have only been run in numba's simulator.

    Raises:
        MissingRasteriser: One was asked for by name and cannot run here.
    """
    from backend.render.cuda_rasteriser import CudaRasteriser
    from backend.render.nvdiffrast_rasteriser import NvdiffrastRasteriser, nvdiffrast_is_installed
    from backend.render.portable_rasteriser import PortableRasteriser

    if choice not in get_args(RasteriserChoice):
        raise BadInput(f"there is no rasteriser {choice!r}; choose {', '.join(get_args(RasteriserChoice))}")
    if choice == "nvdiffrast":
        return NvdiffrastRasteriser(device)
    if choice == "cuda":
        return CudaRasteriser(device)
    if choice == "auto" and device.type == "cuda" and nvdiffrast_is_installed():
        try:
            return NvdiffrastRasteriser(device)
        except MissingRasteriser as error:
            warnings.warn(f"{error} The portable rasteriser is used instead.", stacklevel=2)
    return PortableRasteriser()
