"""The renderer alone: a mesh file from any program, seen from around, as a strip of pictures.

python examples/02_render_a_mesh.py MESH [OUTPUT.png]
"""

import sys

import torch
from PIL import Image

from backend.cameras import turntable_cameras
from backend.geometry.placed_mesh import load_initial_mesh
from backend.render.rasteriser import choose_rasteriser
from backend.render.renderer import VertexColours, render_views
from backend.render.shading import headlight


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    # Centred and scaled into the ball that the cameras look at.
    mesh = load_initial_mesh(sys.argv[1]).triangle_mesh()

    cameras = turntable_cameras(6, elevation_degrees=20.0)
    grey = VertexColours(torch.full_like(mesh.positions, 0.7))
    rasteriser = choose_rasteriser(mesh.positions.device)
    views = render_views(rasteriser, mesh, grey, cameras, 192, lighting=headlight(cameras), supersample=2)

    strip = torch.cat(list(views.images), dim=1).clamp(0, 1)
    Image.fromarray((strip * 255).round().byte().numpy()).save(sys.argv[2] if len(sys.argv) > 2 else "views.png")


if __name__ == "__main__":
    main()
