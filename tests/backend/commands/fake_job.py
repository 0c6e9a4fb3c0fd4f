"""A job in the shape of TextToMesh that needs no prior: its mesh is a tetrahedron that random numbers pull about."""

import os
import signal
import time

import torch

from backend.appearance.bake import BakedTextures, FinishedMesh, FinishReport
from backend.errors import SketchbridgeError
from backend.geometry.triangle_mesh import TriangleMesh
from backend.optimise import Step
from backend.render.portable_rasteriser import PortableRasteriser

FACES = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=torch.int32)


class FakeJob:
    """Set the class attributes to make something happen at a step."""

    seconds_per_step = 0.0
    interrupt_at: int | None = None
    """Sends SIGINT to this process while the step is being made."""
    fail_at: int | None = None
    failure: BaseException = ValueError("a bug")
    has_surface = True

    def __init__(self, settings, notice=lambda sentence: None):
        self.settings = settings
        self.total_steps = settings.steps or 20
        self.device = torch.device("cpu")
        self.rasteriser = PortableRasteriser()
        self.step = 0
        self.is_closed = False
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.positions = 0.5 * torch.tensor([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
        if "long" in settings.prompt:
            notice("the prompt is longer than this model reads; it ignores the end: 'long'")

    def steps(self):
        try:
            while self.step < self.total_steps:
                time.sleep(self.seconds_per_step)
                number = self.step + 1
                if number == self.fail_at:
                    raise self.failure
                if number == self.interrupt_at:
                    os.kill(os.getpid(), signal.SIGINT)
                change = 0.02 * torch.randn(self.positions.shape, generator=self.generator)
                self.positions += change
                self.step = number
                yield Step(
                    number=number,
                    total=self.total_steps,
                    stage="SDS" if number <= 0.8 * self.total_steps else "bridge",
                    gradient_norm=change.norm().item(),
                    losses={"area": 0.5 / number},
                    face_count=len(FACES),
                    timestep_range=(20, 980),
                    notices=("the lattice grows to 64 cells a side",) if number == 5 else (),
                    seconds={"prior": 0.001, "render": 0.002},
                )
        finally:
            self.is_closed = True

    def state(self):
        return {"positions": self.positions, "random": self.generator.get_state()}, {"step": self.step}

    def load_state(self, tensors, metadata):
        self.step = metadata["step"]
        self.positions = tensors["positions"].clone()
        self.generator.set_state(tensors["random"])

    def preview(self, view_count=4, resolution=256):
        return torch.full((view_count, 8, 8, 3), self.step % 256, dtype=torch.uint8)

    def finish(self, progress=lambda sentence: None):
        progress("unwrapping")
        if not self.has_surface:
            raise SketchbridgeError("the surface is empty, so there is no mesh to write; another seed may help")
        return finished_mesh(self.positions)


def finished_mesh(positions):
    mesh = TriangleMesh(positions, FACES)
    grey = torch.full((8, 8, 3), 128, dtype=torch.uint8)
    return FinishedMesh(
        mesh=mesh,
        source_vertices=torch.arange(4, dtype=torch.int32),
        normals=mesh.vertex_normals(),
        uv=torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]]),
        vertex_colours=grey[0, :4],
        textures=BakedTextures(grey, grey),
        name="fake",
        report=FinishReport({"unwrap": 0.1}, chart_count=1, packer="fake", overlap=0.0, coverage=1.0, notes=("odd",)),
    )
