"""A mesh file gets a new texture from a sentence: 90 steps, a GLB with the same geometry, and a picture of it.

python examples/03_texture_a_mesh.py MESH "a red mug" [STEPS]
"""

import sys
from pathlib import Path

import torch
from PIL import Image

from backend.appearance.mesh_files import write_mesh
from backend.config import TextureMeshSettings
from backend.tasks.texture_mesh import TextureMesh


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 90
    settings = TextureMeshSettings(sys.argv[2], mesh=sys.argv[1], steps=steps, texture_size=512)
    job = TextureMesh(settings, notice=print)

    for step in job.steps():
        if step.number % 10 == 0:
            print(f"{step.number}/{step.total} {step.stage}, gradient norm {step.gradient_norm:.2f}")

    views = job.preview(view_count=4, resolution=256)
    Image.fromarray(torch.cat(list(views), dim=1).numpy()).save("textured.png")
    write_mesh(Path("textured.glb"), job.finish())


if __name__ == "__main__":
    main()
