"""What the method table is to hold: its rows, its prompts, and the cells that a row is made of. Makes nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from backend import machine
from backend.config import check_one_of, check_prompt, check_whole_number
from backend.diffusion.prompts import AUTHORS_SOURCE_SUFFIX
from backend.errors import BadInput
from backend.picture_config import METHODS_FOR_PICTURES, PictureConfig, SamplingConfig, TextToImageSettings

Study = Literal["methods", "descriptors", "switch"]

DEFAULT_PROMPTS = (
    "a red mushroom", "a green tree", "a blue rocket", "a pink donut", "a yellow cone",
    "a cyan snowman", "a purple chair", "an orange mug", "a red house", "a blue car",
    "a white table", "a black bottle", "a yellow star", "a pink heart", "a green hourglass",
    "an orange sphere", "a purple cube", "a cyan cylinder", "a blue mug", "a green chair",
)  # fmt: skip
"""Every shape of the embedded world, and twice the two hardest. The prior has seen all these pairs."""
EMBEDDED_STEPS = 80
"""With them the whole table takes about 40 minutes of one core."""
MOST_FASTER = 2.5
"""So much larger the learning rate is, at most, where there are fewer steps than usual: at the usual one a fifth of the
steps leaves every method's pictures pale, and nothing shows in what they differ."""
LARGE_MODEL_STEPS = 1000  # the authors' 2D script
PICTURES_AT_ONCE = 20
"""About as many are optimised together: more save a U-Net on a CPU nothing, and fewer are lost when one stops."""
MOST_SEEDS = 64
OTHER_NOISE = 1_000_000
"""Added to the seed of cells that are the reference, so that they share no noise with what they are compared to."""

SWITCH_POINTS = (0.0, 0.25, 0.5, 0.75)
DESCRIPTOR_SETS = {
    "the authors' ten": AUTHORS_SOURCE_SUFFIX,
    "colour": ", oversaturated, garish, overly vivid, flat colours",
    "softness": ", smooth, blurry, out of focus, unsharp, overly soft",
    "haze": ", foggy, hazy, misty, washed out, low contrast",
    "structure": ", bad structure, malformed, broken, deformed, disjointed",
}
"""Five ways to describe what is to be left behind, each of words that the embedded prior has learnt."""


EVALUATIONS_PER_STEP = {
    "sds": (2, 2), "nfsd": (3, 3), "csd": (3, 3), "vsd": (6, 6), "bridge": (2, 2), "full-bridge": (2, 20),
    "vsd-full-bridge": (6, 33),
}  # fmt: skip
"""Per picture in each stage, to foretell the time that is left; a training step counts as three."""


@dataclass(frozen=True)
class TableRow:
    """A method with what is changed in its settings."""

    name: str
    method: str
    bridge_start: float | None = None
    source_suffix: str | None = None


@dataclass(frozen=True)
class TableSettings:
    """What the user asks for."""

    methods: tuple[str, ...] = METHODS_FOR_PICTURES
    prompts: tuple[str, ...] = DEFAULT_PROMPTS
    seeds: int = 4
    """Pictures of each prompt, each from noise of its own."""
    steps: int | None = None
    """Of every method that optimises; DDIM keeps its own 50."""
    prior: str = "embedded"
    device: str = "auto"
    study: str = "methods"  # a Study

    def __post_init__(self) -> None:
        if not self.methods:
            raise BadInput(f"there is no method; choose from {', '.join(METHODS_FOR_PICTURES)}")
        for method in self.methods:
            check_one_of("method", method, METHODS_FOR_PICTURES)
        for prompt in self.prompts:
            check_prompt(prompt)
        if len(set(self.prompts)) < 2:
            raise BadInput(f"the table needs at least two different prompts; got {len(set(self.prompts))}")
        if len(set(self.prompts)) < len(self.prompts):
            twice = next(prompt for prompt in self.prompts if self.prompts.count(prompt) > 1)
            raise BadInput(f"the prompt {twice!r} comes up twice; give each once and raise --seeds instead")
        check_whole_number("seeds", self.seeds, 1, MOST_SEEDS)
        check_whole_number("steps", self.steps, 1, 1_000_000)
        check_one_of("study", self.study, get_args(Study))

    @property
    def chosen_steps(self) -> int:
        return self.steps or (EMBEDDED_STEPS if self.prior == "embedded" else LARGE_MODEL_STEPS)

    @property
    def rows(self) -> list[TableRow]:
        """Those of the study; its methods only where the study is that of the methods."""
        if self.study == "descriptors":
            bridges = [TableRow(name, "bridge", source_suffix=words) for name, words in DESCRIPTOR_SETS.items()]
            return [TableRow("sds", "sds"), *bridges]
        if self.study == "switch":
            bridges = [TableRow(f"from {start:.0%} on", "bridge", bridge_start=start) for start in SWITCH_POINTS]
            return [TableRow("sds", "sds"), *bridges]
        return [TableRow(method, method) for method in dict.fromkeys(self.methods)]

    @property
    def batches(self) -> list[tuple[str, ...]]:
        """The prompts of each cell of a row."""
        size = max(1, PICTURES_AT_ONCE // self.seeds)
        return [self.prompts[first : first + size] for first in range(0, len(self.prompts), size)]


@dataclass(frozen=True)
class Cell:
    """One row on one batch of prompts: so many pictures of the first prompt, then of the next."""

    row: TableRow
    prompts: tuple[str, ...]
    seeds: int
    seed: int
    """Of all noise in the cell. Cells of equal prompts have the same one, whatever their row."""
    steps: int
    prior: str
    device: str

    @property
    def picture_prompts(self) -> list[str]:
        """One per picture."""
        return [prompt for prompt in self.prompts for _ in range(self.seeds)]

    @property
    def config(self) -> PictureConfig | SamplingConfig:
        """All that decides what comes out, besides prompts, seed and weights."""
        settings = TextToImageSettings(
            self.prompts[0],
            prior=self.prior,
            steps=None if self.row.method == "ddim" else self.steps,
            method=self.row.method,
            bridge_start=self.row.bridge_start,
            source_suffix=self.row.source_suffix,
        )
        if self.row.method == "ddim":
            return settings.resolve_sampling()
        usual = dataclasses.replace(settings, steps=None).resolve()
        config = settings.resolve()
        faster = min(MOST_FASTER, max(1.0, usual.steps / config.steps))
        return dataclasses.replace(config, learning_rate=config.learning_rate * faster)

    @property
    def work(self) -> float:
        """About how many evaluations of the network it takes."""
        config, pictures = self.config, len(self.prompts) * self.seeds
        if isinstance(config, SamplingConfig):
            return 2.0 * config.steps * pictures
        first, second = EVALUATIONS_PER_STEP[self.row.method]
        start = config.distillation.bridge_start
        return config.steps * pictures * (start * first + (1 - start) * second)

    def path(self, folder: Path) -> Path:
        """Where the cell is kept. The name changes with everything that decides what comes out."""
        decides = {
            "config": dataclasses.asdict(self.config),
            "method": self.row.method,
            "prompts": self.prompts,
            "seeds": self.seeds,
            "seed": self.seed,
            "weights": machine.prior_fingerprint(self.prior) or self.prior,
            "device": self.device,
        }
        fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
        return folder / f"{self.row.method}-{folder_name(self.prompts[0])}-{fingerprint}.npz"


def cells_of(settings: TableSettings, row: TableRow, first_seed: int = 0) -> list[Cell]:
    """The cells of one row in the order of the prompts."""
    return [
        Cell(row, prompts, settings.seeds, first_seed + number, settings.chosen_steps, settings.prior, settings.device)
        for number, prompts in enumerate(settings.batches)
    ]


def folder_name(prompt: str) -> str:
    """A prompt as the name of a folder: `a red mug` is `a-red-mug`."""
    letters = "".join(letter.lower() if letter.isalnum() else " " for letter in prompt)
    return "-".join(letters.split())[:80] or "prompt"


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a text file, one a line; empty lines and lines that begin with # are left out.

    Raises:
        BadInput: It cannot be read or holds no prompt.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise BadInput(
            f"the prompts in {path} cannot be read: {reason}; give a text file, one prompt a line"
        ) from error
    prompts = tuple(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))
    if not prompts:
        raise BadInput(f"there is no prompt in {path}; write one a line")
    return prompts


def words_of(prompt: str, known: Sequence[str]) -> str | None:
    """The one word of `known` that the prompt has; None without one or with several."""
    said = set("".join(letter if letter.isalnum() else " " for letter in prompt.lower()).split())
    found = [word for word in known if word in said]
    return found[0] if len(found) == 1 else None
