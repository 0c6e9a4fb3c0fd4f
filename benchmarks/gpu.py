"""A Stable-Diffusion-class model of random weights on one NVIDIA card: how near are the loops to what their parts cost?

    python benchmarks/gpu.py [--write]                     every section, in about two minutes
    python benchmarks/gpu.py --only parts step             some of them
    python benchmarks/gpu.py --tiny                        the same at toy sizes on the CPU, to see that it runs

The networks have the architecture and the size of Stable Diffusion 2.1-base; their weights are random, which changes
neither times nor memory. Every section stands for itself: one that fails is told, and the others go on. Times are
medians of single runs, each from an idle card until its work is done there, with bootstrap intervals of 95 %.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.mesh_files import write_mesh  # noqa: E402
from backend.appearance.warm_up import compile_finishing  # noqa: E402
from backend.config import LinearRamp, OptimisationConfig, TextToMeshSettings  # noqa: E402
from backend.diffusion.prompts import VIEW_WORDS, join_prompt  # noqa: E402
from backend.machine import package_version, processor_name  # noqa: E402
from backend.optimise import MeshOptimisation  # noqa: E402
from backend.optimise_pictures import PictureOptimisation  # noqa: E402
from backend.picture_config import PictureConfig, TextToImageSettings  # noqa: E402
from backend.render.backgrounds import sample_backgrounds  # noqa: E402
from backend.render.cuda_rasteriser import why_cuda_kernels_cannot_run  # noqa: E402
from backend.render.nvdiffrast_rasteriser import nvdiffrast_is_installed  # noqa: E402
from backend.render.rasteriser import Rasteriser, choose_rasteriser  # noqa: E402
from backend.tasks.text_to_mesh import finish_surface  # noqa: E402
from benchmarks.gpu_measuring import (  # noqa: E402
    Bench,
    Kernel,
    Measured,
    count_flops,
    kernels_of,
    noted_waits,
    recorded,
)
from benchmarks.gpu_networks import (  # noqa: E402
    FULL,
    TINY,
    Size,
    bumpy_ball,
    in_channels_last,
    make_prior,
    with_attention_of_matrices,
    with_tried_convolutions,
)

PROMPT = "a red mushroom"
STEP_BAR, RENDER_BAR, UTILISATION_BAR, SMALL_MEMORY_BAR = 1.15, 0.10, 0.40, 7.5
"""Step over the sum of its parts; geometry and rendering as a share of it; model FLOP utilisation; GiB at one view."""
STEPS_OF_A_JOB = 3000
DECODED_EVERY = 10
"""Steps between two snapshots of the authors' 2D script."""


# --- What is measured ------------------------------------------------------------------------------------------------


def config_of(size: Size, views: int | None = None) -> OptimisationConfig:
    """That of large models in its second stage, which costs what the first does, at one size all the time.

    The surface learns at a rate of zero: every step does the same work on the same triangles.
    """
    config = TextToMeshSettings(PROMPT, prior="stable-diffusion", steps=1_000_000).resolve()
    surface = dataclasses.replace(config.surface, resolutions=((0.0, size.cells),), learning_rate=LinearRamp(0.0, 0.0))
    seen = dataclasses.replace(config.views, views=views or size.views, resolutions=((0.0, size.pixels),))
    distillation = dataclasses.replace(config.distillation, bridge_start=0.0)
    return dataclasses.replace(config, surface=surface, views=seen, distillation=distillation)


def make_loop(bench: Bench, rasteriser: Rasteriser, views: int | None = None) -> MeshOptimisation:
    """The loop of text to mesh. All that its prompts can say is in the prior's memory afterwards."""
    loop = MeshOptimisation(PROMPT, config_of(bench.size, views), bench.prior, rasteriser, bumpy_ball, seed=0)
    distillation = loop.config.distillation
    for suffix in (distillation.source_suffix, distillation.target_suffix):
        bench.prior.embed_prompts([join_prompt(PROMPT, word, suffix) for word in VIEW_WORDS])
    return loop


def picture_config() -> PictureConfig:
    """That of large models, which is the authors' 2D script, in its second stage."""
    settings = TextToImageSettings(PROMPT, prior="stable-diffusion", method="bridge", bridge_start=0.0)
    return dataclasses.replace(settings.resolve(), steps=10**9)


def rasterisers(bench: Bench) -> Iterator[Rasteriser]:
    """Those that can be used here, the one of choice first; says why others cannot."""
    if not bench.is_on_card:
        yield choose_rasteriser(bench.device, "portable")
        return
    problem = why_cuda_kernels_cannot_run()
    if nvdiffrast_is_installed():
        yield choose_rasteriser(bench.device, "nvdiffrast")
    else:
        bench.say("Without nvdiffrast, which is not installed.")
    if problem is None:
        yield choose_rasteriser(bench.device, "cuda")
    else:
        bench.say(f"Without our own CUDA kernels: {problem}.")
    if problem is not None and not nvdiffrast_is_installed():
        yield choose_rasteriser(bench.device, "portable")


def with_each_rasteriser(bench: Bench, work: Callable[[Bench, Rasteriser], None]) -> None:
    """One that fails does not keep the others from being measured."""
    for rasteriser in rasterisers(bench):
        bench.attempt(partial(work, bench, rasteriser))


def unet_pair(bench: Bench, samples: int | None = None) -> Callable[[], Tensor]:
    """The U-Net alone on two prompts for every view."""
    size, prior = bench.size, bench.prior
    samples = samples or 2 * size.views
    noisy = torch.randn(samples, *prior.latent_shape, device=bench.device, dtype=size.dtype)
    timesteps = torch.full((samples,), 500, device=bench.device)
    words = prior.embed_prompts([PROMPT] * samples).to(size.dtype)

    @torch.no_grad()
    def run() -> Tensor:
        return prior.unet(noisy, timesteps, encoder_hidden_states=words, return_dict=False)[0]

    return run


def encoder_there_and_back(bench: Bench, layout: str = "planes") -> Callable[[], Tensor]:
    """The encoder alone on a picture of every view, and the gradient on its way back to the pictures.

    Args:
        layout: How the pictures lie in memory: `planes` of colours, or `pixels`, as a renderer draws them.
    """
    size, vae = bench.size, bench.prior._vae
    pictures = torch.rand(size.views, size.pixels, size.pixels, 3, device=bench.device, dtype=size.dtype)
    pictures = (pictures * 2 - 1).permute(0, 3, 1, 2)
    if layout == "planes":
        pictures = pictures.contiguous()
    # A view of the leaf: the counter of FLOPs cannot follow a gradient that is asked for at a leaf itself.
    pictures = pictures.requires_grad_().view_as(pictures)
    gradient = torch.randn(size.views, *bench.prior.latent_shape, device=bench.device, dtype=size.dtype)

    def run() -> Tensor:
        latents = vae.encode(pictures).latent_dist.mean
        return torch.autograd.grad(latents, pictures, gradient)[0]

    return run


# --- Sections --------------------------------------------------------------------------------------------------------


def machine(bench: Bench) -> None:
    """The card and what it reaches"""
    size = bench.size
    bench.say(f"{size.name}. torch {torch.__version__}, diffusers {package_version('diffusers')}, {processor_name()}.")
    if bench.is_on_card:
        card = torch.cuda.get_device_properties(0)
        bench.say(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, cuDNN {torch.backends.cudnn.version()}.")
    else:
        bench.say("On the CPU: the numbers tell that the script runs, and nothing else.")
    side = size.matrix_side
    left, right = (torch.randn(side, side, device=bench.device, dtype=size.dtype) for _ in range(2))
    flops = 2 * side**3 / 1e12
    product = bench.time(lambda: left @ right)
    bench.numbers["peak"] = 1000 * flops / product.median
    bench.row("product", f"a product of two matrices of {side} x {side}", product, flops)
    bench.say(f"- this is taken for the peak: {bench.numbers['peak']:.4g} TFLOP/s")


def parts(bench: Bench) -> None:
    """What cannot be left out of a step: the U-Net on both prompts of every view, the encoder there and back"""
    views = bench.size.views
    for name, what, work in (
        ("unet", f"U-Net, {2 * views} samples", unet_pair(bench)),
        ("encoder", f"encoder there and back, {views} pictures", encoder_there_and_back(bench)),
    ):
        bench.numbers[f"{name} flops"] = flops = count_flops(work)
        bench.measure(name, what, work, flops)


def step(bench: Bench) -> None:
    """A whole step of text to mesh against the sum of its parts"""
    with_each_rasteriser(bench, _step_with)


def _step_with(bench: Bench, rasteriser: Rasteriser) -> None:
    steps = make_loop(bench, rasteriser).steps()
    began = time.perf_counter()
    first = next(steps)
    bench.synchronise()
    bench.say(
        f"With {rasteriser.name}: {first.face_count} triangles, stage {first.stage}; the first step took"
        f" {time.perf_counter() - began:.1f} s."
    )
    flops = count_flops(lambda: next(steps))
    laps: Counter[str] = Counter()
    measured = bench.measure(
        f"step {rasteriser.name}", f"a step with {rasteriser.name}", lambda: laps.update(next(steps).seconds), flops
    )
    runs = next(steps).number - 3
    handed = ", ".join(f"{name} {1000 * seconds / runs:.1f}" for name, seconds in laps.items())
    bench.say(f"- ms until each part was handed to the card: {handed}")
    bare = _bare_milliseconds(bench)
    if bare is not None:
        counted = flops / (bench.numbers["unet flops"] + bench.numbers["encoder flops"])
        bench.say(f"- FLOPs of the step over those of the parts: {counted:.3f}")
        bench.say(f"- over the sum of its bare parts: {measured.over(bare)}, {_bar(measured.median / bare, STEP_BAR)}")
    if "peak" in bench.numbers:
        utilisation = 1000 * flops / measured.median / bench.numbers["peak"]
        bench.say(f"- model FLOP utilisation: {utilisation:.3f}, {_bar(utilisation, UTILISATION_BAR, least=True)}")


def render(bench: Bench) -> None:
    """Geometry, rasterising and shading, there and back, without the model"""
    with_each_rasteriser(bench, _render_with)


def _render_with(bench: Bench, rasteriser: Rasteriser) -> None:
    loop = make_loop(bench, rasteriser)
    gradient = torch.randn(bench.size.views, bench.size.pixels, bench.size.pixels, 3, device=bench.device)
    whole = bench.measure(
        f"render {rasteriser.name}", f"in all with {rasteriser.name}", lambda: _rendered(loop, gradient)
    )
    steps = _step_milliseconds(bench, rasteriser)
    laps: dict[str, list[float]] = {}
    for _ in range(bench.size.repeats):
        bench.synchronise()
        for name, seconds in _rendered(loop, gradient, bench.synchronise).items():
            laps.setdefault(name, []).append(1000 * seconds)
    for name, values in laps.items():
        bench.row(f"render {rasteriser.name} {name}", f"of it {name}", Measured(tuple(values)))
    generator, views, pixels = torch.Generator().manual_seed(0), bench.size.views, bench.size.pixels
    bench.measure(
        "backgrounds",
        "of views drawing backgrounds",
        lambda: sample_backgrounds(views, pixels, generator, device=bench.device),
    )
    mesh = loop.surface.extract_mesh()
    covered = (torch.rand(views * pixels**2 // 3, 3, device=bench.device) * 1.4 - 0.7).requires_grad_()
    bench.measure("texture", "of it the texture field, there and back", lambda: _textured(loop, covered))
    bench.measure("normals", "of it normals of the vertices, there", mesh.vertex_normals)
    bench.measure("optimiser", "Adam's step, of surface and texture", loop._optimiser.step)
    fused = torch.optim.Adam(loop._parameter_groups(), betas=(0.9, 0.99), eps=1e-15, fused=True)
    bench.measure("fused optimiser", "Adam's step if it were fused", fused.step)
    if steps is not None:
        share = whole.median / steps
        bench.say(f"- share of the step with {rasteriser.name}: {whole.over(steps)}, {_bar(share, RENDER_BAR)}")


def _rendered(
    loop: MeshOptimisation, gradient: Tensor, synchronise: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """What a step does without the model: seconds of its parts, of which each waits for the one before if asked to."""
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        synchronise()
        now = time.perf_counter()
        seconds[name] = now - last
        last = now

    loop._optimiser.zero_grad(set_to_none=True)
    mesh = loop.surface.extract_mesh()
    lap("surface")
    _, views = loop._render_random_views(mesh, 0.5)
    lap("views")
    losses = loop.surface.regularise(mesh, views.masks)
    lap("regularising terms")
    torch.autograd.backward([views.images, torch.stack(list(losses.values())).sum()], [gradient, None])
    lap("backward")
    return seconds


def _textured(loop: MeshOptimisation, positions: Tensor) -> None:
    """The texture at as many points as a third of the pixels, which is about what the surface covers."""
    material = loop.texture(positions)
    torch.cat([material.albedo, material.roughness, material.metallic], dim=-1).sum().backward()


def pictures(bench: Bench) -> None:
    """A step of the bridge in 2D, one picture, against a plain loop after the authors' description of theirs"""
    config = picture_config()
    loop = PictureOptimisation([PROMPT], config, bench.prior, seed=0).steps()
    ours = bench.measure("picture", "our step", lambda: next(loop))
    in_ours = PlainPictureLoop(bench.prior.unet, bench.prior, config, calls=1)
    same = bench.measure("plain", f"plain loop, {_short(bench.size.dtype)}, one call for both prompts", in_ours.step)
    twice = PlainPictureLoop(bench.prior.unet, bench.prior, config, calls=2)
    bench.measure("plain twice", f"plain loop, {_short(bench.size.dtype)}, a call for each prompt", twice.step)
    graph = recorded(unet_pair(bench, 2))
    bench.measure("unet 2 graph", "the U-Net alone on both prompts as a CUDA graph", graph)
    del graph
    unet, vae = (copy.deepcopy(network).float() for network in (bench.prior.unet, bench.prior._vae))
    as_shipped = PlainPictureLoop(unet, bench.prior, config, calls=1)
    shipped = bench.measure("shipped", "plain loop, float32 as shipped", as_shipped.step)
    latents = torch.randn(1, *bench.prior.latent_shape, device=bench.device)

    @torch.no_grad()
    def decode() -> Tensor:
        return vae.decode(latents).sample.clamp(-1, 1).cpu()

    decoding = bench.measure("decoding", f"a snapshot, float32, every {DECODED_EVERY} steps as shipped", decode)
    bench.say(f"- our step over the plain loop in the same precision: {ours.over(same.median)}")
    bench.say(f"- over the plain loop as shipped: {ours.over(shipped.median)}")
    with_snapshots = shipped.median + decoding.median / DECODED_EVERY
    bench.say(f"- over the plain loop as shipped with its snapshots: {ours.over(with_snapshots)}")
    if bench.is_on_card:
        allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        bench.say(f"- TF32 in products of matrices and in convolutions, as torch has it by default: {allowed}")


class PlainPictureLoop:
    """Stage two of the authors' 2D script in a few lines, written after its description: one latent under AdamW.

    Args:
        calls: Of the U-Net: 1 for both prompts in one batch, as theirs, or 2.
    """

    def __init__(self, unet: Any, prior: Any, config: PictureConfig, calls: int) -> None:
        device, self._dtype = prior.device, next(unet.parameters()).dtype
        self._unet, self._calls, self._weight = unet, calls, config.distillation.bridge_scale
        suffixes = (config.distillation.source_suffix, config.distillation.target_suffix)
        self._words = prior.embed_prompts([PROMPT + suffix for suffix in suffixes]).to(self._dtype)
        self._alphas = prior.noise_levels.alphas.square()  # cumulative, as the script has them
        self._latents = torch.randn(1, *prior.latent_shape, device=device, dtype=self._dtype).requires_grad_()
        self._optimiser = torch.optim.AdamW([self._latents], lr=0.01, betas=(0.9, 0.99), eps=1e-15)

    def step(self) -> None:
        # 500 steps of DDIM, every second timestep; the first and the last ten of them are left out.
        timestep = (2 * torch.randint(10, 490, (1,)) + 1).to(self._latents.device)
        abar = self._alphas[timestep].to(self._dtype)
        with torch.no_grad():
            noise = torch.randn_like(self._latents)
            noisy = abar.sqrt() * self._latents + (1 - abar).sqrt() * noise
            per_call = 2 // self._calls
            predicted = [
                self._unet(noisy.repeat(per_call, 1, 1, 1), timestep, encoder_hidden_states=words).sample
                for words in self._words.split(per_call)
            ]
            source, target = torch.cat(predicted).chunk(2)
            gradient = torch.nan_to_num((1 - abar) * self._weight * (target - source))
        self._optimiser.zero_grad()
        self._latents.grad = gradient
        self._optimiser.step()


def finish(bench: Bench) -> None:
    """From the surface to the file, and what a job would take in all"""
    began = time.perf_counter()
    compile_finishing()
    bench.say(f"Compiling the kernels, or loading what is compiled: {time.perf_counter() - began:.1f} s.")
    with_each_rasteriser(bench, _finish_with)


def _finish_with(bench: Bench, rasteriser: Rasteriser) -> None:
    loop = make_loop(bench, rasteriser)
    with tempfile.TemporaryDirectory() as folder:
        bench.synchronise()
        began = time.perf_counter()
        finished = finish_surface(
            loop, rasteriser, name=PROMPT, faces=None, texture_size=bench.size.texture_size, progress=lambda _: None
        )
        baked = time.perf_counter()
        path = Path(folder) / "mesh.glb"
        write_mesh(path, finished)
        seconds = time.perf_counter() - began
        size = path.stat().st_size / 2**20
    of_it = finished.report.seconds | {"write the file": began + seconds - baked}
    listed = ", ".join(f"{name} {value:.2f}" for name, value in of_it.items())
    bench.say(
        f"With {rasteriser.name}, once, {len(finished.mesh.faces)} triangles and a texture of"
        f" {bench.size.texture_size}: {seconds:.2f} s ({listed}; {size:.1f} MiB)."
    )
    steps = _step_milliseconds(bench, rasteriser)
    if steps is not None:
        minutes = (STEPS_OF_A_JOB * steps / 1000 + seconds) / 60
        bench.say(
            f"- a job of {STEPS_OF_A_JOB} steps, estimated from these and not run: {minutes:.1f} minutes without"
            " loading the model; a real job begins with coarser lattices"
        )


def memory(bench: Bench) -> None:
    """The most memory that a step needs"""
    with_each_rasteriser(bench, _memory_with)


def _memory_with(bench: Bench, rasteriser: Rasteriser) -> None:
    for views in sorted({bench.size.views, 1}, reverse=True):
        before = bench.forget_memory()
        steps = make_loop(bench, rasteriser, views).steps()
        for _ in range(4):
            next(steps)
        bench.synchronise()
        allocated, reserved = bench.peak_memory()
        del steps
        judged = f", {_bar(allocated, SMALL_MEMORY_BAR)}" if views == 1 else ""
        bench.say(
            f"- {views} views, {rasteriser.name}: {allocated:.2f} GiB allocated at most{judged};"
            f" {reserved:.2f} reserved, {before:.2f} allocated before the loop was made"
        )


def waiting(bench: Bench) -> None:
    """Where a step makes the processor wait for the card"""
    with_each_rasteriser(bench, _waiting_with)


def _waiting_with(bench: Bench, rasteriser: Rasteriser) -> None:
    steps = make_loop(bench, rasteriser).steps()
    for _ in range(3):
        next(steps)
    with noted_waits() as places:
        next(steps)
    bench.say(f"With {rasteriser.name}: {sum(places.values())} waits in a step.")
    for place, count in places.most_common():
        bench.say(f"- {count} at {place}")


def kernels(bench: Bench) -> None:
    """What keeps the card busy"""
    kernels_of(bench.synchronise, bench.device)  # the first profile takes seconds to begin
    for what, work in (("U-Net alone", unet_pair(bench)), ("encoder alone", encoder_there_and_back(bench))):
        work()
        _tell_kernels(bench, what, kernels_of(work, bench.device), bench.measured.get(what.split()[0].lower()))
    with_each_rasteriser(bench, _kernels_with)


def _kernels_with(bench: Bench, rasteriser: Rasteriser) -> None:
    loop = make_loop(bench, rasteriser)
    steps = loop.steps()
    for _ in range(2):
        next(steps)
    found = kernels_of(lambda: next(steps), bench.device)
    _tell_kernels(bench, f"step, {rasteriser.name}", found, bench.measured.get(f"step {rasteriser.name}"))
    gradient = torch.randn(bench.size.views, bench.size.pixels, bench.size.pixels, 3, device=bench.device)
    found = kernels_of(lambda: _rendered(loop, gradient), bench.device)
    whole = bench.measured.get(f"render {rasteriser.name}")
    _tell_kernels(bench, f"geometry and rendering, {rasteriser.name}", found, whole)


def _tell_kernels(bench: Bench, what: str, found: list[Kernel], measured: Measured | None) -> None:
    busy, launches = sum(kernel.milliseconds for kernel in found), sum(kernel.count for kernel in found)
    bench.say(f"**{what[0].upper()}{what[1:]}**: {launches} launches keep the card busy for {busy:.1f} ms.")
    if measured is not None:
        share = busy / measured.median
        verdict = "the card waits for the processor" if share < 0.9 else "the card is the limit"
        bench.say(f"Of the {measured.median:.1f} ms that it takes without a profiler that is {share:.0%}: {verdict}.")
    by_kind: Counter[str] = Counter()
    for kernel in found:
        by_kind[kernel.kind] += kernel.milliseconds  # type: ignore[assignment]
    bench.say("By kind: " + ", ".join(f"{kind} {spent / busy:.1%}" for kind, spent in by_kind.most_common()) + ".")
    bench.say()
    for kernel in found[:10]:
        bench.say(f"- {kernel.milliseconds / busy:.1%}: `{kernel.name[:110]}` ({kernel.count})")
    bench.say()


def graphs(bench: Bench) -> None:
    """Whether CUDA graphs and other layouts help"""
    prior = bench.prior
    networks = {"unet": prior.unet, "encoder": prior._vae}
    works: dict[str, Callable[[str], Callable[[], Tensor]]] = {
        "unet": lambda _: unet_pair(bench),
        "encoder": partial(encoder_there_and_back, bench),
    }
    best: dict[str, float] = {}
    for name, network in networks.items():
        for what, layout, around in _variants(name, network):
            bench.attempt(partial(_measure_variant, bench, name, what, works[name], layout, around, best))
    if len(best) == len(networks):
        fastest = sum(best.values())
        listed = ", ".join(f"{name} {value:.1f}" for name, value in best.items())
        bench.say(f"- the fastest of each together: {fastest:.1f} ms ({listed})")
        for name, measured in bench.measured.items():
            if re.fullmatch(r"step \S+", name):
                bench.say(f"- {name} over these: {measured.over(fastest)}")


def _variants(name: str, network: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """What it is called, how pictures lie in memory, and what is in force meanwhile."""
    yield "as it is", "planes", []
    yield "cuDNN's algorithms tried", "planes", [with_tried_convolutions]
    if name == "encoder":
        yield "pictures as the renderer draws them", "pixels", []
        yield "attention of matrices", "planes", [partial(with_attention_of_matrices, network)]
    yield "channels last", "pixels", [partial(in_channels_last, network)]
    all_of_them = [partial(in_channels_last, network), with_tried_convolutions]
    if name == "encoder":
        all_of_them.append(partial(with_attention_of_matrices, network))
    yield "all of these", "pixels", all_of_them


def _measure_variant(
    bench: Bench,
    name: str,
    what: str,
    make_work: Callable[[str], Callable[[], Tensor]],
    layout: str,
    around: list[Any],
    best: dict[str, float],
) -> None:
    flops = bench.numbers.get(f"{name} flops")
    with ExitStack() as stack:
        for make_context in around:
            stack.enter_context(make_context())
        work = make_work(layout)
        wanted = work().clone()
        medians = [bench.measure(f"{name}: {what}", f"{name}, {what}", work, flops).median]
        replay = recorded(work)
        difference = ((replay() - wanted).float().norm() / wanted.float().norm()).item()
        told = "" if difference < 0.02 else f" (**differs by {difference:.3f}**)"
        medians.append(
            bench.measure(f"{name}: {what}, graph", f"{name}, {what}, CUDA graph{told}", replay, flops).median
        )
    best[name] = min(best.get(name, np.inf), *medians)
    del replay
    bench.forget_memory()


def compiled(bench: Bench) -> None:
    """What torch.compile makes of the networks"""
    for name, what, network, attribute, work in (
        ("unet", "U-Net", bench.prior.unet, "forward", unet_pair(bench)),
        ("encoder", "encoder there and back", bench.prior._vae.encoder, "forward", encoder_there_and_back(bench)),
    ):
        before = getattr(network, attribute)
        began = time.perf_counter()
        try:
            setattr(network, attribute, torch.compile(before))
            work()
            bench.synchronise()
            seconds = time.perf_counter() - began
            bench.measure(f"{name} compiled", f"{what}, compiled", work, bench.numbers.get(f"{name} flops"))
            bench.say(f"- compiling took {seconds:.0f} s")
        finally:
            setattr(network, attribute, before)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "parts": parts,
    "step": step,
    "render": render,
    "pictures": pictures,
    "memory": memory,
    "waiting": waiting,
    "kernels": kernels,
    "finish": finish,
    "graphs": graphs,  # last, as a recording that fails may take the card's context with it
    "compile": compiled,
}
SLOW_SECTIONS = ("compile",)
"""Measured only where they are named: they take minutes."""


# --- The report ------------------------------------------------------------------------------------------------------


def _bare_milliseconds(bench: Bench) -> float | None:
    if not {"unet", "encoder"} <= bench.measured.keys():
        return None
    return bench.measured["unet"].median + bench.measured["encoder"].median


def _step_milliseconds(bench: Bench, rasteriser: Rasteriser) -> float | None:
    measured = bench.measured.get(f"step {rasteriser.name}")
    return None if measured is None else measured.median


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _bar(measured: float, bar: float, least: bool = False) -> str:
    is_met = measured >= bar if least else measured <= bar
    return f"bar at {'least' if least else 'most'} {bar}: {'met' if is_met else '**missed**'}"


def run(
    size: Size,
    device: torch.device,
    names: list[str],
    seconds: float = float("inf"),
    keep: Callable[[Bench], None] = lambda bench: None,
) -> Bench:
    """All sections of these names, in the order of `SECTIONS`.

    Args:
        seconds: After so many no section is begun.
        keep: Called after every section.
    """
    began = time.perf_counter()
    bench = Bench(size, device, make_prior(size, device))
    bench.synchronise()
    print(f"{time.perf_counter() - began:.1f} s to make the networks", flush=True)
    for name, section in SECTIONS.items():
        if name not in names:
            continue
        bench.say(f"\n## {(section.__doc__ or name).strip().splitlines()[0]}\n")
        if time.perf_counter() - began > seconds:
            bench.say(f"Left out: {seconds:.0f} seconds are over.")
            continue
        section_began = time.perf_counter()
        bench.attempt(partial(section, bench))
        print(f"({name}: {time.perf_counter() - section_began:.1f} s)", flush=True)
        keep(bench)
    return bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every section but those that take minutes; the default")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[], help="some sections")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    parser.add_argument("--seconds", type=float, default=150.0, help="begin no section later than this")
    parser.add_argument("--write", action="store_true", help="write the report to benchmarks/results")
    parser.add_argument("--out", type=Path, default=FOLDER / "results", help="another folder for the report")
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        print("Nothing to measure: torch sees no NVIDIA GPU here; --tiny runs the same at toy sizes on the CPU.")
        return
    names = arguments.only or [name for name in SECTIONS if name not in SLOW_SECTIONS]
    names += ["compile"] if arguments.compile else []
    if arguments.tiny:
        torch.set_num_threads(1)
    device = torch.device("cpu" if arguments.tiny else "cuda")
    card = "cpu" if arguments.tiny else card_word(torch.cuda.get_device_name())
    path = arguments.out / f"gpu-{date.today().isoformat()}-{card}.md"

    def keep(bench: Bench) -> None:
        if arguments.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*title(), *bench.lines, ""]))

    began = time.perf_counter()
    run(TINY if arguments.tiny else FULL, device, names, arguments.seconds, keep)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


def title() -> list[str]:
    """The head of the report."""
    return [
        f"# One NVIDIA card, {date.today().isoformat()}",
        "",
        f"`{' '.join(['python benchmarks/gpu.py', *sys.argv[1:]])}`. Medians of single runs, each from an idle card"
        " until its work is done there; in brackets bootstrap intervals of 95 %.",
    ]


def card_word(name: str) -> str:
    """The word of a card's name that tells it from others: `h100`, `4090`."""
    words = re.findall(r"[a-z0-9-]+", name.lower())
    return next((word for word in words if any(letter.isdigit() for letter in word)), "-".join(words))


if __name__ == "__main__":
    main()
