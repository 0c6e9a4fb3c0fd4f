"""Marching tetrahedra as it is published: all tetrahedra stored, the crossed edges found by `torch.unique` at each
step.

The reference of the tests and of the benchmark. Its table of cases was written by hand, apart from the lattice's.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
# For a tetrahedron of positive volume. Bit i of the index: vertex i is inside. Numbers: which of EDGES, three a
# triangle.
TRIANGLES = (
    (),
    ((0, 1, 2),),
    ((0, 4, 3),),
    ((1, 2, 4), (1, 4, 3)),
    ((1, 3, 5),),
    ((2, 0, 3), (2, 3, 5)),
    ((0, 4, 5), (0, 5, 1)),
    ((2, 4, 5),),
    ((2, 5, 4),),
    ((0, 5, 4), (0, 1, 5)),
    ((2, 3, 0), (2, 5, 3)),
    ((1, 5, 3),),
    ((1, 4, 2), (1, 3, 4)),
    ((0, 3, 4),),
    ((0, 2, 1),),
    (),
)
COUNTS = torch.tensor([len(triangles) for triangles in TRIANGLES])
TABLE = torch.tensor([[list(t) for t in (*triangles, (0, 0, 0), (0, 0, 0))[:2]] for triangles in TRIANGLES])


def naive_marching_tetrahedra(distances: Tensor, positions: Tensor, tetrahedra: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and faces of the surface.

    Args:
        distances: [vertices], negative inside, none of them zero.
        positions: [vertices, 3].
        tetrahedra: [tetrahedra, 4], int64.
    """
    inside = distances < 0
    crossed = tetrahedra[inside[tetrahedra].sum(1).remainder(4) > 0]
    ends = crossed[:, torch.tensor(EDGES)].sort(dim=-1).values  # [tetrahedra, 6, 2]
    edges, numbers = torch.unique(ends.view(-1, 2), dim=0, return_inverse=True)
    is_crossed = inside[edges].sum(1) == 1
    vertex_numbers = torch.where(is_crossed, is_crossed.cumsum(0) - 1, -1)[numbers].view(-1, 6)
    edges = edges[is_crossed]

    values = distances[edges]
    share = values[:, :1] / (values[:, :1] - values[:, 1:])
    ends_at = positions[edges]
    surface = ends_at[:, 0] + share * (ends_at[:, 1] - ends_at[:, 0])

    codes = (inside[crossed] * torch.tensor([1, 2, 4, 8])).sum(1)
    faces = [
        torch.gather(vertex_numbers, 1, TABLE[codes][:, triangle])[COUNTS[codes] > triangle] for triangle in range(2)
    ]
    return surface, torch.cat(faces)
