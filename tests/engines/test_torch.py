"""The torch engine: the network's own numbers at every precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cropland.engines import Precision
from cropland.engines.torch import open_engine
from small_model import save_model


@pytest.mark.parametrize("precision", ["fastest", "f32", "f64"])
def test_logits_are_the_networks(tmp_path: Path, precision: Precision) -> None:
    model = save_model(tmp_path / "m.safetensors")
    image = np.random.default_rng(0).random((2, 3, 33, 50), np.float32)
    with torch.no_grad():
        expected = model.network().double()(torch.from_numpy(image).double()).numpy()
    came = open_engine(model, precision=precision)(image)
    exact = precision == "f64" or (precision == "f32" and not torch.cuda.is_available())
    np.testing.assert_allclose(came, expected, atol={"f64": 1e-12, "f32": 1e-5}[precision] if exact else 2e-2)
