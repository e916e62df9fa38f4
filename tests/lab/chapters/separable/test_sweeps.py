"""Gains from made-up times, sizes that do not fit, and what runs the layers."""

import math
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from cropland.blocks.separable import Separable
from cropland.lab.chapters.separable import sweeps
from cropland.lab.charts import Lines
from cropland.lab.measure import Budget, Times
from cropland.lab.stacks import Both, Case, image_of, stack

CPU = torch.device("cpu")
BUDGET = Budget("tiny", rounds=2, size=16, channels=8, seeds=0, steps=0, every=1)
ENOUGH = sweeps.QUICK.rounds


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A machine on which a layer takes as long as its multiply-adds, and every call of a stack a second on top."""
    asked: list[tuple[int, ...]] = []

    def both(case: Case, _: torch.device) -> dict[str, float]:
        asked.append((case.channels, case.size, case.batch, case.layers))
        return {"ordinary": seconds(case, case.promised), "separable": seconds(case, 1.0)}

    def in_turn(ways: Mapping[str, Both], _: torch.device, rounds: int) -> dict[str, dict[str, Times]]:
        return {way: {kind: Times(0.0, (spent,) * rounds) for kind, spent in its.items()} for way, its in ways.items()}

    monkeypatch.setattr(sweeps, "both", both)
    monkeypatch.setattr(sweeps, "forward", lambda block, case, device: seconds(case, 1.0))
    monkeypatch.setattr(sweeps, "in_turn", in_turn)
    return asked


def seconds(case: Case, work: float) -> float:
    return 1.0 + case.layers * work


def found() -> dict[str, tuple[dict[str, float], Lines]]:
    findings = list(sweeps.separable_sweeps(CPU, BUDGET))
    return {f.claim.split(".")[1]: ({k: v.value for k, v in f.numbers.items()}, f.charts[0]) for f in findings}


def test_one_factor_varies_about_the_middle(timed: list[tuple[int, ...]]):
    found()
    middle = (8, 16, 1, 1)
    assert all(sum(a != b for a, b in zip(case, middle, strict=True)) <= 1 for case in timed)
    assert [len({case[factor] for case in timed}) for factor in range(4)] == [7, 6, 5, 5]


@pytest.mark.usefixtures("timed")
def test_gains_come_from_the_times():
    numbers, chart = found()["channels"]
    promised = 9 * 512 / 521
    assert numbers["wide"] == pytest.approx((1 + promised) / 2) and numbers["promised"] == pytest.approx(promised)
    assert numbers["share"] == pytest.approx(numbers["wide"] / promised)
    assert [v.value for v in curve(chart, "promised by multiply-adds")] == pytest.approx(
        [9 * c / (9 + c) for c in chart.at]
    )


@pytest.mark.usefixtures("timed")
def test_depth_spreads_what_a_call_costs():
    layers, depth = found()["layers"][0], found()["depth"][0]
    promised = 9 * 8 / 17
    assert layers["one"] == pytest.approx((1 + promised) / 2) and layers["six"] == pytest.approx((1 + 6 * promised) / 7)
    assert depth["doubled"] == pytest.approx((1 + 6 * promised) / 13) and depth["promised"] == pytest.approx(
        promised / 2
    )


@pytest.mark.usefixtures("timed")
def test_what_does_not_change_with_the_size_has_no_spread():
    numbers, _ = found()["size"]
    assert numbers["spread"] == 1.0


def test_a_size_that_does_not_fit_is_halved_and_said(timed: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweeps, "free_bytes", lambda device: 4 * 4 * 8 * 256**2 / sweeps.SHARE)
    _, size, *_ = sweeps.separable_sweeps(CPU, BUDGET)
    assert list(size.notes) == ["image reduced from 512 to 256 pixels: memory"]
    assert max(case[1] for case in timed) == 256


def curve(chart: Lines, name: str) -> Sequence:
    return [value for value in chart.curves[name] if value is not None]


def test_the_backward_pass_reaches_image_and_every_weight():
    run = sweeps.there_and_back(Separable, Case(4, 8, layers=2), torch.device("cpu"))
    with torch.no_grad():  # whatever ran before
        slopes = run()
    assert isinstance(slopes, tuple)
    assert [tuple(slope.shape) for slope in slopes[:3]] == [(1, 4, 8, 8), (4, 1, 3, 3), (4, 4, 1, 1)]
    assert len(slopes) == 1 + 2 * 4 and all(bool(slope.abs().sum() > 0) for slope in slopes[:3])


def test_the_backward_pass_adds_nothing_up():
    run = sweeps.there_and_back(Separable, Case(4, 8), torch.device("cpu"))
    first, second = run(), run()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, second, strict=True))


def test_faster_is_before_over_after():
    before = {"ordinary": Times(0, (4.0, 4.0)), "separable": Times(0, (3.0, 3.0))}
    after = {"ordinary": Times(0, (2.0, 2.0)), "separable": Times(0, (6.0, 6.0))}
    assert {kind: number.value for kind, number in sweeps.faster(before, after).items()} == {
        "ordinary": 2.0,
        "separable": 0.5,
    }


def test_without_cuda_the_devices_are_not_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sweeps._devices(Case(4, 8), 2).missing == "this machine has no CUDA device"


def test_openvino_computes_what_torch_does():
    case = Case(8, 16, layers=2)
    network, image = stack(Separable, case, CPU), image_of(case, CPU)
    found = sweeps.opened(sweeps.converted(network, image), image, "f32")()
    with torch.no_grad():
        expected = network(image)
    assert np.abs(next(iter(found.values())) - expected.numpy()).max() < 1e-4


def test_seconds_are_paid_back_by_what_a_call_saves():
    calls = sweeps.paid_back(10.0, Times(0, (3.0, 3.0, 3.0)), Times(0, (1.0, 1.0, 1.0)))
    assert (calls.value, calls.low, calls.high) == (5.0, 5.0, 5.0)


def test_a_call_that_saves_nothing_never_pays():
    calls = sweeps.paid_back(10.0, Times(0, (1.0, 1.0, 1.0)), Times(0, (2.0, 1.0, 0.5)))
    assert calls.value == math.inf and calls.high == math.inf and math.isfinite(calls.low)


def test_why_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert sweeps._why_not(CPU, ENOUGH - 1) == "compiling takes longer than this budget allows"
    assert sweeps._why_not(CPU, ENOUGH) == "torch.compile finds no compiler on this machine"


def test_openvino_is_not_measured_beside_a_gpu():
    finding = sweeps._openvino(Case(8, 16), torch.device("cuda"), 2)
    assert finding.missing and not finding.numbers


def test_what_is_compiled_is_timed_apart_from_its_first_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(sweeps, "_why_not", lambda device, rounds: "")
    monkeypatch.setattr(sweeps, "first_call", lambda compiled, image: 7.0)
    gains, paid = sweeps._compiled(Case(8, 16, layers=2), CPU, 2)
    assert gains.numbers["share"].value == pytest.approx(gains.numbers["after"].value / Case(8, 16).promised)
    assert paid.numbers["seconds"].value == paid.numbers["start"].value == 7.0
