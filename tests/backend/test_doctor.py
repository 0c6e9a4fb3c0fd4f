"""`sketchbridge doctor` finds what is missing, says what to do, and survives what it finds."""

import importlib
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend import doctor, machine
from backend.cli import app
from backend.doctor import Finding, examine_machine, run_doctor
from backend.machine import Gpu, KernelState, check_embedded_prior, compiled_kernels, prior_fingerprint


@pytest.fixture
def prior_folder(tmp_path):
    """A folder with a manifest like the shipped one's."""
    folder = tmp_path / "embedded"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights.safetensors").write_bytes(b"weights")
    (folder / "model_index.json").write_text("{}")
    files = {name: machine.file_sha256(folder / name) for name in ("unet/weights.safetensors", "model_index.json")}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


def finding(name, check):
    return next(each for each in check() if each.name == name)


def test_json_has_every_finding_and_the_verdict():
    result = CliRunner().invoke(app, ["doctor", "--json"])

    answer = json.loads(result.stdout)
    names = {each["name"] for each in answer["findings"]}
    assert {
        "Python",
        "torch",
        "GPU",
        "nvdiffrast",
        "rasteriser in use",
        "kernels",
        "embedded prior",
        "disk space",
    } <= names
    assert answer["can_run"] == (result.exit_code == 0)
    assert answer["can_run"] == all(each["state"] != "broken" for each in answer["findings"])


@pytest.mark.parametrize(("state", "exit_code"), [("fine", 0), ("note", 0), ("broken", 1)])
def test_only_what_is_broken_fails(monkeypatch, capsys, state, exit_code):
    monkeypatch.setattr(doctor, "examine_machine", lambda: [Finding("kernels", state, "a [value]", "do [this]")])

    assert run_doctor() == exit_code

    shown = capsys.readouterr().out
    assert "a [value]" in shown
    assert "do [this]" in shown
    assert ("Ready." in shown) == (exit_code == 0)


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def no_torch():
        raise ImportError("libcudart.so.12: cannot open shared object file")
        yield

    monkeypatch.setattr(doctor, "_torch", no_torch)

    found = next(each for each in examine_machine() if each.name == "torch")
    assert found.state == "broken"
    assert "libcudart.so.12" in found.value


def test_missing_and_broken_packages_are_told_apart(monkeypatch):
    really_import = importlib.import_module

    def import_module(name, *rest):
        if name == "xatlas":
            raise ImportError("No module named 'xatlas'", name="xatlas")
        if name == "igl":
            raise ImportError("libgomp.so.1: cannot open shared object file", name="libgomp")
        return really_import(name, *rest)

    monkeypatch.setattr(importlib, "import_module", import_module)
    missing, broken = doctor._packages()

    assert missing.state == broken.state == "broken"
    assert "xatlas (packing the texture)" in missing.value
    assert "libgomp.so.1" in broken.value


def test_a_gpu_that_this_torch_cannot_use_is_told(monkeypatch):
    monkeypatch.setattr(machine, "gpus", list)
    monkeypatch.setattr(machine, "has_nvidia_driver", lambda: True)
    assert finding("GPU", doctor._gpu).state == "note"

    monkeypatch.setattr(machine, "has_nvidia_driver", lambda: False)
    assert "runs on the CPU" in finding("GPU", doctor._gpu).value

    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("NVIDIA H100", 80_000_000_000, 79_000_000_000)])
    assert "NVIDIA H100, 80.0 GB, 79.0 GB free" in finding("GPU", doctor._gpu).value


def test_nvdiffrast_is_missed_only_on_a_gpu(monkeypatch):
    monkeypatch.setattr("backend.render.nvdiffrast_rasteriser.nvdiffrast_is_installed", lambda: False)
    monkeypatch.setattr(machine, "gpus", list)
    assert finding("nvdiffrast", doctor._nvdiffrast).state == "fine"

    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("a GPU", 1, 1)])
    on_gpu = finding("nvdiffrast", doctor._nvdiffrast)
    assert on_gpu.state == "note"
    assert ".[cuda]" in on_gpu.advice


def test_cuda_kernels_are_missed_only_on_a_gpu(monkeypatch):
    problem = "backend.render.cuda_rasteriser.why_cuda_kernels_cannot_run"
    monkeypatch.setattr(problem, lambda: "numba-cuda is not installed")
    monkeypatch.setattr(machine, "gpus", list)
    assert finding("CUDA kernels", doctor._cuda_kernels).state == "fine"

    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("a GPU", 1, 1)])
    on_gpu = finding("CUDA kernels", doctor._cuda_kernels)
    assert on_gpu.state == "note"
    assert "numba-cuda[cu13]" in on_gpu.advice

    monkeypatch.setattr(problem, lambda: None)
    assert finding("CUDA kernels", doctor._cuda_kernels).state == "fine"


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda path: 50_000_000)

    found = finding("disk space", doctor._disk_space)

    assert found.state == "note"
    assert "50.0 MB free" in found.value


# ---------------------------------------------------------------------- what it asks the machine


def test_an_intact_prior_is_intact(prior_folder):
    state = check_embedded_prior(prior_folder)

    assert state.is_intact
    assert state.file_count == 2


def test_missing_and_changed_files_of_the_prior_are_named(prior_folder, monkeypatch):
    (prior_folder / "unet" / "weights.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (prior_folder / "model_index.json").unlink()

    state = check_embedded_prior(prior_folder)
    assert not state.is_intact
    assert (state.missing, state.changed) == (("model_index.json",), ("unet/weights.safetensors",))

    monkeypatch.setattr(machine, "check_embedded_prior", lambda: state)
    found = finding("embedded prior", doctor._embedded_prior)
    assert found.state == "broken"
    assert "missing: model_index.json; not as shipped: unet/weights.safetensors" in found.value
    assert "--prior" in found.advice


@pytest.mark.parametrize("content", [None, "{", '{"other": 1}', "[]"])
def test_a_prior_without_a_good_manifest_is_not_intact(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)

    assert not check_embedded_prior(tmp_path).is_intact


def test_the_fingerprint_of_a_prior_changes_with_its_files(prior_folder):
    before = prior_fingerprint(str(prior_folder))
    assert prior_fingerprint(str(prior_folder)) == before

    (prior_folder / "unet" / "weights.safetensors").write_bytes(b"longer weights")

    assert prior_fingerprint(str(prior_folder)) != before
    assert prior_fingerprint("somebody/a-model-on-the-hub") is None


def test_kernels_count_as_compiled_when_their_cache_is_newer_than_the_source(monkeypatch):
    states = compiled_kernels()
    assert all(state.kernel_count > 0 for state in states)
    assert "backend.geometry.lattice_kernels" in {state.module for state in states}

    source = Path(machine.__file__).parent / "geometry" / "lattice_kernels.py"
    really_stat = Path.stat

    def touched(path, **options):
        status = really_stat(path, **options)
        return os.stat_result((*status[:8], 4e9, *status[9:])) if path == source else status

    monkeypatch.setattr(Path, "stat", touched)
    state = next(each for each in compiled_kernels() if each.module == "backend.geometry.lattice_kernels")
    assert state.compiled_count == 0
    assert state.must_compile


def test_kernels_to_be_compiled_are_announced_and_no_fault(monkeypatch):
    states = [KernelState("backend.render.some_kernels", 5, 0, Path("cache"))]
    monkeypatch.setattr(machine, "compiled_kernels", lambda: states)

    found = finding("kernels", doctor._kernels)

    assert found.state == "fine"
    assert "first run compiles" in found.advice


def test_the_size_of_a_cache_counts_each_file_once(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_bytes(b"x" * 1000)
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "model.safetensors").symlink_to(tmp_path / "blobs" / "abc")

    assert machine.folder_size_bytes(tmp_path) == 1000
    assert machine.folder_size_bytes(tmp_path / "nothing") == 0
