"""The four operations of `rasteriser` on an NVIDIA card by kernels of our own, compiled by numba-cuda: no nvcc needed.

The results are those of `portable_rasteriser` with its default settings, up to rounding: which triangle a pixel sees is
decided in the same fixed point, and silhouettes are found by the same walk. Nothing is copied to the host and nothing
waits for the card. Sums of gradients are made by atomic additions, so their last bits differ from run to run.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import MissingRasteriser
from backend.render.portable_rasteriser import (
    BOUNDARIES,
    FILTERS,
    MAX_FACES,
    check_count_of_images,
    check_resolution,
    check_tensor,
    checked_sampling,
    chosen_channels,
    mipmap_level_count,
    pyramid_levels,
)
from backend.render.rasteriser import BoundaryMode, FilterMode

INSTALL_COMMAND = 'pip install "numba-cuda[cu13]"'
"""For a torch of CUDA 13; [cu12] for one of CUDA 12."""

SUBPIXEL_BITS = 8
BLOCKS_FOR_LARGE_FACES = 512
BLOCKS_FOR_CROSSINGS = 1024


class CudaRasteriser:
    """Our own CUDA kernels on one device. All tensors must be there.

    Faces that name vertices which do not exist, and faces with a corner that is not finite (NaN, infinity), are left
    out of the picture and get no gradient; so are pixels of a raster that name faces which do not exist. To refuse
    them, as the portable rasteriser does, one would have to wait for the card.

    Raises:
        MissingRasteriser: There is no CUDA device, or numba-cuda is not installed or does not work.
    """

    name = "cuda"

    def __init__(self, device: torch.device) -> None:
        from backend.render.cuda_launching import SIMULATED

        if not SIMULATED and (device.type != "cuda" or not torch.cuda.is_available()):
            raise MissingRasteriser(
                f"the rasteriser 'cuda' runs on CUDA only, and the device is {str(device)!r} here. "
                "Choose the portable rasteriser, or a machine with an NVIDIA GPU and a CUDA build of torch."
            )
        problem = why_cuda_kernels_cannot_run()
        if problem is not None:
            raise MissingRasteriser(
                f"{problem}. Install it for the CUDA of this torch ({torch.version.cuda}): {INSTALL_COMMAND}\n"
                "Or choose the portable rasteriser, which needs nothing more."
            )
        self.device = torch.device(device.type, torch.cuda.current_device()) if device.type == "cuda" else device
        if device.index is not None:
            self.device = device

    def rasterize(
        self,
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        resolution: tuple[int, int],
    ) -> tuple[Float[Tensor, "views height width 4"], Float[Tensor, "views height width 4"]]:
        """See `Rasteriser.rasterize`. Of faces at the same depth the last one is seen; both sides of a face are.

        Depths count as the same within 4e-12.
        """
        self._check_tensor("clip_positions", clip_positions)
        height, width = resolution
        check_resolution(resolution)
        return _Rasterize.apply(clip_positions.contiguous(), self._checked_faces(faces), height, width)

    def interpolate(
        self,
        attributes: Float[Tensor, "views_or_1 vertices channels"],
        raster: Float[Tensor, "views height width 4"],
        faces: Int[Tensor, "faces 3"],
        raster_derivatives: Float[Tensor, "views height width 4"] | None = None,
        differentiate: Literal["all"] | list[int] | None = None,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width derivatives"]]:
        """See `Rasteriser.interpolate`. Channels to differentiate may be negative, counted from the end."""
        self._check_tensor("attributes", attributes)
        self._check_tensor("raster", raster)
        check_count_of_images("attributes", len(attributes), len(raster))
        chosen = chosen_channels(differentiate, attributes.shape[-1])
        if chosen and raster_derivatives is None:
            raise ValueError("differentiate needs raster_derivatives, the second result of rasterize")
        derivatives = None
        if chosen and raster_derivatives is not None:
            self._check_tensor("raster_derivatives", raster_derivatives)
            derivatives = raster_derivatives.contiguous()
        return _Interpolate.apply(
            attributes.contiguous(), raster.contiguous(), derivatives, self._checked_faces(faces), tuple(chosen)
        )

    def texture(
        self,
        texture: Float[Tensor, "views_or_1 texture_height texture_width channels"],
        uv: Float[Tensor, "views height width 2"],
        uv_derivatives: Float[Tensor, "views height width 4"] | None = None,
        filter_mode: FilterMode = "auto",
        boundary_mode: BoundaryMode = "wrap",
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.texture`; modes and mipmaps as in `PortableRasteriser.texture`."""
        self._check_tensor("texture", texture)
        self._check_tensor("uv", uv)
        check_count_of_images("texture", len(texture), len(uv))
        chosen, uv_derivatives = checked_sampling(texture, uv_derivatives, filter_mode, boundary_mode)
        if uv_derivatives is not None:
            self._check_tensor("uv_derivatives", uv_derivatives)
        footprints = None if uv_derivatives is None else uv_derivatives.contiguous()
        return _SampleTexture.apply(
            texture.contiguous(), uv.contiguous(), footprints, FILTERS[chosen], BOUNDARIES[boundary_mode]
        )

    def antialias(
        self,
        colours: Float[Tensor, "views height width channels"],
        raster: Float[Tensor, "views height width 4"],
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.antialias` and `PortableRasteriser.antialias`; by the walk to the silhouette."""
        self._check_tensor("colours", colours)
        self._check_tensor("raster", raster)
        self._check_tensor("clip_positions", clip_positions)
        if not len(colours) == len(raster) == len(clip_positions):
            counts = f"{len(colours)}, {len(raster)} and {len(clip_positions)}"
            raise ValueError(f"colours, raster and clip_positions must hold as many views, got {counts}")
        faces = self._checked_faces(faces)
        adjacent = _adjacent_faces(faces, clip_positions.shape[1])
        return _Antialias.apply(
            colours.contiguous(), clip_positions.contiguous(), raster.detach().contiguous(), faces, adjacent
        )

    def _check_tensor(self, name: str, tensor: Tensor) -> None:
        check_tensor(name, tensor)
        if tensor.device != self.device:
            raise ValueError(f"{name} must be on {self.device}, where this rasteriser works; it is on {tensor.device}")

    def _checked_faces(self, faces: Tensor) -> Tensor:
        if faces.dtype != torch.int32:
            raise ValueError(f"faces must be int32, got {faces.dtype}")
        if len(faces) > MAX_FACES:
            raise ValueError(f"a raster can tell {MAX_FACES} faces apart, got {len(faces)}")
        if faces.device != self.device:
            raise ValueError(f"faces must be on {self.device}, where this rasteriser works; they are on {faces.device}")
        return faces if faces.is_contiguous() else faces.contiguous()


def why_cuda_kernels_cannot_run() -> str | None:
    """What is missing for `CudaRasteriser` but for a GPU that torch can use; None if nothing."""
    try:
        from backend.render.cuda_launching import why_numba_cuda_is_not_usable
    except Exception as error:  # an installation of numba that cannot be imported
        return f"numba-cuda cannot be imported ({type(error).__name__}: {error})"
    return why_numba_cuda_is_not_usable()


# Adjacency


_recent_adjacency: deque[tuple[weakref.ref[Tensor], int, int, Tensor]] = deque(maxlen=4)
_adjacency_lock = threading.Lock()


def _adjacent_faces(faces: Tensor, vertices: int) -> Tensor:
    """The face across each edge, -1 for none; int32 [faces, 3]. Kept for the last few tensors while unchanged."""
    if faces.is_inference():  # has no version that would tell of changes
        return _find_adjacent_faces(faces, vertices)
    with _adjacency_lock:
        for reference, version, count, adjacent in _recent_adjacency:
            if reference() is faces and version == faces._version and count == vertices:
                return adjacent
    adjacent = _find_adjacent_faces(faces, vertices)
    with _adjacency_lock:
        _recent_adjacency.appendleft((weakref.ref(faces), faces._version, vertices, adjacent))
    return adjacent


def _find_adjacent_faces(faces: Tensor, vertices: int) -> Tensor:
    from backend.render import cuda_kernels_antialias as kernels
    from backend.render.cuda_launching import launch

    adjacent = torch.empty_like(faces)
    if len(faces) == 0:
        return adjacent
    names = torch.empty(3 * len(faces), dtype=torch.int64, device=faces.device)
    launch(kernels.name_half_edges, len(names), faces, vertices, names)
    names, half_edges = torch.sort(names, stable=True)
    launch(kernels.pair_half_edges, len(names), names, half_edges, adjacent)
    return adjacent


# Autograd functions. `absent` stands in the place of a tensor that is not there or not wanted.


def _pixel_count(raster: Tensor) -> int:
    return raster.shape[0] * raster.shape[1] * raster.shape[2]


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, faces: Tensor, height: int, width: int):
        from backend.render import cuda_kernels_raster as kernels
        from backend.render.cuda_launching import launch, launch_blocks

        views, vertices, _ = positions.shape
        is_empty = views * vertices * len(faces) == 0
        raster = (positions.new_zeros if is_empty else positions.new_empty)(views, height, width, 4)
        derivatives = torch.zeros_like(raster) if is_empty else torch.empty_like(raster)
        ctx.save_for_backward(positions, faces, raster)
        ctx.set_materialize_grads(False)
        if is_empty:
            return raster, derivatives
        device = positions.device
        fixed = torch.empty(views, vertices, 2, dtype=torch.int32, device=device)
        depths = torch.empty(views, vertices, dtype=torch.float64, device=device)
        launch(kernels.snap_vertices, views * vertices, positions, SUBPIXEL_BITS, height, width, fixed, depths)
        buffer = torch.full((views, height * width), kernels.NOTHING_DRAWN, dtype=torch.int64, device=device)
        large = torch.empty(views * len(faces), dtype=torch.int64, device=device)
        large_count = torch.zeros(1, dtype=torch.int32, device=device)
        image = (SUBPIXEL_BITS, height, width, buffer)
        launch(kernels.draw_small_faces, views * len(faces), fixed, depths, faces, *image, large, large_count)
        # How many large faces there are is known to the card alone: so many blocks share them, whatever the number.
        blocks = (min(views * len(faces), BLOCKS_FOR_LARGE_FACES), min(-(-height // kernels.STRIP_ROWS), 16))
        launch_blocks(kernels.draw_large_faces, blocks, positions, fixed, depths, faces, *image, large, large_count)
        launch(kernels.show_faces, _pixel_count(raster), positions, faces, buffer, raster, derivatives)
        return raster, derivatives

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, raster_gradient: Tensor | None, derivatives_gradient: Tensor | None):
        from backend.render import cuda_kernels_raster as kernels
        from backend.render.cuda_launching import launch

        positions, faces, raster = ctx.saved_tensors
        gradient = torch.zeros_like(positions)
        has_gradient = raster_gradient is not None or derivatives_gradient is not None
        if has_gradient and positions.numel() * len(faces) > 0:
            launch(
                kernels.show_faces_backward,
                _pixel_count(raster),
                positions,
                faces,
                raster,
                *_with_flag(raster_gradient, positions),
                *_with_flag(derivatives_gradient, positions),
                gradient,
            )
        return gradient, None, None, None


def _with_flag(gradient: Tensor | None, like: Tensor) -> tuple[Tensor, bool]:
    """A gradient of an image, contiguous, and whether there is one."""
    from backend.render.cuda_launching import absent

    if gradient is None or gradient.numel() == 0:
        return absent(like.device, 4), False
    return gradient.contiguous(), True


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, attributes: Tensor, raster: Tensor, derivatives: Tensor | None, faces: Tensor, chosen: tuple[int, ...]
    ):
        from backend.render import cuda_kernels_raster as kernels
        from backend.render.cuda_launching import absent, launch

        views, height, width, _ = raster.shape
        values = raster.new_empty(views, height, width, attributes.shape[-1])
        by_pixel = raster.new_empty(views, height, width, 2 * len(chosen))
        ctx.save_for_backward(attributes, raster, derivatives, faces)
        ctx.chosen = chosen
        ctx.set_materialize_grads(False)
        if attributes.numel() == 0 or len(faces) == 0:
            return values.zero_(), by_pixel.zero_()
        launch(
            kernels.interpolate_pixels,
            _pixel_count(raster),
            attributes,
            raster,
            faces,
            absent(raster.device, 4) if derivatives is None else derivatives,
            _channel_tensor(chosen, raster.device),
            len(chosen),
            values,
            by_pixel if chosen else absent(raster.device, 4),
        )
        return values, by_pixel

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, value_gradient: Tensor | None, by_pixel_gradient: Tensor | None):
        from backend.render import cuda_kernels_raster as kernels
        from backend.render.cuda_launching import absent, launch

        attributes, raster, derivatives, faces = ctx.saved_tensors
        wants_attributes, wants_raster, wants_derivatives = ctx.needs_input_grad[:3]
        attribute_gradient = torch.zeros_like(attributes) if wants_attributes else None
        raster_gradient = torch.zeros_like(raster) if wants_raster else None
        derivatives_gradient = torch.zeros_like(raster) if wants_derivatives else None
        result = attribute_gradient, raster_gradient, derivatives_gradient, None, None
        if attributes.numel() == 0 or len(faces) == 0:
            return result
        value_gradient, has_values = _with_flag(value_gradient, raster)
        by_pixel_gradient, has_derivatives = _with_flag(by_pixel_gradient, raster)
        chosen, count = _channel_tensor(ctx.chosen, raster.device), len(ctx.chosen) if has_derivatives else 0
        nothing = absent(raster.device, 4)
        if attribute_gradient is not None and (has_values or count):
            launch(
                kernels.interpolate_pixels_to_attributes,
                _pixel_count(raster),
                raster,
                faces,
                nothing if derivatives is None else derivatives,
                chosen,
                count,
                value_gradient,
                has_values,
                by_pixel_gradient,
                attribute_gradient,
            )
        has_values = has_values and wants_raster
        count = count if wants_derivatives else 0
        if has_values or count:
            launch(
                kernels.interpolate_pixels_to_raster,
                _pixel_count(raster),
                attributes,
                raster,
                faces,
                chosen,
                count,
                value_gradient,
                has_values,
                by_pixel_gradient,
                nothing if raster_gradient is None else raster_gradient,
                nothing if derivatives_gradient is None else derivatives_gradient,
            )
        return result


@functools.lru_cache(maxsize=64)
def _channel_tensor(channels: tuple[int, ...], device: torch.device) -> Tensor:
    """int64, not empty. Kept, because to copy it to the card takes longer than to use it there."""
    with torch.inference_mode(False):
        return torch.tensor(channels or (0,), dtype=torch.int64, device=device)


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, colours: Tensor, positions: Tensor, raster: Tensor, faces: Tensor, adjacent: Tensor):
        from backend.render import cuda_kernels_antialias as kernels
        from backend.render.cuda_launching import launch

        views, vertices, _ = positions.shape
        blended = colours.clone()
        ctx.save_for_backward(colours, positions)
        ctx.crossings = None
        if views * vertices * len(faces) * colours.shape[-1] == 0:
            return blended
        _, height, width, _ = raster.shape
        device = positions.device
        pixels = torch.empty(views, vertices, 2, dtype=torch.float64, device=device)
        launch(kernels.project_vertices, views * vertices, positions, height, width, pixels)
        # Room for the worst case: how many there are is known to the card alone.
        indices = torch.empty(2 * _pixel_count(raster), 3, dtype=torch.int32, device=device)
        numbers = torch.empty(2 * _pixel_count(raster), 2, device=device)
        count = torch.zeros(1, dtype=torch.int32, device=device)
        crossings = (indices, numbers, count)
        launch(
            kernels.blend_silhouettes,
            _pixel_count(raster),
            pixels,
            faces,
            adjacent,
            raster,
            colours,
            blended,
            *crossings,
        )
        ctx.crossings = crossings
        return blended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, blended_gradient: Tensor):
        from backend.render import cuda_kernels_antialias as kernels
        from backend.render.cuda_launching import THREADS, absent, launch_blocks

        colours, positions = ctx.saved_tensors
        wants_colours, wants_positions = ctx.needs_input_grad[:2]
        blended_gradient = blended_gradient.contiguous()
        colour_gradient = blended_gradient.clone() if wants_colours else None
        position_gradient = torch.zeros_like(positions) if wants_positions else None
        if ctx.crossings is not None:
            blocks = min(-(-2 * _pixel_count(colours) // THREADS), BLOCKS_FOR_CROSSINGS)
            launch_blocks(
                kernels.blend_silhouettes_backward,
                (blocks, 1),
                *ctx.crossings,
                colours,
                positions,
                blended_gradient,
                absent(colours.device, 4) if colour_gradient is None else colour_gradient,
                wants_colours,
                absent(colours.device, 3) if position_gradient is None else position_gradient,
                wants_positions,
            )
        return colour_gradient, position_gradient, None, None, None


class _SampleTexture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture: Tensor, uv: Tensor, footprints: Tensor | None, filter_code: int, boundary_code: int):
        from backend.render import cuda_kernels_texture as kernels
        from backend.render.cuda_launching import absent, launch

        views, image_height, image_width, _ = uv.shape
        _, height, width, channels = texture.shape
        level_count = 1 if footprints is None else mipmap_level_count(height, width)
        texels = _build_pyramid(texture, level_count)
        sampled = uv.new_empty(views, image_height, image_width, channels)
        ctx.save_for_backward(uv, footprints)
        ctx.texels, ctx.level_count, ctx.texture_shape = texels, level_count, texture.shape
        ctx.codes = (filter_code, boundary_code)
        if sampled.numel() == 0:
            return sampled
        launch(
            kernels.sample_pixels,
            _pixel_count(uv),
            texels,
            _level_tensor(height, width, level_count, uv.device),
            uv.view(-1, 2),
            image_height * image_width,
            absent(uv.device, 2) if footprints is None else footprints.view(-1, 4),
            filter_code,
            boundary_code,
            sampled.view(-1, channels),
        )
        return sampled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, sampled_gradient: Tensor):
        from backend.render import cuda_kernels_texture as kernels
        from backend.render.cuda_launching import absent, launch

        uv, footprints = ctx.saved_tensors
        texels = ctx.texels
        _, height, width, channels = ctx.texture_shape
        wants_texture, wants_uv, wants_footprints = ctx.needs_input_grad[:3]
        texel_gradient = torch.zeros_like(texels) if wants_texture else None
        uv_gradient = torch.zeros_like(uv) if wants_uv else None
        footprint_gradient = torch.zeros_like(footprints) if wants_footprints and footprints is not None else None
        nothing = absent(uv.device, 2)
        if sampled_gradient.numel() > 0:
            launch(
                kernels.sample_pixels_backward,
                _pixel_count(uv),
                texels,
                _level_tensor(height, width, ctx.level_count, uv.device),
                uv.view(-1, 2),
                uv.shape[1] * uv.shape[2],
                nothing if footprints is None else footprints.view(-1, 4),
                *ctx.codes,
                sampled_gradient.contiguous().view(-1, channels),
                absent(uv.device, 3) if texel_gradient is None else texel_gradient,
                texel_gradient is not None,
                nothing if uv_gradient is None else uv_gradient.view(-1, 2),
                uv_gradient is not None,
                nothing if footprint_gradient is None else footprint_gradient.view(-1, 4),
                footprint_gradient is not None,
            )
        texture_gradient = None
        if texel_gradient is not None:
            _collapse_pyramid(texel_gradient, height, width, ctx.level_count)
            texture_gradient = texel_gradient[:, : height * width].reshape(ctx.texture_shape)
        return texture_gradient, uv_gradient, footprint_gradient, None, None


@functools.lru_cache(maxsize=64)
def _level_tensor(height: int, width: int, count: int, device: torch.device) -> Tensor:
    """First texel, height and width of each level; int64 [levels, 3]. Kept, as `_channel_tensor` is."""
    with torch.inference_mode(False):
        return torch.from_numpy(pyramid_levels(height, width, count)).to(device)


def _build_pyramid(texture: Tensor, level_count: int) -> Tensor:
    """All mipmap levels of each texture, one after the other; float32 [textures, texels, channels]."""
    textures, height, width, channels = texture.shape
    if level_count == 1:
        return texture.view(textures, height * width, channels)
    levels = pyramid_levels(height, width, level_count).tolist()
    texels = texture.new_empty(textures, sum(rows * columns for _, rows, columns in levels), channels)
    texels[:, : height * width] = texture.view(textures, height * width, channels)
    for index in range(level_count - 1):
        cells, halved = _cells_and_halved(texels, levels, index)
        halved.copy_(cells.mean(dim=(2, 4)))
    return texels


def _collapse_pyramid(gradient: Tensor, height: int, width: int, level_count: int) -> None:
    """Adds the gradient of each level to that of the next larger one, down to level 0."""
    levels = pyramid_levels(height, width, level_count).tolist()
    for index in range(level_count - 2, -1, -1):
        cells, halved = _cells_and_halved(gradient, levels, index)
        cells.add_(halved[:, :, None, :, None], alpha=1.0 / (cells.shape[2] * cells.shape[4]))


def _cells_and_halved(texels: Tensor, levels: list[list[int]], index: int) -> tuple[Tensor, Tensor]:
    """Views of a level as cells [textures, rows, y, columns, x, channels], and of the next: a texel for each cell."""
    textures, _, channels = texels.shape
    (first, height, width), (next_first, rows, columns) = levels[index], levels[index + 1]
    cells = texels[:, first : first + height * width]
    halved = texels[:, next_first : next_first + rows * columns]
    return (
        cells.view(textures, rows, height // rows, columns, width // columns, channels),
        halved.view(textures, rows, columns, channels),
    )


def warm_up(device: torch.device) -> None:
    """Compiles all kernels, or loads them from numba's cache, by drawing one small triangle.

    Raises:
        MissingRasteriser: As `CudaRasteriser`.
    """
    rasteriser = CudaRasteriser(device)
    positions = torch.tensor(
        [[[-0.8, -0.8, 0.0, 1.0], [0.8, -0.8, 0.0, 1.0], [0.0, 0.8, 0.0, 1.0]]], device=device, requires_grad=True
    )
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    texture = torch.ones(1, 4, 4, 1, device=device, requires_grad=True)
    raster, derivatives = rasteriser.rasterize(positions, faces, (4, 4))
    uv, uv_derivatives = rasteriser.interpolate(positions[..., :2].contiguous(), raster, faces, derivatives, "all")
    colours = rasteriser.texture(texture, uv, uv_derivatives)
    rasteriser.antialias(colours, raster, positions, faces).sum().backward()
