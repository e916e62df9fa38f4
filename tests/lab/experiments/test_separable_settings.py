import pytest
import torch

from cropland.blocks.separable import Separable
from cropland.lab.experiments import separable_settings as settings
from cropland.lab.measure import Times
from cropland.lab.stacks import Case


def test_the_backward_pass_reaches_image_and_every_weight():
    run = settings.there_and_back(Separable, Case(4, 8, layers=2), torch.device("cpu"))
    with torch.no_grad():  # whatever ran before
        slopes = run()
    assert isinstance(slopes, tuple)
    assert [tuple(slope.shape) for slope in slopes[:3]] == [(1, 4, 8, 8), (4, 1, 3, 3), (4, 4, 1, 1)]
    assert len(slopes) == 1 + 2 * 4 and all(bool(slope.abs().sum() > 0) for slope in slopes[:3])


def test_the_backward_pass_adds_nothing_up():
    run = settings.there_and_back(Separable, Case(4, 8), torch.device("cpu"))
    first, second = run(), run()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, second, strict=True))


def test_faster_is_before_over_after():
    before = {"ordinary": Times(0, (4.0, 4.0)), "separable": Times(0, (3.0, 3.0))}
    after = {"ordinary": Times(0, (2.0, 2.0)), "separable": Times(0, (6.0, 6.0))}
    assert {kind: number.value for kind, number in settings.faster(before, after).items()} == {
        "ordinary": 2.0,
        "separable": 0.5,
    }


def test_without_cuda_the_devices_are_not_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settings._devices(Case(4, 8), 2).missing == "this machine has no CUDA device"
