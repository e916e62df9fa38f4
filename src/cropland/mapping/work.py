"""What is needed to compute any part of a scene, and what comes of it; goes to other machines as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from cropland.data.statistics import Statistics
from cropland.errors import ReadError
from cropland.geo.reading import ImageFile
from cropland.geo.scene import Image
from cropland.geo.window import Window
from cropland.progress import each, stage

__all__ = ["NO_DATA", "Done", "Pixels", "Readable", "Work", "levels", "read_ahead"]

NO_DATA = 255
Place = TypeVar("Place")
Read = TypeVar("Read")


class Readable(Protocol):
    """A scene, as it is or turned."""

    @property
    def files(self) -> tuple[ImageFile, ...]: ...

    def read(self, window: Window, *, bands: Sequence[str], ratio: float = 1.0) -> Image: ...


@dataclass(frozen=True)
class Pixels:
    """What the network takes, and where there is data; without data where it could not be read, for what reason."""

    values: Float32[np.ndarray, "band height width"]
    valid: Bool[np.ndarray, "height width"]
    error: ReadError | None = None


@dataclass(frozen=True)
class Work:
    """A scene with all that decides what the network sees of it. `radius`: how far the network sees, in pixels."""

    scene: Readable
    statistics: Statistics
    ratio: float
    radius: int | None

    def read(self, window: Window) -> Pixels:
        """A window of the working grid, normalised."""
        with stage("reading"):
            try:
                image = self.scene.read(window, bands=self.statistics.bands, ratio=self.ratio)
            except ReadError as error:
                error.__cause__ = error.__context__ = error.__traceback__ = None  # it is kept, and may travel
                shape = (len(self.statistics.bands), *window.shape)
                return Pixels(np.zeros(shape, np.float32), np.zeros(window.shape, bool), error)
            return Pixels(self.statistics.normalise(image.values, image.valid), image.valid)


@dataclass(frozen=True)
class Done:
    """What was found of unit `number`: rows of logits and of where there is data, or at once the `values` that are
    written; or why it could not be read."""

    number: int
    logits: Sequence[Float[np.ndarray, "rows width"]] = ()
    valid: Sequence[Bool[np.ndarray, "rows width"]] = ()
    error: ReadError | None = None
    values: UInt8[np.ndarray, "height width"] | None = None

    def levels(self) -> UInt8[np.ndarray, "height width"]:
        """Probabilities as they are written."""
        if self.values is not None:
            return self.values
        logits, valid = np.concatenate(self.logits), np.concatenate(self.valid)
        return levels(logits, valid) if valid.any() else np.full(valid.shape, NO_DATA, np.uint8)

    def packed(self, number: int) -> Done:
        """The same as unit `number`, as small as it can be sent."""
        return Done(number, error=self.error) if self.error else Done(number, values=self.levels())


def levels(
    logits: Float[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width"]:
    """Probabilities as they are written: 0 to 254, and 255 where there is no data."""
    with np.errstate(over="ignore"):  # beyond e^88 a probability is 0
        odds = np.exp(-logits)
    odds += 1
    rounded = np.rint(np.divide(254, odds, out=odds), out=odds).astype(np.uint8)
    return np.where(valid, rounded, np.uint8(NO_DATA))


def read_ahead(read: Callable[[Place], Read], places: Sequence[Place]) -> Iterator[tuple[Place, Read]]:
    """What is read of each place, while the one before is worked on."""
    if not places:
        return
    with ThreadPoolExecutor(1) as reader:
        yield from zip(places, each("waiting for reading", _ahead(reader, read, places)), strict=True)


def _ahead(reader: ThreadPoolExecutor, read: Callable[[Place], Read], places: Sequence[Place]) -> Iterator[Read]:
    waiting = reader.submit(read, places[0])
    for following in (*places[1:], None):
        ready = waiting.result()
        if following is not None:
            waiting = reader.submit(read, following)
        yield ready
