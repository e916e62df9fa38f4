"""A picture travels inside a page."""

import base64

import numpy as np
from rasterio.io import MemoryFile

from cropland.data_uri import jpeg_uri


def test_a_jpeg_in_a_data_uri_has_the_pixels():
    pixels = np.zeros((16, 24, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    kind, _, data = jpeg_uri(pixels, quality=85, subsampling=0).partition(";base64,")
    assert kind == "data:image/jpeg"
    with MemoryFile(base64.b64decode(data)) as memory, memory.open() as file:
        assert np.abs(file.read().transpose(1, 2, 0).astype(int) - pixels).max() < 6
