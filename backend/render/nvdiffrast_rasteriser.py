"""The four operations of `rasteriser` by nvdiffrast, on CUDA. The one file that imports nvdiffrast."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from types import ModuleType
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import MissingRasteriser
from backend.render.portable_rasteriser import mipmap_level_count
from backend.render.rasteriser import BoundaryMode, FilterMode

INSTALL_COMMAND = (
    "pip install setuptools wheel ninja && "
    "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast.git"
)


def nvdiffrast_is_installed() -> bool:
    """Whether nvdiffrast can be found. It is not imported, so it may still turn out to be broken."""
    return importlib.util.find_spec("nvdiffrast") is not None


class NvdiffrastRasteriser:
    """nvdiffrast on one CUDA device.

    Its antialiasing sees a silhouette only where the silhouette's own face covers a pixel centre; render meshes with
    faces smaller than a pixel at 2 to 4 times the resolution.

    Raises:
        MissingRasteriser: There is no CUDA device, or nvdiffrast is not installed or cannot be loaded.
    """

    name = "nvdiffrast"

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda" or not torch.cuda.is_available():
            raise MissingRasteriser(
                f"nvdiffrast runs on CUDA only, and the device is {str(device)!r} here. "
                "Choose the portable rasteriser, or a machine with an NVIDIA GPU and a CUDA build of torch."
            )
        self._nvdiffrast = _import_nvdiffrast()
        self._context = self._nvdiffrast.RasterizeCudaContext(device=device)

    def rasterize(
        self,
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        resolution: tuple[int, int],
    ) -> tuple[Float[Tensor, "views height width 4"], Float[Tensor, "views height width 4"]]:
        """See `Rasteriser.rasterize`."""
        if len(faces) == 0:
            # nvdiffrast refuses empty meshes. Zeros that still lead back to the positions give zero gradients.
            nothing = 0.0 * clip_positions.sum()
            raster = clip_positions.new_zeros(len(clip_positions), *resolution, 4) + nothing
            return raster, torch.zeros_like(raster)
        return self._nvdiffrast.rasterize(
            self._context, clip_positions.contiguous(), faces.contiguous(), resolution=list(resolution)
        )

    def interpolate(
        self,
        attributes: Float[Tensor, "views_or_1 vertices channels"],
        raster: Float[Tensor, "views height width 4"],
        faces: Int[Tensor, "faces 3"],
        raster_derivatives: Float[Tensor, "views height width 4"] | None = None,
        differentiate: Literal["all"] | list[int] | None = None,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width derivatives"]]:
        """See `Rasteriser.interpolate`."""
        if len(faces) == 0:
            channels = attributes.shape[-1]
            chosen = channels if differentiate == "all" else len(differentiate or [])
            nothing = 0.0 * attributes.sum()
            values = raster.new_zeros(*raster.shape[:3], channels) + nothing
            return values, raster.new_zeros(*raster.shape[:3], 2 * chosen)
        return self._nvdiffrast.interpolate(
            attributes.contiguous(),
            raster.contiguous(),
            faces.contiguous(),
            # nvdiffrast wants the derivatives exactly when it has something to differentiate.
            rast_db=raster_derivatives.contiguous() if raster_derivatives is not None and differentiate else None,
            diff_attrs=differentiate or None,
        )

    def texture(
        self,
        texture: Float[Tensor, "views_or_1 texture_height texture_width channels"],
        uv: Float[Tensor, "views height width 2"],
        uv_derivatives: Float[Tensor, "views height width 4"] | None = None,
        filter_mode: FilterMode = "auto",
        boundary_mode: BoundaryMode = "wrap",
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.texture`."""
        wants_mipmaps = "mipmap" in filter_mode or (filter_mode == "auto" and uv_derivatives is not None)
        return self._nvdiffrast.texture(
            texture.contiguous(),
            uv.contiguous(),
            uv_da=uv_derivatives.contiguous() if uv_derivatives is not None and wants_mipmaps else None,
            filter_mode=filter_mode,
            boundary_mode=boundary_mode,
            # Left to itself nvdiffrast refuses textures that cannot be halved down to one texel.
            max_mip_level=mipmap_level_count(texture.shape[1], texture.shape[2]) - 1 if wants_mipmaps else None,
        )

    def antialias(
        self,
        colours: Float[Tensor, "views height width channels"],
        raster: Float[Tensor, "views height width 4"],
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.antialias`."""
        if len(faces) == 0:
            return colours + 0.0 * clip_positions.sum()
        return self._nvdiffrast.antialias(
            colours.contiguous(), raster.contiguous(), clip_positions.contiguous(), faces.contiguous()
        )


@functools.cache
def _import_nvdiffrast() -> ModuleType:
    """nvdiffrast's torch operations. Tells of its licence the first time."""
    if not nvdiffrast_is_installed():
        raise MissingRasteriser(
            f"nvdiffrast is not installed. It needs torch 2.7 and nvcc: {INSTALL_COMMAND}\n"
            "Or choose the portable rasteriser, which needs nothing more."
        )
    try:
        import nvdiffrast.torch
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingRasteriser(
            f"nvdiffrast is installed but cannot be loaded ({error}). It must be built against this torch "
            f"({torch.__version__}): {INSTALL_COMMAND} --force-reinstall"
        ) from error
    warnings.warn(
        "Rendering with nvdiffrast, whose licence allows non-commercial use only (research and evaluation). "
        "The portable rasteriser has no such limit.",
        stacklevel=2,
    )
    return nvdiffrast.torch
