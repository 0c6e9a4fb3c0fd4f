"""The benchmark of a card at toy sizes on the CPU, so that it is known to run before it meets one."""

import pytest
import torch

from benchmarks import gpu


@pytest.fixture(scope="module")
def bench():
    return gpu.run(gpu.TINY, torch.device("cpu"), list(gpu.SECTIONS))


def test_every_section_runs(bench):
    assert not [line for line in bench.lines if "could not be measured" in line]
    assert sum(line.startswith("\n## ") for line in bench.lines) == len(gpu.SECTIONS)
    assert bench.found["step"] > bench.found["unet"] > 0


def test_a_step_computes_what_its_parts_do_and_hardly_more(bench):
    (line,) = [line for line in bench.lines if line.startswith("- FLOPs of the step")]

    assert float(line.split()[-1]) == pytest.approx(1.0, abs=0.03)


def test_a_section_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def broken(bench):
        raise RuntimeError("no card today")

    monkeypatch.setitem(gpu.SECTIONS, "parts", broken)

    found = gpu.run(gpu.TINY, torch.device("cpu"), ["machine", "parts", "memory"])

    assert "This could not be measured: RuntimeError: no card today" in found.lines
    assert found.lines[-1].startswith("\n## The most that a step needs")
