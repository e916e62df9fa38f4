"""The torch engine: the network's own numbers at every precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cropland.engines import Precision
from cropland.engines.torch import open_engine
from cropland.streaming.slide import slide_down
from small_model import save_model


@pytest.mark.parametrize(("precision", "most"), [("f32", 1e-5), ("f64", 1e-12)])
def test_sliding_gives_the_logits_of_the_whole(tmp_path: Path, precision: Precision, most: float) -> None:
    engine = open_engine(save_model(tmp_path / "m.safetensors"), precision=precision)
    image = np.random.default_rng(0).random((1, 3, 500, 41))
    slide = engine.slide(41)
    bands = np.split(image, range(slide.band, 500, slide.band), axis=2)
    np.testing.assert_allclose(np.concatenate(list(slide_down(slide, bands, 500)), 2), engine(image), atol=most)


@pytest.mark.parametrize("precision", ["fastest", "f32", "f64"])
def test_logits_are_the_networks(tmp_path: Path, precision: Precision) -> None:
    model = save_model(tmp_path / "m.safetensors")
    image = np.random.default_rng(0).random((2, 3, 33, 50), np.float32)
    with torch.no_grad():
        expected = model.network().double()(torch.from_numpy(image).double()).numpy()
    came = open_engine(model, precision=precision)(image)
    exact = precision == "f64" or (precision == "f32" and not torch.cuda.is_available())
    np.testing.assert_allclose(came, expected, atol={"f64": 1e-12, "f32": 1e-5}[precision] if exact else 2e-2)
