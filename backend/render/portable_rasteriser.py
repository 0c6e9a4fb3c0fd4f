"""The four operations of `rasteriser` on the CPU: numba kernels behind torch autograd functions.

Each kernel call works on one image; images are spread over a small thread pool. No two images write to the same memory,
and what belongs to several images is summed afterwards in their order, so results are the same to the bit whatever the
number of threads.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import BadInput
from backend.render import portable_antialias_kernels as antialias_kernels
from backend.render import portable_kernels as raster_kernels
from backend.render import portable_texture_kernels as texture_kernels
from backend.render.rasteriser import BoundaryMode, FilterMode

AntialiasRule = Literal["walk", "parity"]

MAX_FACES = 2**24
"""float32 counts that far, and the raster holds face numbers as float32."""

MAX_RESOLUTION = 16384

THREADS_VARIABLE = "SKETCHBRIDGE_RENDER_THREADS"


class PortableRasteriser:
    """Rasterises on the CPU. Takes tensors of other devices too, and carries them there and back.

    Args:
        antialias_rule: `walk` follows the surface to the silhouette; its gradients are right for faces smaller than a
            pixel too. `parity` is nvdiffrast's rule, as its documentation describes it.
        subpixel_bits: Vertices are snapped to 1 / 2**bits of a pixel when coverage is decided. 8 is accurate,
            4 is what nvdiffrast does.

    Faces with a corner that is not finite (NaN, infinity) are left out of the picture and get no gradient.
    """

    def __init__(self, antialias_rule: AntialiasRule = "walk", subpixel_bits: Literal[4, 8] = 8) -> None:
        if antialias_rule not in ("walk", "parity"):
            raise ValueError(f"antialias_rule must be 'walk' or 'parity', got {antialias_rule!r}")
        if subpixel_bits not in (4, 8):
            raise ValueError(f"subpixel_bits must be 4 or 8, got {subpixel_bits!r}")
        self.antialias_rule = antialias_rule
        self.subpixel_bits = subpixel_bits
        self.name = "portable" if antialias_rule == "walk" else "portable, nvdiffrast's antialiasing"

    def rasterize(
        self,
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        resolution: tuple[int, int],
    ) -> tuple[Float[Tensor, "views height width 4"], Float[Tensor, "views height width 4"]]:
        """See `Rasteriser.rasterize`. Of faces at the same depth the last one is seen; both sides of a face are."""
        check_tensor("clip_positions", clip_positions)
        height, width = resolution
        check_resolution(resolution)
        topology = _Topology.of(faces)
        topology.check_vertex_count(clip_positions.shape[1])
        raster, derivatives = _Rasterize.apply(_to_cpu(clip_positions), topology, height, width, self.subpixel_bits)
        return raster.to(clip_positions.device), derivatives.to(clip_positions.device)

    def interpolate(
        self,
        attributes: Float[Tensor, "views_or_1 vertices channels"],
        raster: Float[Tensor, "views height width 4"],
        faces: Int[Tensor, "faces 3"],
        raster_derivatives: Float[Tensor, "views height width 4"] | None = None,
        differentiate: Literal["all"] | list[int] | None = None,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width derivatives"]]:
        """See `Rasteriser.interpolate`. Channels to differentiate may be negative, counted from the end."""
        check_tensor("attributes", attributes)
        check_tensor("raster", raster)
        check_count_of_images("attributes", len(attributes), len(raster))
        topology = _Topology.of(faces)
        topology.check_vertex_count(attributes.shape[1])
        _check_face_ids(raster, topology)
        chosen = chosen_channels(differentiate, attributes.shape[-1])
        if chosen and raster_derivatives is None:
            raise ValueError("differentiate needs raster_derivatives, the second result of rasterize")
        if raster_derivatives is not None:
            check_tensor("raster_derivatives", raster_derivatives)
        derivatives = _to_cpu(raster_derivatives) if chosen and raster_derivatives is not None else None
        values, by_pixel = _Interpolate.apply(_to_cpu(attributes), _to_cpu(raster), derivatives, topology, chosen)
        return values.to(attributes.device), by_pixel.to(attributes.device)

    def texture(
        self,
        texture: Float[Tensor, "views_or_1 texture_height texture_width channels"],
        uv: Float[Tensor, "views height width 2"],
        uv_derivatives: Float[Tensor, "views height width 4"] | None = None,
        filter_mode: FilterMode = "auto",
        boundary_mode: BoundaryMode = "wrap",
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.texture`.

        Mipmaps halve the texture as long as both sides are even or 1. The level is that of the longer axis of the
        pixel's footprint. `auto` is `linear`, or `linear-mipmap-linear` when `uv_derivatives` are given. Where uv is
        not finite the result is 0.
        """
        check_tensor("texture", texture)
        check_tensor("uv", uv)
        check_count_of_images("texture", len(texture), len(uv))
        chosen, uv_derivatives = checked_sampling(texture, uv_derivatives, filter_mode, boundary_mode)
        if uv_derivatives is not None:
            check_tensor("uv_derivatives", uv_derivatives)
        footprints = None if uv_derivatives is None else _to_cpu(uv_derivatives)
        sampled = _SampleTexture.apply(
            _to_cpu(texture), _to_cpu(uv), footprints, FILTERS[chosen], BOUNDARIES[boundary_mode]
        )
        return sampled.to(uv.device)

    def antialias(
        self,
        colours: Float[Tensor, "views height width channels"],
        raster: Float[Tensor, "views height width 4"],
        clip_positions: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
    ) -> Float[Tensor, "views height width channels"]:
        """See `Rasteriser.antialias`. Faces are neighbours when they share two vertices by index, not by position.

        No silhouette is seen at faces that reach behind the eye, nor where surfaces pass through each other. Pixels
        that several silhouettes cross get the sum of the blends, so that values may leave the range of the colours.
        """
        check_tensor("colours", colours)
        check_tensor("raster", raster)
        check_tensor("clip_positions", clip_positions)
        if not len(colours) == len(raster) == len(clip_positions):
            counts = f"{len(colours)}, {len(raster)} and {len(clip_positions)}"
            raise ValueError(f"colours, raster and clip_positions must hold as many views, got {counts}")
        topology = _Topology.of(faces)
        topology.check_vertex_count(clip_positions.shape[1])
        _check_face_ids(raster, topology)
        blended = _Antialias.apply(
            _to_cpu(colours), _to_cpu(clip_positions), _to_cpu(raster.detach()), topology, self.antialias_rule == "walk"
        )
        return blended.to(colours.device)


def chosen_channels(differentiate: Literal["all"] | list[int] | None, channels: int) -> list[int]:
    if differentiate is None:
        return []
    if differentiate == "all":
        return list(range(channels))
    for channel in differentiate:
        if not -channels <= channel < channels:
            raise ValueError(f"differentiate names channel {channel}, but there are only {channels}")
    return [channel % channels for channel in differentiate]


def checked_sampling(
    texture: Tensor, uv_derivatives: Tensor | None, filter_mode: str, boundary_mode: str
) -> tuple[str, Tensor | None]:
    """The filter, `auto` resolved, and the derivatives of uv if it reads them. ValueError for what cannot be used."""
    if texture.shape[1] == 0 or texture.shape[2] == 0:
        raise ValueError(f"a texture needs at least one texel, got shape {tuple(texture.shape)}")
    if filter_mode == "auto":
        filter_mode = "linear" if uv_derivatives is None else "linear-mipmap-linear"
    if filter_mode not in FILTERS:
        raise ValueError(f"filter_mode must be auto, {', '.join(FILTERS)}; got {filter_mode!r}")
    if boundary_mode not in BOUNDARIES:
        raise ValueError(f"boundary_mode must be {', '.join(BOUNDARIES)}; got {boundary_mode!r}")
    if "mipmap" not in filter_mode:
        return filter_mode, None
    if uv_derivatives is None:
        raise ValueError(f"filter_mode {filter_mode!r} needs uv_derivatives, the second result of interpolate")
    return filter_mode, uv_derivatives


def check_resolution(resolution: tuple[int, int]) -> None:
    height, width = resolution
    if not (1 <= height <= MAX_RESOLUTION and 1 <= width <= MAX_RESOLUTION):
        raise ValueError(f"resolution must be (height, width) within 1 to {MAX_RESOLUTION}, got {resolution}")


def check_tensor(name: str, tensor: Tensor) -> None:
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} must be float32, got {tensor.dtype}")


def check_count_of_images(name: str, count: int, views: int) -> None:
    if count not in (1, views):
        raise ValueError(f"{name} must come once, or once for each of {views} views; got {count}")


def _check_face_ids(raster: Tensor, topology: _Topology) -> None:
    if raster.numel() == 0:
        return
    lowest, highest = torch.aminmax(raster.detach()[..., 3])
    if lowest.isnan():
        raise ValueError("the raster sees faces that are not finite numbers")
    if not (lowest >= 0 and highest <= len(topology.faces)):
        raise ValueError(
            f"the raster sees faces {int(lowest)} to {int(highest)} (0: none), but there are {len(topology.faces)}; "
            "was it made from another mesh?"
        )


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu").contiguous()


# Topology


class _Topology:
    """What depends on the faces alone: checked, on the CPU, with their adjacency worked out once."""

    def __init__(self, faces: Tensor) -> None:
        if faces.dtype != torch.int32:
            raise ValueError(f"faces must be int32, got {faces.dtype}")
        if len(faces) > MAX_FACES:
            raise ValueError(f"a raster can tell {MAX_FACES} faces apart, got {len(faces)}")
        self.faces: np.ndarray = np.ascontiguousarray(faces.detach().cpu().numpy())
        self.highest_vertex = int(self.faces.max()) if len(self.faces) else -1
        lowest_vertex = int(self.faces.min()) if len(self.faces) else 0
        if lowest_vertex < 0:
            raise ValueError(f"faces point at vertex {lowest_vertex}; vertices are numbered from 0")

    def check_vertex_count(self, count: int) -> None:
        if self.highest_vertex >= count:
            raise ValueError(f"faces point at vertex {self.highest_vertex}, but there are only {count}")

    @functools.cached_property
    def adjacent_faces(self) -> np.ndarray:
        return antialias_kernels.find_adjacent_faces(self.faces, self.highest_vertex + 1)

    @staticmethod
    def of(faces: Tensor) -> _Topology:
        """The topology of these faces, kept for as long as the tensor is unchanged and among the last few used."""
        if faces.is_inference():  # has no version that would tell of changes
            return _Topology(faces)
        with _topologies_lock:
            for reference, version, topology in _recent_topologies:
                if reference() is faces and version == faces._version:
                    return topology
        topology = _Topology(faces)
        with _topologies_lock:
            _recent_topologies.appendleft((weakref.ref(faces), faces._version, topology))
        return topology


_recent_topologies: deque[tuple[weakref.ref[Tensor], int, _Topology]] = deque(maxlen=4)
_topologies_lock = threading.Lock()


# Threads

_pool: ThreadPoolExecutor | None = None
_pool_threads: int | None = None
_pool_lock = threading.Lock()


def render_threads() -> int:
    """How many images are worked on at once: as set, else by SKETCHBRIDGE_RENDER_THREADS, else one per core up to 8."""
    if _pool_threads is not None:
        return _pool_threads
    setting = os.environ.get(THREADS_VARIABLE, "")
    if not setting:
        return min(os.cpu_count() or 1, 8)
    if not setting.isdecimal() or int(setting) < 1:
        raise BadInput(f"{THREADS_VARIABLE} must be a whole number of threads from 1 up, got {setting!r}")
    return int(setting)


def set_render_threads(count: int | None) -> None:
    """Sets the number of threads; None goes back to the environment's. Results do not depend on it."""
    global _pool, _pool_threads
    if count is not None and count < 1:
        raise ValueError(f"there must be at least one thread, got {count}")
    with _pool_lock:
        old_pool, _pool, _pool_threads = _pool, None, count
    if old_pool is not None:
        old_pool.shutdown(wait=False)


def _for_each(task: Callable[[int], Any], count: int) -> list[Any]:
    """task(0), ..., task(count - 1), several at a time; their results in that order."""
    global _pool
    threads = render_threads()
    if threads == 1 or count <= 1:
        return [task(index) for index in range(count)]
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(threads, thread_name_prefix="render")
        futures = [_pool.submit(task, index) for index in range(count)]
    return [future.result() for future in futures]


def _forget_pool() -> None:
    """In a forked child, where the threads of the pool do not exist."""
    global _pool, _pool_lock, _topologies_lock
    _pool, _pool_lock, _topologies_lock = None, threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


# Autograd functions. Kernels take numpy views of tensors; an empty array stands for what is not there or not wanted.


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _optional_array(tensor: Tensor | None, count: int, trailing_axes: int) -> np.ndarray:
    """The array, or one that has `count` empty entries."""
    if tensor is None:
        return np.empty((count, *([0] * trailing_axes)), np.float32)
    return _array(tensor.contiguous())


def _entry(array: np.ndarray, index: int) -> np.ndarray:
    """The entry for an image, of an array that has one each or one for all."""
    return array[index if len(array) > 1 else 0]


def _sum_in_order(gradients: Tensor, wanted_count: int) -> Tensor:
    """Sums the gradients of all images for what they share. In their order, so that the sum is always the same."""
    if len(gradients) == wanted_count:
        return gradients
    if len(gradients) == 0:
        return gradients.new_zeros(wanted_count, *gradients.shape[1:])
    total = gradients[0]
    for gradient in gradients[1:]:
        total += gradient
    return total[None]


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, topology: _Topology, height: int, width: int, subpixel_bits: int):
        views = len(positions)
        raster = torch.empty(views, height, width, 4)
        derivatives = torch.empty(views, height, width, 4)
        position_array, raster_array, derivative_array = _array(positions), raster.numpy(), derivatives.numpy()

        def rasterize(view: int) -> None:
            raster_kernels.rasterize_image(
                position_array[view], topology.faces, subpixel_bits, raster_array[view], derivative_array[view]
            )

        _for_each(rasterize, views)
        ctx.save_for_backward(positions, raster)
        ctx.topology = topology
        ctx.set_materialize_grads(False)
        return raster, derivatives

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, raster_gradient: Tensor | None, derivatives_gradient: Tensor | None):
        positions, raster = ctx.saved_tensors
        views = len(positions)
        gradient = torch.zeros_like(positions)
        position_array, raster_array, gradient_array = _array(positions), _array(raster), gradient.numpy()
        raster_gradients = _optional_array(raster_gradient, views, 3)
        derivative_gradients = _optional_array(derivatives_gradient, views, 3)

        def pass_back(view: int) -> None:
            raster_kernels.rasterize_image_backward(
                position_array[view],
                ctx.topology.faces,
                raster_array[view],
                raster_gradients[view],
                derivative_gradients[view],
                gradient_array[view],
            )

        _for_each(pass_back, views)
        return gradient, None, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, attributes: Tensor, raster: Tensor, derivatives: Tensor | None, topology: _Topology, chosen: list[int]
    ):
        views, height, width, _ = raster.shape
        values = torch.empty(views, height, width, attributes.shape[-1])
        by_pixel = torch.empty(views, height, width, 2 * len(chosen))
        channels = np.asarray(chosen, np.int64)
        attribute_array, raster_array = _array(attributes), _array(raster)
        derivative_array = _optional_array(derivatives, views, 3)
        value_array, by_pixel_array = values.numpy(), by_pixel.numpy()

        def interpolate(view: int) -> None:
            raster_kernels.interpolate_image(
                _entry(attribute_array, view),
                raster_array[view],
                topology.faces,
                derivative_array[view],
                channels,
                value_array[view],
                by_pixel_array[view],
            )

        _for_each(interpolate, views)
        ctx.save_for_backward(attributes, raster, derivatives)
        ctx.topology, ctx.channels = topology, channels
        ctx.set_materialize_grads(False)
        return values, by_pixel

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, value_gradient: Tensor | None, by_pixel_gradient: Tensor | None):
        attributes, raster, derivatives = ctx.saved_tensors
        views, count = len(raster), len(attributes)
        wants_attributes, wants_raster, wants_derivatives = ctx.needs_input_grad[:3]
        attribute_gradient = torch.zeros(views, *attributes.shape[1:]) if wants_attributes else None
        raster_gradient = torch.zeros_like(raster) if wants_raster else None
        derivatives_gradient = torch.zeros_like(raster) if wants_derivatives else None
        attribute_array, raster_array = _array(attributes), _array(raster)
        derivative_array = _optional_array(derivatives, views, 3)
        value_gradients = _optional_array(value_gradient, views, 3)
        by_pixel_gradients = _optional_array(by_pixel_gradient, views, 3)
        attribute_gradients = _optional_array(attribute_gradient, views, 2)
        raster_gradients = _optional_array(raster_gradient, views, 3)
        derivative_gradients = _optional_array(derivatives_gradient, views, 3)

        def pass_back(view: int) -> None:
            raster_kernels.interpolate_image_backward(
                _entry(attribute_array, view),
                raster_array[view],
                ctx.topology.faces,
                derivative_array[view],
                ctx.channels,
                value_gradients[view],
                by_pixel_gradients[view],
                attribute_gradients[view],
                raster_gradients[view],
                derivative_gradients[view],
            )

        _for_each(pass_back, views)
        if attribute_gradient is not None:
            attribute_gradient = _sum_in_order(attribute_gradient, count)
        return attribute_gradient, raster_gradient, derivatives_gradient, None, None


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, colours: Tensor, positions: Tensor, raster: Tensor, topology: _Topology, walks: bool):
        channels = colours.shape[-1]
        blended = colours.clone()
        adjacent_faces = topology.adjacent_faces
        colour_array, position_array = _array(colours), _array(positions)
        raster_array, blended_array = _array(raster), blended.numpy()

        def antialias(view: int) -> tuple[np.ndarray, np.ndarray]:
            indices, numbers = antialias_kernels.find_crossings(
                position_array[view], topology.faces, adjacent_faces, raster_array[view], walks
            )
            antialias_kernels.blend_crossings(
                indices,
                numbers,
                colour_array[view].reshape(-1, channels),
                blended_array[view].reshape(-1, channels),
            )
            return indices, numbers

        ctx.crossings = _for_each(antialias, len(colours))
        ctx.save_for_backward(colours, positions)
        return blended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, blended_gradient: Tensor):
        colours, positions = ctx.saved_tensors
        views, height, width, channels = colours.shape
        wants_colours, wants_positions = ctx.needs_input_grad[:2]
        blended_gradient = blended_gradient.contiguous()
        colour_gradient = blended_gradient.clone() if wants_colours else None
        position_gradient = torch.zeros_like(positions) if wants_positions else None
        colour_array, position_array = _array(colours), _array(positions)
        blended_gradients = _array(blended_gradient)
        colour_gradients = _optional_array(colour_gradient, views, 3)
        position_gradients = _optional_array(position_gradient, views, 2)

        def pass_back(view: int) -> None:
            antialias_kernels.blend_crossings_backward(
                *ctx.crossings[view],
                colour_array[view].reshape(-1, channels),
                position_array[view],
                height,
                width,
                blended_gradients[view].reshape(-1, channels),
                colour_gradients[view].reshape(-1, channels),
                position_gradients[view],
            )

        _for_each(pass_back, views)
        return colour_gradient, position_gradient, None, None, None


FILTERS = {
    "nearest": texture_kernels.NEAREST,
    "linear": texture_kernels.LINEAR,
    "linear-mipmap-nearest": texture_kernels.LINEAR_MIPMAP_NEAREST,
    "linear-mipmap-linear": texture_kernels.LINEAR_MIPMAP_LINEAR,
}
BOUNDARIES = {"wrap": texture_kernels.WRAP, "clamp": texture_kernels.CLAMP, "zero": texture_kernels.ZERO}


def mipmap_level_count(height: int, width: int) -> int:
    """How many levels a texture has: it is halved as long as each side is even or 1."""
    count = 1
    while (height > 1 or width > 1) and all(side == 1 or side % 2 == 0 for side in (height, width)):
        height, width, count = max(height // 2, 1), max(width // 2, 1), count + 1
    return count


def pyramid_levels(height: int, width: int, count: int) -> np.ndarray:
    """First texel, height and width of each level; int64 [levels, 3]."""
    levels, first = [], 0
    for _ in range(count):
        levels.append((first, height, width))
        first += height * width
        height, width = max(height // 2, 1), max(width // 2, 1)
    return np.asarray(levels, np.int64)


def _level(texels: np.ndarray, levels: np.ndarray, index: int) -> np.ndarray:
    first, height, width = levels[index]
    return texels[first : first + height * width]


class _SampleTexture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture: Tensor, uv: Tensor, footprints: Tensor | None, filter_code: int, boundary_code: int):
        views, image_height, image_width, _ = uv.shape
        _, height, width, channels = texture.shape
        levels = pyramid_levels(height, width, 1 if footprints is None else mipmap_level_count(height, width))
        texels = _build_pyramid(texture, levels)
        sampled = torch.empty(views, image_height, image_width, channels)
        uv_array, footprint_array = _array(uv), _optional_array(footprints, views, 3)
        sampled_array = sampled.numpy()

        def sample(view: int) -> None:
            texture_kernels.sample_texture(
                _entry(texels, view),
                levels,
                uv_array[view].reshape(-1, 2),
                footprint_array[view].reshape(-1, 4),
                filter_code,
                boundary_code,
                sampled_array[view].reshape(-1, channels),
            )

        _for_each(sample, views)
        ctx.save_for_backward(uv, footprints)
        ctx.texels, ctx.levels = texels, levels
        ctx.codes = (filter_code, boundary_code)
        return sampled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, sampled_gradient: Tensor):
        uv, footprints = ctx.saved_tensors
        texels, levels = ctx.texels, ctx.levels
        views = len(uv)
        textures, texel_count, channels = texels.shape
        wants_texture, wants_uv, wants_footprints = ctx.needs_input_grad[:3]
        uv_gradient = torch.zeros_like(uv) if wants_uv else None
        footprint_gradient = torch.zeros_like(footprints) if wants_footprints and footprints is not None else None
        uv_array, footprint_array = _array(uv), _optional_array(footprints, views, 3)
        sampled_gradients = _array(sampled_gradient.contiguous())
        uv_gradients = _optional_array(uv_gradient, views, 3)
        footprint_gradients = _optional_array(footprint_gradient, views, 3)

        groups = views
        if textures == 1 and wants_texture:
            groups = min(views, _shared_gradient_count(uv[..., 0].numel(), texel_count))
        texel_gradient = torch.zeros(groups if wants_texture else 0, texel_count, channels)
        texel_gradients = _array(texel_gradient) if wants_texture else np.empty((groups, 0, channels), np.float32)

        def pass_back(group: int) -> None:
            for view in range(group, views, groups):
                texture_kernels.sample_texture_backward(
                    _entry(texels, view),
                    levels,
                    uv_array[view].reshape(-1, 2),
                    footprint_array[view].reshape(-1, 4),
                    *ctx.codes,
                    sampled_gradients[view].reshape(-1, channels),
                    texel_gradients[group],
                    uv_gradients[view].reshape(-1, 2),
                    footprint_gradients[view].reshape(-1, 4),
                )

        _for_each(pass_back, groups)
        texture_gradient = None
        if wants_texture:
            _, height, width = levels[0]
            summed = _sum_in_order(texel_gradient, textures)
            _collapse_pyramid(summed, levels)
            texture_gradient = summed[:, : height * width].reshape(textures, height, width, channels)
        return texture_gradient, uv_gradient, footprint_gradient, None, None


def _shared_gradient_count(pixel_count: int, texel_count: int) -> int:
    """How many gradients images that share a texture add to, in turn, before these are summed.

    One each would let all images be worked on at once, but a gradient of a large texture takes longer to clear and to
    sum than a small image takes to add to it. The count depends on sizes alone, never on the threads, so that the sums
    come out the same.
    """
    return max(pixel_count // max(texel_count, 1), 1)


def _build_pyramid(texture: Tensor, levels: np.ndarray) -> np.ndarray:
    """All mipmap levels of each texture, one after the other; float32 [textures, texels, channels]."""
    textures, height, width, channels = texture.shape
    texels = _array(texture).reshape(textures, height * width, channels)
    if len(levels) == 1:
        return texels
    first, last_height, last_width = levels[-1]
    pyramids = np.empty((textures, first + last_height * last_width, channels), np.float32)
    pyramids[:, : height * width] = texels
    for pyramid in pyramids:
        for index in range(len(levels) - 1):
            texture_kernels.halve_texture(
                _level(pyramid, levels, index),
                int(levels[index, 1]),
                int(levels[index, 2]),
                _level(pyramid, levels, index + 1),
            )
    return pyramids


def _collapse_pyramid(gradients: Tensor, levels: np.ndarray) -> None:
    """Adds the gradient of each level to that of the next larger one, down to level 0."""
    for gradient in _array(gradients):
        for index in range(len(levels) - 2, -1, -1):
            texture_kernels.halve_texture_backward(
                _level(gradient, levels, index),
                int(levels[index, 1]),
                int(levels[index, 2]),
                _level(gradient, levels, index + 1),
            )


# Compilation

_KERNELS = (
    raster_kernels.rasterize_image,
    raster_kernels.rasterize_image_backward,
    raster_kernels.interpolate_image,
    raster_kernels.interpolate_image_backward,
    antialias_kernels.find_adjacent_faces,
    antialias_kernels.find_crossings,
    antialias_kernels.blend_crossings,
    antialias_kernels.blend_crossings_backward,
    texture_kernels.halve_texture,
    texture_kernels.halve_texture_backward,
    texture_kernels.sample_texture,
    texture_kernels.sample_texture_backward,
)


def warm_up() -> None:
    """Compiles all kernels, or loads them from numba's cache, by drawing one small triangle."""
    positions = torch.tensor(
        [[[-0.8, -0.8, 0.0, 1.0], [0.8, -0.8, 0.0, 1.0], [0.0, 0.8, 0.0, 1.0]]], requires_grad=True
    )
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    texture = torch.ones(1, 4, 4, 1, requires_grad=True)
    rasteriser = PortableRasteriser()
    raster, derivatives = rasteriser.rasterize(positions, faces, (4, 4))
    uv, uv_derivatives = rasteriser.interpolate(positions[..., :2].contiguous(), raster, faces, derivatives, "all")
    colours = rasteriser.texture(texture, uv, uv_derivatives)
    rasteriser.antialias(colours, raster, positions, faces).sum().backward()
