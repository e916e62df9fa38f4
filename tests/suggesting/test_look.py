"""A look is what the network says of five views, put back in place, and what it sees."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cropland.geo.scene import Image
from cropland.geo.statistics import Statistics
from cropland.model import ModelFile, WorkingPixel, build_network
from cropland.recipe import parse_recipe
from cropland.suggesting import look
from cropland.suggesting.look import Looker
from small_model import save_model

BANDS = ("red", "green", "blue")
SCENE = Statistics(BANDS, (10.0, 20.0, 30.0), (110.0, 170.0, 230.0))
OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(4, 1, 1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
"""


def image(height: int = 40, width: int = 56) -> Image:
    values = np.random.default_rng(0).uniform(0, 250, (3, height, width)).astype(np.float32)
    valid = np.ones((height, width), bool)
    valid[:9, :7] = False
    return Image(np.where(valid, values, np.float32(0)), valid, bands=BANDS)


def told(network: torch.nn.Module, values: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return torch.sigmoid(network(torch.from_numpy(values.copy())[None]))[0, 0]


@pytest.mark.parametrize("at_once", [1, 5 * 256**2])
def test_views_are_predicted_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(look, "AT_ONCE", at_once)
    model, seen = save_model(tmp_path / "m.safetensors"), image()
    network = model.network()
    normal = SCENE.normalise(seen.values, seen.valid)
    low = np.array(SCENE.low)
    darker, brighter = (
        Statistics(BANDS, SCENE.low, tuple(low + factor * (np.array(SCENE.high) - low))) for factor in (1.25, 0.8)
    )
    views = [
        told(network, normal),
        told(network, normal[:, :, ::-1]).flip(1),
        told(network, normal[:, ::-1, ::-1]).flip(0, 1),
        *(told(network, each.normalise(seen.values, seen.valid)) for each in (darker, brighter)),
    ]
    assert min(float((view - views[0]).abs().max()) for view in views[1:]) > 1e-3
    came = Looker(model).look(seen, SCENE)
    np.testing.assert_allclose(came.probability, views[0], atol=1e-5)
    np.testing.assert_allclose(came.disagreement, torch.stack(views).std(0, unbiased=False) / 0.5, atol=1e-5)
    np.testing.assert_array_equal(came.valid, seen.valid)


def test_a_feature_is_the_mean_of_the_last_map_of_the_encoder(tmp_path: Path):
    model, seen = save_model(tmp_path / "m.safetensors"), image()
    normal = torch.from_numpy(SCENE.normalise(seen.values, seen.valid))[None]
    with torch.no_grad():
        expected = model.network().encoder(normal)[-1][0].mean((1, 2))
    looker = Looker(model)
    np.testing.assert_allclose(looker.feature(seen, SCENE), expected, atol=1e-5)
    np.testing.assert_allclose(looker.look(seen, SCENE).feature, expected, atol=1e-5)


def test_without_an_encoder_it_is_that_of_the_input_of_the_layer_that_runs_last(tmp_path: Path):
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    recipe = parse_recipe({"bands": BANDS, "network": {"name": f"{tmp_path / 'own.py'}:Net"}})
    network = build_network(recipe)
    model = ModelFile(recipe, (WorkingPixel(1.0, 0.9, 0.5),), 1, 1)
    model.save(tmp_path / "own.safetensors", network.state_dict())
    seen = image()
    normal = torch.from_numpy(SCENE.normalise(seen.values, seen.valid))[None]
    with torch.no_grad():
        (weight, bias) = (network.state_dict()[f"first.{name}"] for name in ("weight", "bias"))
        expected = torch.relu(torch.conv2d(normal, weight.half().float(), bias, padding=1))[0].mean((1, 2))
    came = Looker(ModelFile.load(tmp_path / "own.safetensors", trust=True)).feature(seen, SCENE)
    np.testing.assert_allclose(came, expected, atol=1e-5)
