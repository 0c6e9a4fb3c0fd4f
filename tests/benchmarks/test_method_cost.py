"""The benchmark of costs: it counts what a step asks for and times what it says."""

import numpy as np
import torch
from random_prior import RandomPrior

from benchmarks import method_cost
from benchmarks.method_cost import COUNTED, TIMED, WARM_UP_ROUNDS, count_step, interleaved_seconds


class CountablePrior(RandomPrior):
    """With the two networks that a step should leave alone."""

    def __init__(self):
        super().__init__()
        self._text_encoder = torch.nn.Identity()
        self._vae = torch.nn.Module()
        self._vae.decoder = torch.nn.Identity()


def test_two_prompt_losses_make_exactly_one_call_with_both_prompts():
    counted = [count_step(stage, CountablePrior(), 3) for stage in TIMED]

    assert [each.calls.batches for each in counted] == [[6], [6]]
    assert [(each.encoded_texts, each.decoded_pictures) for each in counted] == [(0, 0), (0, 0)]


def test_text_and_decoding_on_the_way_would_be_seen(monkeypatch):
    real = RandomPrior.predict_noise

    def wasteful(self, noisy, timesteps, embeddings):
        self._text_encoder(embeddings)
        self._vae.decoder(noisy)
        return real(self, noisy, timesteps, embeddings)

    monkeypatch.setattr(RandomPrior, "predict_noise", wasteful)

    counted = count_step(TIMED[0], CountablePrior(), 1)

    assert (counted.encoded_texts, counted.decoded_pictures) == (1, 1)


def test_every_method_that_optimises_is_counted():
    assert {stage.method for stage in COUNTED} == set(method_cost.METHODS)
    assert all(stage.is_second == stage.method.endswith("bridge") for stage in COUNTED)


def test_runs_take_turns():
    order = []

    seconds = interleaved_seconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)

    assert "".join(order[:6]) == "abbaab"
    assert len(order) == 2 * (WARM_UP_ROUNDS + 2)
    assert all(len(values) == 2 and np.isfinite(values).all() for values in seconds.values())
