"""Where a mask is right and wrong, as pictures small enough to live inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8

from cropland.evaluation.confusion import UNKNOWN
from cropland.evaluation.score import Picture

__all__ = ["as_uri", "image", "verdict"]

LONGEST = 512
# Okabe and Ito (2008): told apart by every kind of colour vision; report.html explains them in the same colours.
RIGHT, FALSE, MISSED = (0, 158, 115), (213, 94, 0), (86, 180, 233)
RGB = UInt8[np.ndarray, "height width 3"]


def image(picture: Picture) -> RGB | None:
    """The image alone, at most 512 pixels long; None for a mask without imagery."""
    return None if picture.rgb is None else _small(picture.rgb)


def verdict(picture: Picture) -> RGB:
    """The image in grey with cropland found in green, false alarm in orange, missed in blue; hatched where unknown."""
    said, true = _small(picture.said), _small(picture.true)
    grey = np.full(said.shape, 210.0) if picture.rgb is None else _small(picture.rgb).mean(axis=2) * 0.7 + 60
    drawn = np.repeat(grey[:, :, None], 3, axis=2)
    for colour, where, strength in (
        (RIGHT, (said == 1) & (true == 1), 0.35),
        (FALSE, (said == 1) & (true == 0), 0.8),
        (MISSED, (said == 0) & (true == 1), 0.8),
        ((40, 40, 40), _hatch(said.shape) & ((said == UNKNOWN) | (true == UNKNOWN)), 0.5),
    ):
        drawn[where] += (np.array(colour) - drawn[where]) * strength
    return drawn.astype(np.uint8)


def as_uri(pixels: RGB) -> str:
    """The pixels as a JPEG in a data URI."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="jpg", pil_kwargs={"quality": 85, "subsampling": 0})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _small(pixels: np.ndarray) -> np.ndarray:
    step = -(-max(pixels.shape[:2]) // LONGEST)
    return pixels[::step, ::step]


def _hatch(shape: tuple[int, ...]) -> np.ndarray:
    return np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 8 < 2
