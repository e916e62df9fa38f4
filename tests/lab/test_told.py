"""A finding told in a notebook."""

import pytest

from cropland.lab.finding import Finding
from cropland.lab.number import exactly
from cropland.lab.results import Results
from cropland.lab.told import told


def results():
    numbers = {name: exactly(0.0) for name in ("error", "larger", "slower")}
    return Results({"device": "a machine"}, "quick", (Finding("convolution.product", numbers),))


@pytest.mark.parametrize(("language", "verdict"), [("en", "*holds*"), ("zh", "*成立*")])
def test_claim_verdict_and_answer_in_either_language(language, verdict):
    claim, _, answer = told(results(), "convolution.product", language).splitlines()
    assert verdict in claim and "0" in answer


def test_what_was_not_measured_is_an_error():
    with pytest.raises(KeyError):
        told(results(), "convolution.fast", "en")
