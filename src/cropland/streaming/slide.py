"""From bands of an image to the rows that come out, with the masks of each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Protocol

import numpy as np
from jaxtyping import Float

from cropland.streaming.schedule import Schedule

__all__ = ["Slide", "slide_down"]


class Slide(Protocol):
    """A network on its way down one image: every call takes the next `band` rows.

    `schedule` says how many calls there are, which masks a call takes, and which rows come out of it.
    """

    schedule: Schedule
    band: int

    def __call__(
        self, image: Float[np.ndarray, "1 band rows width"], masks: Sequence[np.ndarray]
    ) -> Float[np.ndarray, "1 output rows width"]: ...


def slide_down(
    slide: Slide, bands: Iterable[Float[np.ndarray, "1 band rows width"]], height: int
) -> Iterator[Float[np.ndarray, "1 output rows width"]]:
    """The rows of the output, in order, for the bands of an image of that height; the last band may be lower."""
    schedule, band, image = slide.schedule, slide.band, np.empty((1, 0, 0, 0), np.float32)
    for step, given in zip(range(schedule.steps(height, band)), chain(bands, repeat(None)), strict=False):
        image = image if given is None else _filled(given, band)  # after the end of the image anything goes in
        masks = [] if schedule.is_inside(step, band, height) else schedule.masks(step, band, height)
        rows = slide(image, masks)[:, :, schedule.rows(step, band, height)]
        if rows.shape[2]:
            yield rows


def _filled(image: np.ndarray, band: int) -> np.ndarray:
    missing = band - image.shape[2]
    return np.pad(image, ((0, 0), (0, 0), (0, missing), (0, 0))) if missing else image
