"""A sentence becomes a mesh file, with the loop in your own hands.

Prints the gradient's norm every ten steps and writes mushroom.glb and mushroom.png into the current folder.

    python examples/01_text_to_mesh.py [STEPS]
"""

import sys
from pathlib import Path

from PIL import Image

from backend.appearance.mesh_files import write_mesh
from backend.config import TextToMeshSettings
from backend.tasks.text_to_mesh import TextToMesh


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    job = TextToMesh(TextToMeshSettings("a red mushroom", quality="draft", steps=steps), notice=print)
    for step in job.steps():
        if step.number % 10 == 0:
            norm = step.gradient_norm
            print(f"{step.number}/{step.total} {step.stage}: gradient {norm:.2f}, {step.face_count} faces")

    Image.fromarray(job.preview(view_count=1)[0].numpy()).save("mushroom.png")
    write_mesh(Path("mushroom.glb"), job.finish(progress=print))


if __name__ == "__main__":
    main()
