"""Every method on a real U-Net of every kind of prediction: its identities, its prompts, how often it asks."""

import pytest
import torch
from colour_prior import ColourPrior
from random_prior import KINDS, RandomPrior

from backend.config import DistillationConfig, LinearRamp
from backend.diffusion.control_network import Control
from backend.distillation import Distillation, Reference
from backend.errors import BadInput

BATCHES = [1, 3, 64]
VIEWS = ["front view", "side view", "back view"]
FLAWS, QUALITY = ", blurry, noisy", ", sharp"


@pytest.fixture(params=KINDS)
def prior(request):
    return RandomPrior(request.param)


def config(**changes):
    settings = {"guidance_scale": 7.5, "bridge_start": 0.5, "bridge_scale": 7.5}
    settings |= {"source_suffix": FLAWS, "target_suffix": QUALITY}
    return DistillationConfig(**(settings | changes))


def latents_of(batch):
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(batch))


def distil(prior, configuration, batch=3, progress=0.9, prompt="a mug", **parts):
    """The same timesteps and noise for every method."""
    distillation = Distillation(prompt, configuration, prior, torch.Generator().manual_seed(0), **parts)
    views = [VIEWS[index % 3] for index in range(batch)]
    return distillation.gradient_of(latents_of(batch), views, progress)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_bridge_between_equal_prompts_is_nothing(prior, batch):
    gradient = distil(prior, config(target_suffix=FLAWS), batch).gradient

    # The same prediction twice, up to how a batch is summed.
    assert gradient.abs().max() < 1e-3
    assert distil(prior, config(), batch).gradient.abs().max() > 0.05


@pytest.mark.parametrize("batch", BATCHES)
def test_csd_with_equal_weights_is_the_bridge_from_its_negative(prior, batch):
    even = LinearRamp(1.0, 1.0)
    csd = config(method="csd", csd_negative_suffix=FLAWS, csd_positive_weight=even, csd_negative_weight=even)

    found = distil(prior, csd, batch).gradient

    torch.testing.assert_close(found, distil(prior, config(target_suffix=""), batch).gradient, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("batch", BATCHES)
def test_one_step_of_the_full_bridge_from_shared_noise_is_the_bridge(prior, batch):
    full = config(method="full-bridge", bridge_form="shared-noise", bridge_steps=1)

    torch.testing.assert_close(
        distil(prior, full, batch).gradient, distil(prior, config(), batch).gradient, rtol=1e-2, atol=2e-3
    )


@pytest.mark.parametrize("batch", BATCHES)
def test_vsd_that_has_learnt_nothing_takes_the_models_own_prediction_for_the_source(prior, batch):
    # Without views, since the second model is told none: E(0) + s (E(y) - E(0)) - E(y) = (s - 1)(E(y) - E(0)).
    untrained = config(method="vsd", adapter_learning_rate=0.0)
    generator = torch.Generator()
    distillation = Distillation("a mug", untrained, prior, generator)
    generator.manual_seed(0)
    found = distillation.gradient_of(latents_of(batch), [""] * batch, 0.1).gradient

    csd = config(method="csd", guidance_scale=6.5, csd_negative_weight=LinearRamp(0.0, 0.0))
    plain = Distillation("a mug", csd, prior, torch.Generator().manual_seed(0))
    expected = plain.gradient_of(latents_of(batch), [""] * batch, 0.1).gradient
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize("batch", BATCHES)
def test_perp_neg_turns_sds_away_from_the_opposite_view_and_not_from_its_own(prior, batch):
    def gradient(weight, opposite):
        settings = config(method="sds", perp_neg_weight=weight)
        distillation = Distillation("a mug", settings, prior, torch.Generator().manual_seed(0))
        views = ["front view"] * batch
        return distillation.gradient_of(latents_of(batch), views, 0.1, opposite_views=[opposite] * batch).gradient

    plain = gradient(0.0, "back view")

    # A view that is its own opposite has nothing perpendicular to itself.
    torch.testing.assert_close(gradient(-2.0, "front view"), plain, rtol=1e-2, atol=5e-3)
    assert (gradient(-2.0, "back view") - plain).abs().max() > 0.05


@pytest.mark.parametrize("batch", BATCHES)
def test_an_edit_of_a_picture_into_itself_is_nothing(prior, batch):
    reference = Reference(latents_of(batch), "a mug")
    distillation = Distillation("a mug", config(method="dds"), prior, torch.Generator(), reference=reference)

    gradient = distillation.gradient_of(latents_of(batch), [""] * batch, 0.0).gradient

    assert gradient.abs().max() < 1e-3


@pytest.mark.parametrize(
    ("method", "calls"),
    [
        ("sds", [6]),
        ("bridge", [6]),
        ("nfsd", [9]),
        ("csd", [9]),
        ("dds", [12]),
        ("vsd", [6]),  # its second model is counted by itself
        ("full-bridge", [3] * 20),  # ten steps up, ten down
    ],
)
def test_each_method_asks_the_network_once_for_all_its_prompts(method, calls):
    prior = RandomPrior()

    distil(prior, config(method=method), reference=Reference(latents_of(3), "a cup"))

    assert prior.calls == calls


def test_the_full_bridge_from_what_is_learnt_asks_the_guided_model_ten_times():
    prior = RandomPrior()

    distil(prior, config(method="vsd-full-bridge"))

    assert prior.calls == [6] * 10


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("sds", ("SDS", "SDS")),
        ("bridge", ("SDS", "bridge")),
        ("full-bridge", ("SDS", "full bridge")),
        ("vsd-full-bridge", ("VSD", "full bridge")),
        ("nfsd", ("NFSD", "NFSD")),
        ("csd", ("CSD", "CSD")),
    ],
)
def test_two_stage_methods_change_where_they_were_told(method, stages):
    found = [distil(RandomPrior(), config(method=method), progress=at).stage for at in (0.49, 0.5)]

    assert tuple(found) == stages


def test_each_sample_may_have_its_own_prompt():
    prior = RandomPrior()
    prompts = ["a mug", "a chair", "a mug"]

    together = distil(prior, config(method="sds"), prompt=prompts).gradient
    mugs = distil(prior, config(method="sds"), prompt="a mug").gradient

    torch.testing.assert_close(together[[0, 2]], mugs[[0, 2]], rtol=1e-3, atol=1e-3)
    assert (together[1] - mugs[1]).abs().max() > 0.05


def test_methods_say_what_they_lack():
    with pytest.raises(BadInput, match="vsd trains adapters on the model's network, and colours has none"):
        Distillation("a mug", config(method="vsd"), ColourPrior(), torch.Generator())
    with pytest.raises(BadInput, match="needs the picture to begin with"):
        distil(RandomPrior(), config(method="dds"))


def test_a_variational_method_goes_on_from_its_state_as_if_unbroken(prior):
    def distil_on(distillation, generator, times):
        for _ in range(times):
            last = distillation.gradient_of(latents_of(3), VIEWS, 0.1, torch.eye(4).flatten().repeat(3, 1))
        return last.gradient, generator.get_state()

    def made():
        generator = torch.Generator().manual_seed(3)
        return Distillation("a mug", config(method="vsd", adapter_learning_rate=0.01), prior, generator), generator

    unbroken, _ = distil_on(*made(), 4)
    half, generator = made()
    _, random = distil_on(half, generator, 2)
    state = half.state()
    resumed, generator = made()
    resumed.load_state(state)
    generator.set_state(random)

    assert torch.equal(distil_on(resumed, generator, 2)[0], unbroken)


class DrawnPrior(RandomPrior):
    """Adds to a prediction what its drawing weighs, and remembers the strengths."""

    def use_control_network(self, identifier):
        pass

    def predict_controlled_noise(self, noisy, timesteps, embeddings, control):
        self.strengths = control.strengths
        weights = control.ink.mean(dim=(1, 2)) * torch.tensor(control.strengths)
        return self.predict_noise(noisy, timesteps, embeddings) + weights[:, None, None, None]


DRAWN = Control(torch.ones(2, 8, 8), (0.0, 0.5))


@pytest.mark.parametrize("branches", ["target", "both"])
def test_a_drawing_counts_for_the_target_or_for_both(branches):
    prior = DrawnPrior()
    changes = config(method="bridge", bridge_scale=2.0, control_branches=branches)
    distillation = Distillation("a mug", changes, prior, torch.Generator().manual_seed(0))
    plain = Distillation("a mug", changes, prior, torch.Generator().manual_seed(0))

    found = distillation.gradient_of(latents_of(2), VIEWS[:2], 0.9, control=DRAWN).gradient
    without = plain.gradient_of(latents_of(2), VIEWS[:2], 0.9).gradient

    # Of a difference of two predictions nothing is left where both had the same added.
    assert prior.strengths == ((0.0, 0.0) if branches == "target" else (0.0, 0.5)) + (0.0, 0.5)
    difference = found - without
    assert difference[0].abs().max() == 0
    assert (difference[1].abs().min() > 1e-4) == (branches == "target")


@pytest.mark.parametrize("method", ["sds", "nfsd", "csd", "vsd", "bridge", "full-bridge", "vsd-full-bridge"])
@pytest.mark.parametrize("progress", [0.1, 0.9])
def test_every_method_is_steered_by_drawings(method, progress):
    # Each with a model of its own, as variational methods put adapters on its network.
    plain, drawn = (
        Distillation("a mug", config(method=method), DrawnPrior(), torch.Generator().manual_seed(0)) for _ in range(2)
    )
    cameras = torch.eye(4).flatten().repeat(2, 1)

    without = plain.gradient_of(latents_of(2), VIEWS[:2], progress, cameras).gradient
    found = drawn.gradient_of(latents_of(2), VIEWS[:2], progress, cameras, control=DRAWN).gradient

    torch.testing.assert_close(found[0], without[0], rtol=1e-3, atol=1e-3)
    assert (found[1] - without[1]).abs().max() > 1e-3
