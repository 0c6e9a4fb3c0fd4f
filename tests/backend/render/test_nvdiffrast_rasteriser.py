"""nvdiffrast behind our interface: how it is called, what is said when it is missing, and (on CUDA) that both agree."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from rasteriser_scenes import blob, clip_positions, four_cameras

from backend.errors import MissingRasteriser
from backend.render import nvdiffrast_rasteriser
from backend.render.nvdiffrast_rasteriser import NvdiffrastRasteriser, nvdiffrast_is_installed
from backend.render.portable_rasteriser import PortableRasteriser
from backend.render.rasteriser import choose_rasteriser


@pytest.fixture(autouse=True)
def _fresh_import():
    nvdiffrast_rasteriser._import_nvdiffrast.cache_clear()
    yield
    nvdiffrast_rasteriser._import_nvdiffrast.cache_clear()


@pytest.fixture
def stand_in(monkeypatch):
    """A module with nvdiffrast's documented functions, which draws with the portable rasteriser; notes of its calls."""
    portable = PortableRasteriser("parity", 4)
    calls: dict[str, dict] = {}

    def rasterize(ctx, pos, tri, resolution, ranges=None, grad_db=True):
        assert all(tensor.is_contiguous() for tensor in (pos, tri))
        calls["rasterize"] = {"ctx": ctx, "resolution": resolution}
        return portable.rasterize(pos, tri, tuple(resolution))

    def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
        assert (rast_db is None) == (diff_attrs is None)
        return portable.interpolate(attr, rast, tri, rast_db, diff_attrs)

    def texture(
        tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap", max_mip_level=None
    ):
        calls["texture"] = {"uv_da": uv_da, "max_mip_level": max_mip_level}
        return portable.texture(tex, uv, uv_da, filter_mode, boundary_mode)

    def antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
        return portable.antialias(color, rast, pos, tri)

    module = types.ModuleType("nvdiffrast.torch")
    module.rasterize, module.interpolate, module.texture, module.antialias = rasterize, interpolate, texture, antialias
    module.RasterizeCudaContext = lambda device=None: ("context", device)
    package = types.ModuleType("nvdiffrast")
    package.torch = module
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", module)
    monkeypatch.setattr(nvdiffrast_rasteriser, "nvdiffrast_is_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return calls


def test_it_is_called_as_its_documentation_says(stand_in):
    with pytest.warns(UserWarning, match="non-commercial"):
        rasteriser = NvdiffrastRasteriser(torch.device("cuda"))
    portable = PortableRasteriser("parity", 4)
    scene = blob(300)
    positions = clip_positions(scene.positions, four_cameras())
    texture = torch.rand(1, 24, 16, 3)

    def draw(with_rasteriser) -> torch.Tensor:
        raster, derivatives = with_rasteriser.rasterize(positions, scene.faces, (32, 24))
        uv, footprints = with_rasteriser.interpolate(
            scene.colours[None, :, :2].contiguous(), raster, scene.faces, derivatives, "all"
        )
        plain, _ = with_rasteriser.interpolate(scene.colours[None].contiguous(), raster, scene.faces, derivatives)
        colours = plain * with_rasteriser.texture(texture, uv, footprints, "auto", "clamp")
        colours = colours + with_rasteriser.texture(texture, uv, None, "linear", "zero")
        return with_rasteriser.antialias(colours, raster, positions, scene.faces)

    assert torch.equal(draw(rasteriser), draw(portable))
    assert stand_in["rasterize"] == {"ctx": ("context", torch.device("cuda")), "resolution": [32, 24]}


def test_textures_that_cannot_be_halved_to_one_texel_are_limited(stand_in):
    with pytest.warns(UserWarning, match="non-commercial"):
        rasteriser = NvdiffrastRasteriser(torch.device("cuda"))
    uv = torch.rand(1, 4, 4, 2)

    rasteriser.texture(torch.rand(1, 12, 8, 1), uv, torch.rand(1, 4, 4, 4), "linear-mipmap-linear")
    assert stand_in["texture"]["max_mip_level"] == 2  # 12 x 8, 6 x 4, 3 x 2

    rasteriser.texture(torch.rand(1, 12, 8, 1), uv, torch.rand(1, 4, 4, 4), "linear")
    assert stand_in["texture"] == {"uv_da": None, "max_mip_level": None}


def test_empty_meshes_never_reach_it(stand_in):
    with pytest.warns(UserWarning, match="non-commercial"):
        rasteriser = NvdiffrastRasteriser(torch.device("cuda"))
    positions = torch.zeros(2, 0, 4, requires_grad=True)
    attributes = torch.zeros(1, 0, 3, requires_grad=True)
    faces = torch.zeros(0, 3, dtype=torch.int32)

    raster, derivatives = rasteriser.rasterize(positions, faces, (8, 8))
    values, by_pixel = rasteriser.interpolate(attributes, raster, faces, derivatives, "all")
    image = rasteriser.antialias(values, raster, positions, faces)
    image.sum().backward()

    assert "rasterize" not in stand_in
    assert image.shape == (2, 8, 8, 3)
    assert by_pixel.shape == (2, 8, 8, 6)
    assert (image == 0).all()
    assert positions.grad.shape == (2, 0, 4)


def test_the_licence_is_told_of_once(stand_in):
    with pytest.warns(UserWarning, match="non-commercial") as warnings:
        rasterisers = [NvdiffrastRasteriser(torch.device("cuda")) for _ in range(2)]
    assert len(rasterisers) == 2
    assert len(warnings) == 1


def test_without_cuda_the_message_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cpu", "cuda"):
        with pytest.raises(MissingRasteriser, match="CUDA only"):
            choose_rasteriser(torch.device(device), "nvdiffrast")


def test_when_it_is_not_installed_the_message_says_how_to(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nvdiffrast_rasteriser, "nvdiffrast_is_installed", lambda: False)
    with pytest.raises(MissingRasteriser, match=r"pip install .*nvdiffrast\.git"):
        NvdiffrastRasteriser(torch.device("cuda"))


def test_when_it_is_broken_the_message_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nvdiffrast_rasteriser, "nvdiffrast_is_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(MissingRasteriser, match="cannot be loaded"):
        NvdiffrastRasteriser(torch.device("cuda"))


def test_without_it_cuda_gets_the_portable_rasteriser(monkeypatch):
    monkeypatch.setattr(nvdiffrast_rasteriser, "nvdiffrast_is_installed", lambda: False)

    assert isinstance(choose_rasteriser(torch.device("cuda")), PortableRasteriser)


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and nvdiffrast_is_installed()), reason="needs an NVIDIA GPU and nvdiffrast"
)
class TestAgainstTheRealOne:
    @pytest.fixture
    def drawn(self):
        """The same blob by both, with gradients: (images, gradients of the positions, rasters)."""
        scene = blob(2000)
        weights = torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
        results = []
        for rasteriser, device in (
            (PortableRasteriser("parity", 4), "cpu"),
            (NvdiffrastRasteriser(torch.device("cuda")), "cuda"),
        ):
            positions = clip_positions(scene.positions, four_cameras()).to(device).requires_grad_()
            faces, colours = scene.faces.to(device), scene.colours[None].to(device)
            raster, _ = rasteriser.rasterize(positions, faces, (64, 64))
            image, _ = rasteriser.interpolate(colours, raster, faces)
            image = rasteriser.antialias(image, raster, positions, faces)
            (image * weights.to(device)).sum().backward()
            results.append([tensor.detach().cpu() for tensor in (image, positions.grad, raster)])
        return results

    def test_the_parity_mode_sees_the_same_faces(self, drawn):
        (_, _, raster), (_, _, expected) = drawn
        assert (raster[..., 3] == expected[..., 3]).float().mean() > 0.995

    def test_the_parity_mode_makes_the_same_picture(self, drawn):
        (image, _, _), (expected, _, _) = drawn
        assert (image - expected).abs().mean() < 2e-3

    def test_the_parity_mode_has_the_same_gradient(self, drawn):
        (_, gradient, _), (_, expected, _) = drawn
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.99
