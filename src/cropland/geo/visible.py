"""A scene for the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING
from warnings import catch_warnings

import numpy as np
from jaxtyping import Float32
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

if TYPE_CHECKING:
    from cropland.geo.scene import Scene


def visible(scene: Scene, *, max_pixels: int) -> Float32[np.ndarray, "height width 4"]:
    """Red, green and blue where the scene has them, else its first band, from its 2nd to its 98th percentile; and
    where it is valid; all 0..1."""
    names = ("red", "green", "blue")
    bands = names if all(name in scene.bands for name in names) else scene.bands[:1] * 3
    image = scene.read_decimated(bands=bands, max_pixels=max_pixels)
    seen = image.values[:, image.valid]
    low, high = np.percentile(seen, (2, 98), axis=1)[:, :, None, None] if seen.size else np.zeros((2, 3, 1, 1))
    stretched = np.clip((image.values - low) / np.maximum(high - low, 1e-6), 0, 1)
    return np.concatenate([stretched, image.valid[None]]).transpose(1, 2, 0).astype(np.float32)


def thumbnail(scene: Scene, *, edge: int = 240) -> bytes:
    """A PNG of about `edge` x `edge` pixels."""
    shown = (255 * visible(scene, max_pixels=edge**2)).astype(np.uint8).transpose(2, 0, 1)
    bands, height, width = shown.shape
    with MemoryFile() as memory, catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        with memory.open(driver="PNG", count=bands, height=height, width=width, dtype="uint8") as file:
            file.write(shown)
        return bytes(memory.read())
