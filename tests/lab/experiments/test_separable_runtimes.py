import math
import shutil

import numpy as np
import pytest
import torch

from cropland.blocks.separable import Separable
from cropland.lab.experiments import separable_runtimes as runtimes
from cropland.lab.measure import Times
from cropland.lab.stacks import Case, image_of, stack

CPU = torch.device("cpu")
ENOUGH = runtimes.QUICK.rounds


def test_openvino_computes_what_torch_does():
    case = Case(8, 16, layers=2)
    network, image = stack(Separable, case, CPU), image_of(case, CPU)
    found = runtimes.opened(runtimes.converted(network, image), image, "f32")()
    with torch.no_grad():
        expected = network(image)
    assert np.abs(next(iter(found.values())) - expected.numpy()).max() < 1e-4


def test_seconds_are_paid_back_by_what_a_call_saves():
    calls = runtimes.paid_back(10.0, Times(0, (3.0, 3.0, 3.0)), Times(0, (1.0, 1.0, 1.0)))
    assert (calls.value, calls.low, calls.high) == (5.0, 5.0, 5.0)


def test_a_call_that_saves_nothing_never_pays():
    calls = runtimes.paid_back(10.0, Times(0, (1.0, 1.0, 1.0)), Times(0, (2.0, 1.0, 0.5)))
    assert calls.value == math.inf and calls.high == math.inf and math.isfinite(calls.low)


def test_why_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert runtimes._why_not(CPU, ENOUGH - 1) == "compiling takes longer than this budget allows"
    assert runtimes._why_not(CPU, ENOUGH) == "torch.compile finds no compiler on this machine"


def test_openvino_is_not_measured_beside_a_gpu():
    finding = runtimes._openvino(Case(8, 16), torch.device("cuda"), 2)
    assert finding.missing and not finding.numbers


def test_what_is_compiled_is_timed_apart_from_its_first_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(runtimes, "_why_not", lambda device, rounds: "")
    monkeypatch.setattr(runtimes, "first_call", lambda compiled, image: 7.0)
    gains, paid = runtimes._compiled(Case(8, 16, layers=2), CPU, 2)
    assert gains.numbers["share"].value == pytest.approx(gains.numbers["after"].value / Case(8, 16).promised)
    assert paid.numbers["seconds"].value == paid.numbers["start"].value == 7.0
