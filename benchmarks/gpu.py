"""A Stable-Diffusion-class model of random weights on one NVIDIA card: how near is the loop to what its parts cost?

    python benchmarks/gpu.py --all [--write]        python benchmarks/gpu.py --only parts step
    python benchmarks/gpu.py --all --tiny           the same at toy sizes on the CPU, to see that it runs

The networks have the architecture and the size of Stable Diffusion 2.1-base; their weights are random, which changes
neither times nor memory. Every section stands for itself: one that fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from backend.config import OptimisationConfig, TextToMeshSettings
from backend.diffusion.diffusers_prior import DiffusersPrior
from backend.geometry.tetrahedral_grid import TetrahedralGrid
from backend.optimise import MeshOptimisation
from backend.render.cuda_rasteriser import why_cuda_kernels_cannot_run
from backend.render.nvdiffrast_rasteriser import nvdiffrast_is_installed
from backend.render.rasteriser import Rasteriser, choose_rasteriser
from tools.embedded_training.architecture import caption_words, make_scheduler, make_tokenizer

FOLDER = Path(__file__).parent
PROMPT = "a red mushroom"
STEP_BAR, RENDER_BAR, UTILISATION_BAR, SMALL_MEMORY_BAR = 1.15, 0.10, 0.40, 7.5
"""Step over the sum of its parts; geometry and rendering as a share of it; model FLOP utilisation; GiB at one view."""
STEPS_OF_A_JOB = 3000


@dataclass(frozen=True)
class Size:
    """What is measured."""

    name: str
    pixels: int
    views: int
    cells: int
    unet: dict[str, Any]
    vae_widths: tuple[int, ...]
    text_width: int
    text_layers: int
    repeats: int
    dtype: torch.dtype


FULL = Size(
    "Stable Diffusion 2.1-base, 512 x 512, 4 views, lattice of 128", 512, 4, 128,
    {
        "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 1024, "layers_per_block": 2,
        "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True,
    },
    (128, 256, 512, 512), 1024, 23, 12, torch.bfloat16,
)  # fmt: skip
TINY = Size(
    "toy sizes", 64, 2, 16,
    {
        "block_out_channels": (32, 32, 32, 32), "cross_attention_dim": 32, "layers_per_block": 1,
        "attention_head_dim": 4, "norm_num_groups": 8,
    },
    (16, 16, 16, 16), 32, 2, 2, torch.float32,
)  # fmt: skip


@dataclass
class Bench:
    """What the sections share, and what they found."""

    size: Size
    device: torch.device
    prior: DiffusersPrior
    lines: list[str] = field(default_factory=list)
    found: dict[str, float] = field(default_factory=dict)

    def say(self, line: str = "") -> None:
        """Prints a line of the report at once, and keeps it."""
        print(line, flush=True)
        self.lines.append(line)

    def milliseconds(self, work: Callable[[], object], warm_up: int = 3) -> tuple[float, float, float]:
        """Median, lowest and highest of some runs; on a GPU until the work is done there."""
        times = []
        for run in range(warm_up + self.size.repeats):
            self.synchronise()
            began = time.perf_counter()
            work()
            self.synchronise()
            if run >= warm_up:
                times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times), min(times), max(times)

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def make_prior(size: Size, device: torch.device) -> DiffusersPrior:
    """Networks of random weights, made where they run."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(caption_words())
    with device:
        pipeline = SimpleNamespace(
            unet=UNet2DConditionModel(sample_size=size.pixels // 8, **size.unet),
            vae=AutoencoderKL(
                block_out_channels=size.vae_widths, latent_channels=4, layers_per_block=2, sample_size=size.pixels,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                norm_num_groups=8 if size is TINY else 32,
            ),
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=len(tokenizer), hidden_size=size.text_width, intermediate_size=4 * size.text_width,
                    num_hidden_layers=size.text_layers, num_attention_heads=max(1, size.text_width // 64),
                    max_position_embeddings=tokenizer.model_max_length, bos_token_id=tokenizer.bos_token_id,
                    eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
                )
            ),
            tokenizer=tokenizer,
            scheduler=make_scheduler(),
        )  # fmt: skip
    return DiffusersPrior(pipeline, size.name, device, size.dtype)


def bumpy_ball(grid: TetrahedralGrid) -> Tensor:
    """A surface with many triangles that is no perfect ball [side, side, side]."""
    points = grid.positions().view(-1, 3)
    bumps = 0.03 * (torch.sin(9 * points[:, 0]) + torch.sin(11 * points[:, 1]) + torch.sin(13 * points[:, 2]))
    return (points.norm(dim=-1) - 0.75 + bumps).view(grid.side, grid.side, grid.side)


def make_loop(bench: Bench, rasteriser: Rasteriser, views: int | None = None) -> MeshOptimisation:
    return MeshOptimisation(PROMPT, config_of(bench.size, views), bench.prior, rasteriser, bumpy_ball, seed=0)


def config_of(size: Size, views: int | None = None) -> OptimisationConfig:
    """That of large models, at one size all the time."""
    config = TextToMeshSettings(PROMPT, prior="stable-diffusion", steps=100_000).resolve()
    surface = dataclasses.replace(config.surface, resolutions=((0.0, size.cells),))
    seen = dataclasses.replace(config.views, views=views or size.views, resolutions=((0.0, size.pixels),))
    return dataclasses.replace(config, surface=surface, views=seen)


def rasterisers(device: torch.device) -> Iterator[Rasteriser]:
    """Those that can be used here, the one of choice first."""
    if device.type == "cpu":
        yield choose_rasteriser(device, "portable")
        return
    if nvdiffrast_is_installed():
        yield choose_rasteriser(device, "nvdiffrast")
    if why_cuda_kernels_cannot_run() is None:
        yield choose_rasteriser(device, "cuda")


# --- Sections --------------------------------------------------------------------------------------------------------


def machine(bench: Bench) -> None:
    """The card and what it reaches."""
    if bench.device.type != "cuda":
        bench.say("On the CPU, at toy sizes: numbers mean nothing but that the script runs.")
        return
    properties = torch.cuda.get_device_properties(0)
    bench.say(
        f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, torch {torch.__version__}; {bench.size.name}"
    )
    side = 8192
    left, right = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    median, _, _ = bench.milliseconds(lambda: left @ right)
    bench.found["peak"] = 2 * side**3 / median / 1e9  # TFLOP/s
    bench.say(f"A product of two matrices of {side} x {side} in bf16: {bench.found['peak']:.0f} TFLOP/s.")


def parts(bench: Bench) -> None:
    """What cannot be left out of a step: the U-Net on both prompts of every view, the encoder there and back."""
    size, prior = bench.size, bench.prior
    noisy = torch.randn(2 * size.views, *prior.latent_shape, device=bench.device)
    timesteps = torch.full((2 * size.views,), 500, device=bench.device)
    embeddings = prior.embed_prompts([PROMPT] * (2 * size.views))
    pictures = torch.rand(size.views, size.pixels, size.pixels, 3, device=bench.device, requires_grad=True)

    def unet() -> None:
        prior.predict_noise(noisy, timesteps, embeddings)

    def encoder() -> None:
        pictures.grad = None
        latents = prior.encode_images(pictures)
        latents.backward(torch.ones_like(latents))

    bench.say("| part | ms, median | lowest to highest | TFLOP | of the peak |")
    bench.say("|---|---|---|---|---|")
    for name, what, work in (
        ("unet", f"U-Net, {2 * size.views} samples", unet),
        ("encoder", f"encoder there and back, {size.views} pictures", encoder),
    ):
        with FlopCounterMode(display=False) as counter:
            work()
        flops = counter.get_total_flops() / 1e12
        median, low, high = bench.milliseconds(work)
        bench.found[name], bench.found[f"{name} flops"] = median, flops
        bench.say(f"| {what} | {median:.1f} | {low:.1f} to {high:.1f} | {flops:.2f} | {_share(bench, flops, median)} |")
    for name, what, work in (("unet graph", "the same U-Net as a CUDA graph", unet),):
        if bench.device.type == "cuda":
            replay = recorded(work)
            median, low, high = bench.milliseconds(replay)
            bench.found[name] = median
            flops = bench.found["unet flops"]
            bench.say(
                f"| {what} | {median:.1f} | {low:.1f} to {high:.1f} | {flops:.2f} | {_share(bench, flops, median)} |"
            )


def recorded(work: Callable[[], None]) -> Callable[[], None]:
    """The kernels of a piece of work, replayed without Python between them."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def step(bench: Bench) -> None:
    """A whole step of text to mesh against the sum of its parts."""
    for rasteriser in rasterisers(bench.device):
        loop = make_loop(bench, rasteriser)
        steps = loop.steps()
        with FlopCounterMode(display=False) as counter:
            first = next(steps)
        flops = counter.get_total_flops() / 1e12
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        laps: Counter[str] = Counter()

        def one(steps: Iterator[Any] = steps, laps: Counter[str] = laps) -> None:
            laps.update(next(steps).seconds)

        median, low, high = bench.milliseconds(one)
        made = bench.size.repeats + 3
        bench.say(
            f"With {rasteriser.name}, {first.face_count} triangles: a step takes {median:.1f} ms"
            f" ({low:.1f} to {high:.1f})."
        )
        shares = ", ".join(f"{name} {1000 * seconds / made:.1f}" for name, seconds in laps.items())
        bench.say(f"Until each part is handed to the card, in ms: {shares}.")
        if "unet" in bench.found:
            bare = bench.found["unet"] + bench.found["encoder"]
            counted = flops / (bench.found["unet flops"] + bench.found["encoder flops"])
            bench.say(_bar("over the sum of its bare parts", median / bare, STEP_BAR, less=True))
            bench.say(f"- FLOPs of the step over those of the parts: {counted:.3f}")
        if "peak" in bench.found:
            bench.say(_bar("model FLOP utilisation", flops / median * 1000 / bench.found["peak"], UTILISATION_BAR))
        bench.found["step"] = median
        bench.say(
            f"- {STEPS_OF_A_JOB} steps at this rate: {STEPS_OF_A_JOB * median / 60_000:.1f} minutes, without finishing"
        )
        if bench.device.type == "cuda":
            bench.say(f"- most memory allocated: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def render(bench: Bench) -> None:
    """Geometry, rasterising and shading, there and back, without the model."""
    for rasteriser in rasterisers(bench.device):
        loop = make_loop(bench, rasteriser)

        def there_and_back(loop: MeshOptimisation = loop) -> None:
            mesh = loop.surface.extract_mesh()
            _, views = loop._render_random_views(mesh, 0.5)
            losses = loop.surface.regularise(mesh, views.masks)
            (views.images.mean() + torch.stack(list(losses.values())).sum()).backward()

        median, low, high = bench.milliseconds(there_and_back)
        bench.say(f"With {rasteriser.name}: {median:.1f} ms ({low:.1f} to {high:.1f}) for {bench.size.views} views.")
        if "step" in bench.found:
            bench.say(_bar("share of the step", median / bench.found["step"], RENDER_BAR, less=True))


def waiting(bench: Bench) -> None:
    """Where a step makes the processor wait for the card."""
    if bench.device.type != "cuda":
        bench.say("Only a card can be waited for.")
        return
    for rasteriser in rasterisers(bench.device):
        steps = make_loop(bench, rasteriser).steps()
        next(steps), next(steps)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                next(steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = Counter(
            f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)
        )
        bench.say(f"With {rasteriser.name}: {sum(places.values())} waits in a step.")
        bench.say(", ".join(f"{place} ({count})" for place, count in places.most_common(20)))


def kernels(bench: Bench) -> None:
    """What keeps the card busy in a step, and for how much of it."""
    if bench.device.type != "cuda":
        bench.say("Only a card has kernels.")
        return
    from torch.profiler import ProfilerActivity, profile

    for rasteriser in rasterisers(bench.device):
        steps = make_loop(bench, rasteriser).steps()
        next(steps), next(steps)
        bench.synchronise()
        began = time.perf_counter()
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            next(steps)
            bench.synchronise()
        seconds = time.perf_counter() - began
        rows = sorted(profiled.key_averages(), key=lambda row: -row.self_device_time_total)
        busy = sum(row.self_device_time_total for row in rows) / 1e6
        bench.say(
            f"With {rasteriser.name}: the card is busy for {busy * 1000:.1f} of {seconds * 1000:.1f} ms (profiled)."
        )
        for row in rows[:8]:
            bench.say(f"- {row.self_device_time_total / 1e4 / busy:.1f} %: {row.key[:90]} ({row.count})")


def memory(bench: Bench) -> None:
    """The most that a step needs with one view."""
    for rasteriser in rasterisers(bench.device):
        steps = make_loop(bench, rasteriser, views=1).steps()
        next(steps)
        if bench.device.type != "cuda":
            continue
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        next(steps), next(steps)
        peak = torch.cuda.max_memory_allocated() / 2**30
        bench.say(_bar("GiB allocated at most with one view", peak, SMALL_MEMORY_BAR, less=True))


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "parts": parts,
    "step": step,
    "render": render,
    "waiting": waiting,
    "kernels": kernels,
    "memory": memory,
}
RENDERING = ("step", "render", "waiting", "kernels", "memory")
"""Sections that need a rasteriser."""


def _share(bench: Bench, flops: float, milliseconds: float) -> str:
    return f"{1000 * flops / milliseconds / bench.found['peak']:.0%}" if "peak" in bench.found else "-"


def _bar(what: str, measured: float, bar: float, less: bool = False) -> str:
    is_met = measured <= bar if less else measured >= bar
    return f"- {what}: {measured:.3f}, bar {'at most' if less else 'at least'} {bar}: {'met' if is_met else 'missed'}"


def run(size: Size, device: torch.device, names: list[str]) -> Bench:
    """All sections of these names, in the order of `SECTIONS`."""
    bench = Bench(size, device, make_prior(size, device))
    for name, section in SECTIONS.items():
        if name not in names:
            continue
        bench.say(f"\n## {(section.__doc__ or name).strip().splitlines()[0]}\n")
        try:
            section(bench)
            if name in RENDERING and not list(rasterisers(device)):
                bench.say("There is no rasteriser for this card: install nvdiffrast or numba-cuda (see the README).")
        except Exception as error:
            traceback.print_exc()
            bench.say(f"This could not be measured: {type(error).__name__}: {str(error).splitlines()[0]}")
    return bench


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every section")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[], help="some of them")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    parser.add_argument("--write", action="store_true", help="write the report to benchmarks/results")
    arguments = parser.parse_args()
    names = list(SECTIONS) if arguments.all else arguments.only
    if not names:
        parser.error("give --all, or --only with some sections")
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("torch sees no NVIDIA GPU here; --tiny runs the same at toy sizes on the CPU")
    torch.set_num_threads(1)
    began = time.perf_counter()
    device = torch.device("cpu" if arguments.tiny else "cuda")
    bench = run(TINY if arguments.tiny else FULL, device, names)
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    if arguments.write:
        card = "cpu" if arguments.tiny else torch.cuda.get_device_name().split()[1].lower()
        title = f"# One NVIDIA card, {date.today().isoformat()}\n\n`python benchmarks/gpu.py --all --write`"
        path = FOLDER / "results" / f"gpu-{date.today().isoformat()}-{card}.md"
        path.write_text("\n".join([title, *bench.lines, ""]))


if __name__ == "__main__":
    main()
