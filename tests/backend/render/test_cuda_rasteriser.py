"""Our own CUDA kernels: they agree with the portable rasteriser, in numba's simulator and on a card; and the choice."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from cuda_parity import FULL, TINY, assert_agree, cases
from rasteriser_scenes import blob, clip_positions, four_cameras

from backend.errors import MissingRasteriser
from backend.render import cuda_launching, cuda_rasteriser, nvdiffrast_rasteriser
from backend.render.cuda_rasteriser import CudaRasteriser, why_cuda_kernels_cannot_run
from backend.render.portable_rasteriser import PortableRasteriser
from backend.render.rasteriser import choose_rasteriser

ON_CARD = torch.cuda.is_available() and why_cuda_kernels_cannot_run() is None
needs_card = pytest.mark.skipif(not ON_CARD, reason="needs an NVIDIA GPU and numba-cuda")


# In the simulator


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What the kernels make of the tiny cases, in a process of its own: numba chooses when it is imported."""
    path = tmp_path_factory.mktemp("simulated") / "results.pt"
    environment = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "NUMBA_DISABLE_JIT": "1",  # device functions that the CPU shares must be plain Python there
        "OMP_NUM_THREADS": "1",
    }
    program = Path(__file__).with_name("cuda_parity.py")
    done = subprocess.run([sys.executable, program, path], env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return torch.load(path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), list(cases(TINY)), ids=lambda value: value if isinstance(value, str) else "")
def test_simulated_kernels_agree_with_the_portable_rasteriser(simulated, name, case):
    assert_agree(simulated[name], case(PortableRasteriser(), "cpu"))


# Compiled, without a card


def signatures():
    """Each kernel with the types that it is launched with."""
    from numba import boolean as flag
    from numba import float32, float64, int32, int64

    from backend.render import cuda_kernels_antialias as antialias
    from backend.render import cuda_kernels_raster as raster
    from backend.render import cuda_kernels_texture as texture

    number, image, per_view, table = int64, float32[:, :, :, ::1], float32[:, :, ::1], float32[:, ::1]
    faces, count, buffer, listed = int32[:, ::1], int32[::1], int64[:, ::1], int64[::1]
    fixed, depths = int32[:, :, ::1], float64[:, ::1]
    size = (number, number, number)
    return {
        raster.snap_vertices: (per_view, *size, fixed, depths),
        raster.draw_small_faces: (fixed, depths, faces, *size, buffer, listed, count),
        raster.draw_large_faces: (per_view, fixed, depths, faces, *size, buffer, listed, count),
        raster.show_faces: (per_view, faces, buffer, image, image),
        raster.show_faces_backward: (per_view, faces, image, image, flag, image, flag, per_view),
        raster.interpolate_pixels: (per_view, image, faces, image, listed, number, image, image),
        raster.interpolate_pixels_to_attributes: (
            image, faces, image, listed, number, image, flag, image, per_view
        ),
        raster.interpolate_pixels_to_raster: (
            per_view, image, faces, listed, number, image, flag, image, image, image
        ),
        antialias.name_half_edges: (faces, number, listed),
        antialias.pair_half_edges: (listed, listed, faces),
        antialias.project_vertices: (per_view, number, number, float64[:, :, ::1]),
        antialias.blend_silhouettes: (
            float64[:, :, ::1], faces, faces, image, image, image, faces, table, count
        ),
        antialias.blend_silhouettes_backward: (
            faces, table, count, image, per_view, image, image, flag, per_view, flag
        ),
        texture.sample_pixels: (per_view, buffer, table, number, table, number, number, table),
        texture.sample_pixels_backward: (
            per_view, buffer, table, number, table, number, number, table, per_view, flag, table, flag, table, flag
        ),
    }  # fmt: skip


def test_every_kernel_compiles(monkeypatch):
    if cuda_launching.cannot_compile() is not None:
        pytest.skip("numba-cuda, or the compiler it brings with [cu12] or [cu13], is not installed")
    from numba import cuda
    from numba.cuda import dispatcher

    card = types.SimpleNamespace(compute_capability=(8, 0))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: card)  # device functions ask for it
    for kernel, signature in signatures().items():
        code, _ = cuda.compile_ptx(kernel.py_func, signature, cc=card.compute_capability)
        assert kernel.__name__ in code


# On a card


@pytest.mark.cuda
@needs_card
class TestOnACard:
    @pytest.fixture(scope="class")
    def rasteriser(self):
        return CudaRasteriser(torch.device("cuda"))

    @pytest.mark.parametrize("size", [TINY, FULL], ids=["tiny", "full"])
    @pytest.mark.parametrize("index", range(len(list(cases(TINY)))), ids=[name for name, _ in cases(TINY)])
    def test_the_kernels_agree_with_the_portable_rasteriser(self, rasteriser, index, size):
        _, case = list(cases(size))[index]
        assert_agree(case(rasteriser, "cuda"), case(PortableRasteriser(), "cpu"))

    def test_they_run_on_the_current_stream(self, rasteriser):
        scene = blob(2000)
        positions = clip_positions(scene.positions, four_cameras())
        expected, _ = PortableRasteriser().rasterize(positions, scene.faces, (64, 64))
        faces, stream = scene.faces.cuda(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            late = positions.cuda()
            torch.cuda._sleep(20_000_000)
            late = late + 0.0
            raster, _ = rasteriser.rasterize(late, faces, (64, 64))
        stream.synchronize()
        assert (raster[..., 3].cpu() == expected[..., 3]).float().mean() > 0.999

    def test_nothing_waits_for_the_card(self, rasteriser):
        scene = blob(2000)
        positions = clip_positions(scene.positions, four_cameras()).cuda().requires_grad_()
        colours, texture = scene.colours[None].cuda(), torch.rand(1, 16, 16, 3).cuda().requires_grad_()
        faces = scene.faces.cuda()

        def draw() -> None:
            raster, derivatives = rasteriser.rasterize(positions, faces, (64, 64))
            image, by_pixel = rasteriser.interpolate(colours, raster, faces, derivatives, [0, 1])
            image = image + rasteriser.texture(texture, image[..., :2].contiguous(), by_pixel)
            rasteriser.antialias(image, raster, positions, faces).sum().backward()

        draw()  # compiles, and copies what it keeps
        torch.cuda.set_sync_debug_mode("error")
        try:
            draw()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_indices_out_of_range_are_left_out(self, rasteriser):
        positions = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]], device="cuda")
        faces = torch.tensor([[0, 1, 2], [0, 1, 3], [-1, 1, 2]], dtype=torch.int32, device="cuda")
        raster, _ = rasteriser.rasterize(positions, faces, (8, 8))
        assert (raster[..., 3] == 1).all()
        raster[0, 0, 0, 3], raster[0, 0, 1, 3] = 3.0, 1e6
        values, _ = rasteriser.interpolate(positions, raster, faces)
        blended = rasteriser.antialias(values, raster, positions, faces)
        assert (values[0, 0, :2] == 0).all()
        assert blended.isfinite().all()

    def test_tensors_elsewhere_are_refused(self, rasteriser):
        with pytest.raises(ValueError, match="clip_positions must be on cuda:0"):
            rasteriser.rasterize(torch.rand(1, 3, 4), torch.zeros(1, 3, dtype=torch.int32, device="cuda"), (8, 8))


# The choice


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_cuda_the_message_says_so():
    for device in ("cpu", "cuda"):
        with pytest.raises(MissingRasteriser, match="CUDA only"):
            choose_rasteriser(torch.device(device), "cuda")


def test_without_numba_cuda_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda_rasteriser, "why_cuda_kernels_cannot_run", lambda: "numba-cuda is not installed")
    with pytest.raises(MissingRasteriser, match=r"pip install .numba-cuda\[cu13\]"):
        choose_rasteriser(torch.device("cuda"), "cuda")


def test_our_kernels_are_used_when_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda_rasteriser, "why_cuda_kernels_cannot_run", lambda: None)
    monkeypatch.setattr(nvdiffrast_rasteriser, "nvdiffrast_is_installed", lambda: False)

    chosen = choose_rasteriser(torch.device("cuda"), "cuda")

    assert isinstance(chosen, CudaRasteriser)
    assert chosen.device == torch.device("cuda:0")
    assert isinstance(choose_rasteriser(torch.device("cuda")), PortableRasteriser)
