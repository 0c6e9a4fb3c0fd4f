"""The benchmark of a card at toy sizes on the CPU, so that it is known to run before it meets one."""

import sys
import warnings

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_measuring import Bench, Kernel, Measured, count_flops, noted_waits
from benchmarks.gpu_networks import (
    FULL,
    TINY,
    bumpy_ball,
    in_channels_last,
    make_networks,
    make_prior,
    make_wide_tokenizer,
    with_attention_of_matrices,
)

CPU = torch.device("cpu")
QUICK_SECTIONS = [name for name in gpu.SECTIONS if name not in gpu.SLOW_SECTIONS]


@pytest.fixture(scope="module")
def bench():
    return gpu.run(TINY, CPU, QUICK_SECTIONS)


@pytest.fixture(scope="module")
def prior():
    return make_prior(TINY, CPU)


@pytest.fixture(scope="module")
def full_networks():
    """Without their numbers: shapes alone tell sizes and FLOPs."""
    return make_networks(FULL, torch.device("meta"), make_wide_tokenizer())


def test_every_section_runs(bench):
    assert not [line for line in bench.lines if "could not be measured" in line]
    assert sum(line.startswith("\n## ") for line in bench.lines) == len(QUICK_SECTIONS)
    assert {"unet", "encoder", "step portable", "render portable", "picture", "shipped"} <= bench.measured.keys()


def test_a_step_computes_what_its_parts_do_and_hardly_more(bench):
    (line,) = [line for line in bench.lines if line.startswith("- FLOPs of the step")]

    assert float(line.split()[-1]) == pytest.approx(1.0, abs=0.03)


def test_tables_have_a_head_and_end_before_the_next_sentence(bench):
    lines = bench.lines
    for number, line in enumerate(lines):
        if line.startswith("|") and not lines[number - 1].startswith("|"):
            assert line.startswith("| what |")
        if line.startswith("|") and not lines[number + 1].startswith("|"):
            assert not lines[number + 1].strip() or lines[number + 1].startswith("\n")


def test_a_section_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def broken(bench):
        raise RuntimeError("no card today")

    monkeypatch.setitem(gpu.SECTIONS, "parts", broken)

    found = gpu.run(TINY, CPU, ["machine", "parts", "memory"])

    assert "This could not be measured: RuntimeError: no card today" in found.lines
    assert any(line.startswith("- 1 views, portable") for line in found.lines)


def test_no_section_begins_after_the_time_is_up_and_what_there_is_is_kept():
    kept = []

    found = gpu.run(TINY, CPU, ["machine", "parts"], seconds=0.0, keep=lambda bench: kept.append(len(bench.lines)))

    assert found.lines.count("Left out: 0 seconds are over.") == 2
    assert not found.measured


def test_the_report_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--only", "parts", "--write", "--out", str(tmp_path)])

    gpu.main()

    (path,) = tmp_path.glob("gpu-*-cpu.md")
    text = path.read_text()
    assert text.startswith("# One NVIDIA card")
    assert "| U-Net, 4 samples | 3 |" in text


def test_without_a_card_nothing_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--write"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    gpu.main()

    assert capsys.readouterr().out.startswith("Nothing to measure")


def test_cards_are_named_by_one_word():
    assert gpu.card_word("NVIDIA H100 80GB HBM3") == "h100"
    assert gpu.card_word("NVIDIA GeForce RTX 4090") == "4090"
    assert gpu.card_word("Some Card") == "some-card"


def parameters_of(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_are_as_large_as_stable_diffusion_21_base(full_networks):
    # Of the published weights; the VAE's is that of Stable Diffusion 1.x as well.
    assert parameters_of(full_networks.unet) == 865_910_724
    assert parameters_of(full_networks.vae) == 83_653_863
    # 49,408 words of 1,024 numbers are 50.6 million there.
    words = full_networks.text_encoder.get_input_embeddings().weight.numel()
    assert parameters_of(full_networks.text_encoder) - words == 340_387_840 - 49_408 * 1024


def test_the_networks_compute_what_stable_diffusion_21_base_does(full_networks):
    meta = {"device": "meta", "dtype": FULL.dtype}
    noisy, words = torch.zeros(2, 4, 64, 64, **meta), torch.zeros(2, 77, 1024, **meta)
    pictures = torch.zeros(1, 3, 512, 512, **meta)

    # Counted by hand once for fp16: 1.61 TFLOP for a pair of prompts, 1.12 for a picture.
    with torch.no_grad():
        pair = count_flops(
            lambda: full_networks.unet(noisy, torch.zeros(2, device="meta"), encoder_hidden_states=words)
        )
        encoded = count_flops(lambda: full_networks.vae.encode(pictures))
    assert pair == pytest.approx(1.61, rel=0.02)
    assert encoded == pytest.approx(1.12, rel=0.02)


def test_the_surface_has_as_many_triangles_as_a_finished_one():
    from backend.geometry.marching_tetrahedra import marching_tetrahedra
    from backend.geometry.tetrahedral_grid import TetrahedralGrid

    grid = TetrahedralGrid(FULL.cells)

    assert len(marching_tetrahedra(bumpy_ball(grid), grid).faces) > 60_000


def test_every_step_sees_the_same_triangles(prior):
    bench = Bench(TINY, CPU, prior)
    (rasteriser,) = gpu.rasterisers(bench)
    steps = gpu.make_loop(bench, rasteriser).steps()

    made = [next(steps) for _ in range(3)]

    assert len({step.face_count for step in made}) == 1
    assert {step.stage for step in made} == {"bridge"}
    assert all(step.gradient_norm > 0 for step in made)
    assert not any(step.notices for step in made)


@pytest.mark.parametrize("calls", [1, 2])
def test_the_plain_loop_follows_the_formula(prior, calls):
    config = gpu.picture_config()
    loop = gpu.PlainPictureLoop(prior.unet, prior, config, calls)
    batches = []
    hook = prior.unet.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    before = loop._latents.detach().clone()

    loop.step()
    hook.remove()

    assert batches == [2 // calls] * calls
    # AdamW's first step is the rate, against the sign of the gradient; its decay is a hundredth of a hundredth.
    moved = loop._latents.detach() - before
    gradient = loop._latents.grad
    assert gradient.abs().max() > 0
    expected = before * -0.01 * 0.01 - 0.01 * gradient.sign()
    torch.testing.assert_close(moved.float(), expected.float(), rtol=0.1, atol=0.02)


def test_what_is_tried_on_the_networks_is_undone(prior):
    processors = dict(prior._vae.attn_processors)
    strides = [parameter.stride() for parameter in prior._vae.parameters()]

    with with_attention_of_matrices(prior._vae), in_channels_last(prior._vae):
        assert dict(prior._vae.attn_processors) != processors
        assert [parameter.stride() for parameter in prior._vae.parameters()] != strides

    assert dict(prior._vae.attn_processors) == processors
    assert [parameter.stride() for parameter in prior._vae.parameters()] == strides


def test_waits_are_told_by_our_own_lines(prior, monkeypatch):
    def waiting_encoder(pictures):
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return encode(pictures)

    encode = prior.encode_images
    monkeypatch.setattr(prior, "encode_images", waiting_encoder)
    bench = Bench(TINY, CPU, prior)
    (rasteriser,) = gpu.rasterisers(bench)
    steps = gpu.make_loop(bench, rasteriser).steps()

    with noted_waits() as places:
        next(steps), next(steps)
        warnings.warn("something else", stacklevel=1)

    ((place, count),) = places.items()
    assert count == 2
    assert place.startswith("backend/optimise.py:")
    assert "(at test_gpu_benchmark.py:" in place


def test_kernels_are_sorted_into_kinds_by_their_names():
    kinds = {
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64": "convolutions",
        "void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16, ...>": "changes of layout",
        "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT": "products of matrices",
        "fmha_cutlassB_bf16_aligned_128x64_k65536_sm80": "attention",
        "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<c10::BFloat16>": "norms",
        "void at::native::indexing_backward_kernel<float, 4>": "sorts, indices, scattering",
        "Memcpy HtoD (Pageable -> Device)": "copies between processor and card",
        "void at::native::vectorized_elementwise_kernel<4, at::native::silu_kernel>": "pointwise",
        "something new": "others",
    }

    assert {name: Kernel(name, 1, 1.0).kind for name in kinds} == kinds


def test_medians_come_with_intervals_and_ratios():
    measured = Measured((10.0, 11.0, 12.0, 13.0, 14.0))

    assert measured.median == 12.0
    low, high = measured.interval
    assert 10.0 <= low < 12.0 < high <= 14.0
    assert measured.over(10.0).startswith("1.200 [")
