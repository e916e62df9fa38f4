"""Every window has its three panels, whatever their number."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Picture

from cropland.suggesting.look import Look
from cropland.suggesting.pictures import PANEL, draw


@pytest.mark.parametrize("count", [1, 5])
def test_each_window_is_drawn(count: int):
    shape = (40, 50)
    half = np.arange(50) < 25
    probability, disagreement = np.broadcast_to(half, shape).astype(np.float32), np.zeros(shape, np.float32)
    valid = np.ones(shape, bool)
    look = Look(probability, disagreement, valid, np.zeros(1))
    rows = [(f"{number}. Why", np.full((*shape, 3), (200, 0, 200), np.uint8), look) for number in range(count)]
    with Picture.open(BytesIO(draw("a name 名", rows))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    scene = (np.abs(pixels - (200, 0, 200)).max(axis=2) < 3).sum()
    cropland = (np.abs(pixels - (28, 92, 42)).max(axis=2) < 3).sum()
    assert scene == pytest.approx(count * PANEL**2 * 0.8, rel=0.05)
    assert cropland == pytest.approx(count * PANEL**2 * 0.8 / 2, rel=0.05)
