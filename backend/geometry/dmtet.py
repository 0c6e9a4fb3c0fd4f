"""A surface that can be optimised: signed distances and a deformation on the tetrahedral lattice.

The signed distance is a sum of grids from coarse to fine, each interpolated up to the lattice, on top of a fixed
initial shape. A distance of its own for every vertex hardly moves under Adam and turns rough, because each vertex
normalises its own noise; the coarse grids move the shape as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.errors import BadInput
from backend.geometry.marching_tetrahedra import marching_tetrahedra
from backend.geometry.surface_constraints import SurfaceConstraints
from backend.geometry.tetrahedral_grid import DIRECTIONS, TetrahedralGrid, inside_vertices, refine, refine_and_add
from backend.geometry.triangle_mesh import TriangleMesh

SignedDistance = Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points"]]

State = dict[str, Tensor]


LATTICE_METRES = 1.0
"""On each axis, from the middle: there can be a surface no further out."""


@dataclass(frozen=True)
class DMTetConfig:
    resolution: int = 32
    """Cells a side at the start: `coarsest_cells` times a power of two."""

    half_extent_metres: float = LATTICE_METRES
    """The lattice covers the cube from -half_extent to half_extent. Shapes fit a ball of radius 0.9."""

    coarsest_cells: int = 4
    """Cells a side of the coarsest grid of the sum: 5 vertices."""

    deformation_cells: float = 1 / 6
    """How far a vertex may move along each axis, in cells of the lattice at the start; 0 for no deformation.

    Below 1/6 no tetrahedron can turn over, so that the surface never cuts through itself: an edge along an axis changes
    by less than 1/3 of its length in each of the three components, which leaves the matrix of a tetrahedron's three
    axis edges diagonally dominant. DMTet's own bound is about 1/2.
    """

    def __post_init__(self) -> None:
        if self.coarsest_cells < 2:
            raise ValueError(f"coarsest_cells must be at least 2, got {self.coarsest_cells}")
        _doublings(self.coarsest_cells, self.resolution)
        if not 0 <= self.deformation_cells <= 0.5:
            raise ValueError(f"deformation_cells must be between 0 and 0.5, got {self.deformation_cells}")


class DMTet(nn.Module):
    """Signed distances and deformation as parameters; a ball of radius 0.5 until `initialise_from` is called.

    `constraints` hold for every surface that comes out of it; they are no part of its state.

    The lattice may grow during a job. Old parameters stay the objects they are, and with them Adam's moments; new ones
    start at zero, so that the surface stays where it is:

        optimiser = torch.optim.Adam(dmtet.parameter_groups(learning_rate=1e-2))
        ...
        dmtet.grow(64)
        add_new_groups(optimiser, dmtet.parameter_groups(learning_rate=1e-2))

    The deformation stays on the lattice of the start and is interpolated to the finer ones.
    """

    base_sdf: Tensor
    """The initial shape [side, side, side], no parameter. `drop_floaters` writes here."""

    def __init__(self, config: DMTetConfig | None = None, constraints: SurfaceConstraints | None = None) -> None:
        super().__init__()
        self.constraints = constraints or SurfaceConstraints()
        config = config or DMTetConfig()
        self.grid = TetrahedralGrid(config.resolution, config.half_extent_metres)
        self.deformation_metres = config.deformation_cells * self.grid.cell_metres
        sides = [
            config.coarsest_cells * 2**doubling + 1
            for doubling in range(_doublings(config.coarsest_cells, config.resolution) + 1)
        ]
        self.sdf_levels = nn.ParameterList(_new_level(side) for side in sides)
        """One [n, n, n] for each n = 5, 9, 17, ...; metres."""
        self.deformation: nn.Parameter | None = None
        """[3, n, n, n], before the tanh."""
        if config.deformation_cells > 0:
            self.deformation = nn.Parameter(torch.zeros(3, *3 * (self.grid.side,)))
        self.register_buffer("base_sdf", self.grid.positions().norm(dim=-1) - 0.5)

    def signed_distances(self) -> Float[Tensor, "side side side"]:
        """Metres, negative inside, with gradients for the levels."""
        total: Tensor = self.sdf_levels[0]
        for level in self.sdf_levels[1:]:
            total = refine_and_add(total, level)
        return self.constraints.learnt(total, self.grid) + self.base_sdf

    def offsets(self) -> Float[Tensor, "3 side side side"] | None:
        """How far each vertex of the lattice is moved along x, y, z, in metres."""
        if self.deformation is None:
            return None
        offsets = self.deformation_metres * torch.tanh(self.deformation)
        while offsets.shape[-1] < self.grid.side:
            offsets = refine(offsets)
        return self.constraints.offsets(offsets, self.grid)

    def extract_mesh(self) -> TriangleMesh:
        """The surface, closed and with outward faces; empty when no vertex is inside. Differentiable."""
        return self.constraints.mirrored(marching_tetrahedra(self.signed_distances(), self.grid, self.offsets()))

    def parameter_groups(self, learning_rate: float, finer_rate: float = 0.5) -> list[dict[str, Any]]:
        """One group per grid for the optimiser, named `deformation`, `sdf_5`, `sdf_9`, ...

        The order is such that growing appends: a saved optimiser state fits a module grown as far.

        Args:
            learning_rate: Of the coarsest grid, and of the deformation.
            finer_rate: Each finer grid gets this share of the rate of the next coarser one. Under Adam and noise of
                0.1 m a sphere that became an ellipsoid had normals 14 degrees off at 1.0, 7 at 0.5 and 4 at 0.35, and
                came closer as well (benchmarks/marching_tetrahedra.py).
        """
        groups = [(f"sdf_{len(level)}", level, finer_rate**index) for index, level in enumerate(self.sdf_levels)]
        if self.deformation is not None:
            groups.insert(0, ("deformation", self.deformation, 1.0))
        return [{"name": name, "params": [values], "lr": share * learning_rate} for name, values, share in groups]

    @torch.no_grad()
    def initialise_from(self, shape: SignedDistance | Float[Tensor, "side side side"]) -> None:
        """Starts over from a shape: a function of positions, or distances at `grid.positions()`. All else becomes zero.

        Raises:
            BadInput: The shape has no inside on this lattice, or distances that are not finite.
        """
        self.base_sdf.copy_(self._sample(shape))
        for parameter in self.parameters():
            parameter.zero_()

    @torch.no_grad()
    def grow(self, resolution: int, shape: SignedDistance | Float[Tensor, "side side side"] | None = None) -> None:
        """Goes on with a finer lattice, 2, 4, ... times the cells. Add the new parameters to the optimiser afterwards.

        The surface stays where it is up to the difference between trilinear interpolation and the flat faces of the
        coarser tetrahedra, a few hundredths of a cell where the surface is smooth.

        Args:
            resolution: Cells a side.
            shape: The initial shape, if there is more of it to see on a finer lattice, as `initialise_from` takes it;
                what `drop_floaters` has changed is lost then.
        """
        if resolution <= self.grid.resolution:
            raise ValueError(f"resolution must grow beyond {self.grid.resolution} cells, got {resolution}")
        doublings = _doublings(self.grid.resolution, resolution)
        self.grid = TetrahedralGrid(resolution, self.grid.half_extent_metres)
        for _ in range(doublings):
            self.base_sdf = refine(self.base_sdf)
            self.sdf_levels.append(_new_level(len(self.base_sdf)).to(self.base_sdf))
        if shape is not None:
            self.base_sdf = self._sample(shape)

    @torch.no_grad()
    def drop_floaters(self, smallest_share: float = 0.1) -> int:
        """Turns small loose parts into outside and closed cavities into inside, so that they draw no more gradient.

        Only `base_sdf` is changed, only at vertices of those parts: the optimiser need not know.

        Args:
            smallest_share: Parts stay that have at least this share of the largest part's lattice vertices.

        Returns:
            How many parts and cavities are gone.
        """
        from scipy import ndimage

        distances = self.signed_distances()
        inside = inside_vertices(distances).cpu().numpy()
        neighbours = np.zeros((3, 3, 3), dtype=bool)  # that are joined by an edge of the lattice
        for x, y, z in ((0, 0, 0), *DIRECTIONS):
            neighbours[1 + x, 1 + y, 1 + z] = neighbours[1 - x, 1 - y, 1 - z] = True

        parts, part_count = ndimage.label(inside, neighbours)
        sizes = np.bincount(parts.ravel())[1:]
        dropped = [index + 1 for index, size in enumerate(sizes) if size < smallest_share * sizes.max()]
        # With what is dropped counted as outside, or a cavity around a floater would not be one.
        spaces, space_count = ndimage.label(~inside | np.isin(parts, dropped), neighbours)
        if part_count == 0 or (not dropped and space_count == 1):
            return 0
        is_dropped = torch.from_numpy(np.isin(parts, dropped)).to(distances.device)
        is_cavity = torch.from_numpy((spaces != spaces[0, 0, 0]) & (spaces != 0)).to(distances.device)
        size = distances.abs().clamp(min=self.grid.cell_metres / 2)
        wanted = torch.where(is_dropped, size, distances)
        wanted = torch.where(is_cavity, -size, wanted)
        self.base_sdf += wanted - distances
        return len(dropped) + space_count - 1

    def state(self) -> State:
        """A copy of all there is to know, growth included, as tensors for safetensors."""
        state = {"base_sdf": self.base_sdf}
        state |= {f"sdf_{len(level)}": level for level in self.sdf_levels}
        if self.deformation is not None:
            state["deformation"] = self.deformation
        for name, number in (
            ("half_extent_metres", self.grid.half_extent_metres),
            ("deformation_metres", self.deformation_metres),
        ):
            state[name] = torch.tensor(number, dtype=torch.float64)
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    @classmethod
    def from_state(cls, state: State) -> DMTet:
        """A module as it was when `state()` was called.

        Raises:
            ValueError: Tensors are missing or have the wrong shape; the message names them.
        """
        dmtet = cls(DMTetConfig(resolution=2 * 2, coarsest_cells=2))
        dmtet.load_state(state)
        return dmtet

    @torch.no_grad()
    def load_state(self, state: State) -> None:
        """Goes back to a state of this or of another module, with more or fewer levels.

        Parameters of the same shape stay the objects that an optimiser may hold; others are replaced.

        Raises:
            ValueError: Tensors are missing or have the wrong shape; the message names them. Nothing is changed then.
        """
        missing = {"base_sdf", "half_extent_metres", "deformation_metres"} - state.keys()
        if missing:
            raise ValueError(f"the saved surface lacks {', '.join(sorted(missing))}")
        side = len(state["base_sdf"])
        if side < 3 or state["base_sdf"].shape != (side, side, side):
            raise ValueError(f"base_sdf must be a cube of numbers, got the shape {tuple(state['base_sdf'].shape)}")
        names = sorted((name for name in state if name.removeprefix("sdf_").isdigit()), key=lambda name: int(name[4:]))
        sides = [int(name.removeprefix("sdf_")) for name in names]
        if not sides or sides[-1] != side or any(2 * a - 1 != b for a, b in pairwise(sides)):
            raise ValueError(f"a surface with {side} vertices a side cannot have levels of {sides or 'no'} vertices")
        for name, level_side in zip(names, sides, strict=True):
            if state[name].shape != (level_side,) * 3:
                raise ValueError(f"{name} must have {level_side} vertices a side, got {tuple(state[name].shape)}")
        deformation = state.get("deformation")
        if deformation is not None and (
            deformation.shape != (3, *3 * (deformation.shape[-1],))
            or deformation.shape[-1] < 2
            or not _is_doubling(deformation.shape[-1] - 1, side - 1)
        ):
            raise ValueError(f"a deformation of shape {tuple(deformation.shape)} does not fit {side} vertices a side")

        self.grid = TetrahedralGrid(side - 1, float(state["half_extent_metres"]))
        self.deformation_metres = float(state["deformation_metres"])
        old_levels = {len(level): level for level in self.sdf_levels}
        levels = [
            _loaded(old_levels.get(level_side), state[name].to(self.base_sdf))
            for name, level_side in zip(names, sides, strict=True)
        ]
        if deformation is not None:
            deformation = _loaded(self.deformation, deformation.to(self.base_sdf))
        self.base_sdf = state["base_sdf"].to(self.base_sdf).clone()
        self.sdf_levels = nn.ParameterList(levels)
        self.deformation = deformation

    def _sample(self, shape: SignedDistance | Tensor) -> Tensor:
        if callable(shape):
            points = self.grid.positions(self.base_sdf.device, self.base_sdf.dtype)
            distances = shape(points.view(-1, 3)).reshape(points.shape[:-1])
        else:
            distances = shape.to(self.base_sdf)
        if distances.shape != (self.grid.side,) * 3:
            raise ValueError(f"expected {self.grid.side} signed distances a side, got {tuple(distances.shape)}")
        if not distances.isfinite().all():
            count = int((~distances.isfinite()).sum())
            raise BadInput(f"the initial shape has {count} signed distances that are not finite")
        distances = self.constraints.initial(distances, self.grid)
        if not inside_vertices(distances).any():
            raise BadInput(
                f"the initial shape has no inside on a lattice of {self.grid.resolution} cells of "
                f"{self.grid.cell_metres:.3g} m: it is too thin, too small or outside the lattice"
            )
        return distances


def add_new_groups(optimiser: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
    """Adds the groups whose names the optimiser does not have yet. Moments of the others stay."""
    known = {group.get("name") for group in optimiser.param_groups}
    for group in groups:
        if group["name"] not in known:
            optimiser.add_param_group(group)


def _new_level(side: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(side, side, side))


def _loaded(parameter: nn.Parameter | None, values: Tensor) -> nn.Parameter:
    if parameter is None or parameter.shape != values.shape:
        return nn.Parameter(values.clone())
    parameter.copy_(values)
    return parameter


def _is_doubling(cells: int, more_cells: int) -> bool:
    factor, rest = divmod(more_cells, cells)
    return rest == 0 and factor > 0 and factor & (factor - 1) == 0


def _doublings(cells: int, more_cells: int) -> int:
    """How often `cells` must be doubled to give `more_cells`."""
    if not _is_doubling(cells, more_cells):
        choices = ", ".join(str(cells * 2**doubling) for doubling in range(6))
        raise ValueError(f"resolution must be {cells} cells times a power of two ({choices}, ...), got {more_cells}")
    return (more_cells // cells).bit_length() - 1
