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
    slide: Slide,
    bands: Iterable[Float[np.ndarray, "1 band rows width"]],
    height: int,
    *,
    first: int = 0,
    radius: int | None = None,
) -> Iterator[Float[np.ndarray, "1 output rows width"]]:
    """The rows of the output, in order, for the bands of an image of that height; the last band may be lower.

    first: the step to begin with, whose band is the first that is given; the rows that see what lies above it are
    wrong. radius: how many rows the network sees to either side; with it, steps that can bring nothing new are spared:
    after so many bands of one value another one gives what the last one gave, bit for bit.
    """
    schedule, band, image = slide.schedule, slide.band, np.empty((1, 0, 0, 0), np.float32)
    found, quiet = image, _Quiet(slide, height, radius)
    for step, given in zip(range(first, schedule.steps(height, band)), chain(bands, repeat(None)), strict=False):
        image = image if given is None else _filled(given, band)  # after the end of the image anything goes in
        if not quiet.at(step, image):
            masks = [] if schedule.is_inside(step, band, height) else schedule.masks(step, band, height)
            found = slide(image, masks)
        rows = found[:, :, schedule.rows(step, band, height)]
        if rows.shape[2]:
            yield rows


class _Quiet:
    """Whether a step can bring nothing new: inside the image, and all that the network sees and keeps is one value."""

    def __init__(self, slide: Slide, height: int, radius: int | None) -> None:
        self._schedule, self._band, self._height = slide.schedule, slide.band, height
        self._enough = None if radius is None else 2 + -(-(slide.schedule.delay + radius) // slide.band)
        self._count, self._value = 0, float("nan")

    def at(self, step: int, image: Float[np.ndarray, "1 band rows width"]) -> bool:
        before, self._value = self._value, float(image.flat[0])
        is_inside = self._schedule.is_inside(step, self._band, self._height)
        is_quiet = is_inside and before == self._value and _is_all(image, self._value)
        self._count = self._count + 1 if is_quiet else 0
        return self._enough is not None and self._count > self._enough


def _is_all(image: np.ndarray, value: float) -> bool:
    few = image[..., ::32, ::32]  # a whole look costs as much as 2 % of a step
    return bool((few == value).all()) and bool((image == value).all())


def _filled(image: np.ndarray, band: int) -> np.ndarray:
    missing = band - image.shape[2]
    return np.pad(image, ((0, 0), (0, 0), (0, missing), (0, 0))) if missing else image
