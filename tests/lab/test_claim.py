"""Verdicts from numbers and limits, in both directions, and the order of a chapter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.lab.claim import Finding, Verdict, chapters, claims, decide, experiments, label, place
from cropland.lab.measure import Number, exactly

CLAIMS = [(name, key) for name in experiments() for key in claims(name)]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (6.5, 7.0, Verdict.HOLDS),
        (2.0, 5.9, Verdict.IN_PART),
        (0.5, 0.9, Verdict.DOES_NOT),
        (5.0, 7.0, Verdict.NOT_DECIDED),
        (0.9, 1.1, Verdict.NOT_DECIDED),
        (0.5, 7.0, Verdict.NOT_DECIDED),
    ],
)
def test_the_verdict_in_both_directions(low: float, high: float, verdict: Verdict):
    assert decide(Number((low + high) / 2, low, high), holds=6.0, in_part=1.0) is verdict
    assert decide(Number(-(low + high) / 2, -high, -low), holds=-6.0, in_part=-1.0) is verdict


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10))
def test_an_exact_number_is_always_decided(value: float, holds: float, in_part: float):
    assert decide(exactly(value), holds=holds, in_part=in_part) is not Verdict.NOT_DECIDED


@pytest.mark.parametrize(("name", "key"), CLAIMS)
def test_every_rule_can_say_everything(name: str, key: str):
    """Made-up numbers in all directions: far beyond `holds`, between, short of `in_part`, and across both."""
    claim = claims(name)[key]
    best, worst = claim.holds, claim.in_part
    reach = (best - worst) or max(abs(best), 1e-9)
    for value, verdict in (
        (best + reach, Verdict.HOLDS),
        (worst - reach, Verdict.DOES_NOT),
        *([((best + worst) / 2, Verdict.IN_PART)] if best != worst else []),
    ):
        assert claim.verdict(Finding(f"{name}.{key}", {claim.decides: exactly(value)})) is verdict
    low, high = sorted((best + reach, worst - reach))
    assert claim.verdict(Finding(f"{name}.{key}", {claim.decides: Number(0, low, high)})) is Verdict.NOT_DECIDED


def test_without_its_number_a_claim_is_not_measured():
    claim = claims("transposed")["values"]
    assert claim.verdict(Finding("transposed.values", missing="nothing")) is Verdict.NOT_MEASURED


def test_numbers_in_a_label_keep_their_place():
    words = label("kernel 3, stride 2", "transposed")
    assert words.zh == "核 3，步幅 2"
    assert label("unheard of", "transposed").zh == "unheard of"


def test_the_order_of_a_chapter():
    told = [f"separable_{part}" for part in chapters()["separable"].parts]
    assert sorted(sorted(told), key=place) == told != sorted(told)
    assert place("walk") < place("convolution") < place("convolution_zzz") < place("separable_stopwatch")
