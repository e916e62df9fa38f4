from collections.abc import Mapping, Sequence

import pytest
import torch

from cropland.lab.charts import Lines
from cropland.lab.experiments import separable_sweeps as sweeps
from cropland.lab.measure import Budget, Times
from cropland.lab.stacks import Both, Case

CPU = torch.device("cpu")
BUDGET = Budget("tiny", rounds=2, size=16, channels=8, seeds=0, steps=0, every=1)


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
