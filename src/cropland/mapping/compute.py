"""The outputs of a network over a whole grid, unit by unit: read ahead, compute, write behind, note in the journal.

A network that slides computes every pixel once. A run of units may begin anywhere: what is kept of rows further up than
the network sees has no part in what it gives. So a run that goes on, or that another machine computes, gives the bytes
of one that came from the top.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from cropland.engines import Described, Engine, Precision, choose_engine, open_engine
from cropland.errors import ReadError
from cropland.files import sync
from cropland.geo.statistics import Statistics
from cropland.geo.window import Tile, Window
from cropland.language import Message
from cropland.mapping.run_folder import Journal, RawRaster
from cropland.mapping.units import Cut, Flip, Readable
from cropland.model import ModelFile
from cropland.probability import NO_DATA, from_logits
from cropland.progress import prefetch, timed, timed_each
from cropland.streaming.slide import Slide, slide_down

__all__ = ["Executor", "Pixels", "Serial", "UnitResult", "Work", "compute", "fill", "mean_of_flips"]

WAITING = 2  # units that may wait to be written
AT_ONCE = 1 << 21  # pixels of a band that go to the disk together: to wait for it costs some milliseconds
MEAN_ROWS = 256  # of the mean of flips in memory


class Executor(Protocol):
    """What computes units, here or elsewhere, in any order."""

    @property
    def engine(self) -> Described:
        """By which it computes."""

    @property
    def why(self) -> Message | None:
        """Why by this one, if that is known."""

    def prepare(self, cut: Cut) -> None:
        """Begin, beside what else there is to do, what must be there before units of this cut are computed."""

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]: ...


@dataclass(frozen=True)
class Serial:
    """One run after the other, in this process."""

    engine: Engine
    why: Message | None = None  # it is this engine

    @staticmethod
    def open(
        model: ModelFile, *, engine: str | None = None, threads: int | None = None, precision: Precision = "fastest"
    ) -> Serial:
        """By the engine of that name, or the one for this machine. Raises `InputError` as `choose_engine`."""
        choice = choose_engine(engine)
        return Serial(open_engine(choice.name, model, threads=threads, precision=precision), choice.reason)

    def prepare(self, cut: Cut) -> None:
        if cut.way == "slide":
            self.engine.prepare(cut.units[0].padded.width)

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]:
        for run in cut.runs(wanted):
            yield from compute(work, cut, run, self.engine)


def fill(
    raster: RawRaster,
    name: str,
    work: Work,
    cut: Cut,
    *,
    executor: Executor,
    journal: Journal,
    advance: Callable[[int], None],
) -> list[ReadError]:
    """Write what is missing of a raster, `name` in the journal; why units could not be read, if any could not."""
    wanted = journal.missing(name, cut, raster)
    advance(cut.shape[0] * cut.shape[1] - sum(_pixels(cut, number) for number in wanted))
    keeper, failed = _Keeper(raster, name, cut, journal), []
    with ThreadPoolExecutor(1) as writer:
        waiting: deque[Future[None]] = deque()
        for done in executor(work, cut, wanted):
            if done.error:
                failed.append(done.error)
                continue
            waiting.append(writer.submit(keeper.keep, done))
            if len(waiting) > WAITING:
                _wait(waiting)
            advance(_pixels(cut, done.number))
        while waiting:
            _wait(waiting)
    keeper.commit()
    return failed


def _wait(waiting: deque[Future[None]]) -> None:
    with timed("waiting for writing"):
        waiting.popleft().result()


def _pixels(cut: Cut, number: int) -> int:
    return cut.units[number].core.height * cut.units[number].core.width


@dataclass
class _Keeper:
    """Writes units; several small ones go into the journal together."""

    raster: RawRaster
    name: str
    cut: Cut
    journal: Journal
    _sums: dict[str, int] = field(default_factory=dict)
    _size: int = 0

    def keep(self, done: UnitResult) -> None:
        with timed("writing"):
            values = done.levels()
            self.raster.write(self.cut.units[done.number].core, values)
            self._sums[f"{self.name} {done.number}"] = zlib.crc32(values.data)
            self._size += values[0].size
            if self._size >= AT_ONCE:
                self.commit()

    def commit(self) -> None:
        if self._sums:
            sync(self.raster.path)
            self.journal.note(self._sums)
        self._sums, self._size = {}, 0


@dataclass(frozen=True)
class Pixels:
    """What the network takes, and where there is data; without data where it could not be read, for what reason."""

    values: Float32[np.ndarray, "band height width"]
    valid: Bool[np.ndarray, "height width"]
    error: ReadError | None = None


@dataclass(frozen=True)
class Work:
    """A scene with all that decides what the network sees of it, and which channels of its output are kept.

    radius: how far the network sees, in pixels. channels: cropland, and further ones of the map.
    """

    scene: Readable
    statistics: Statistics
    ratio: float
    radius: int | None
    channels: tuple[int, ...] = (0,)

    def read(self, window: Window) -> Pixels:
        """A window of the working grid, normalised."""
        with timed("reading"):
            try:
                image = self.scene.read(window, bands=self.statistics.bands, ratio=self.ratio)
            except ReadError as error:
                error.__cause__ = error.__context__ = error.__traceback__ = None  # it is kept, and may travel
                shape = (len(self.statistics.bands), *window.shape)
                return Pixels(np.zeros(shape, np.float32), np.zeros(window.shape, bool), error)
            return Pixels(self.statistics.normalise(image.values, image.valid), image.valid)


@dataclass(frozen=True)
class UnitResult:
    """What was found of unit `number`: rows of logits and of where there is data, or at once the `values` that are
    written; or why it could not be read."""

    number: int
    logits: Sequence[Float[np.ndarray, "output rows width"]] = ()
    valid: Sequence[Bool[np.ndarray, "rows width"]] = ()
    error: ReadError | None = None
    values: UInt8[np.ndarray, "output height width"] | None = None

    def levels(self) -> UInt8[np.ndarray, "output height width"]:
        """Probabilities as they are written."""
        if self.values is not None:
            return self.values
        logits, valid = np.concatenate(self.logits, axis=1), np.concatenate(self.valid)
        return from_logits(logits, valid) if valid.any() else np.full(logits.shape, NO_DATA, np.uint8)

    def packed(self, number: int) -> UnitResult:
        """The same as unit `number`, as small as it can be sent."""
        return UnitResult(number, error=self.error) if self.error else UnitResult(number, values=self.levels())


def compute(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[UnitResult]:
    """The units of a run."""
    return {"slide": _slide, "tiles": _tiles}[cut.way](work, cut, run, engine)


def _read_ahead(read: Callable[[Window], Pixels], windows: Sequence[Window]) -> Iterator[Pixels]:
    """What is read of each window, while the one before is worked on."""
    return timed_each("waiting for reading", prefetch(read, windows))


def _tiles(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[UnitResult]:
    """The tiles of a run; while one is computed, the next is read."""
    windows = [cut.units[number].padded for number in run]
    for number, pixels in zip(run, _read_ahead(work.read, windows), strict=True):
        yield _computed(number, pixels, work.channels, cut, engine)


def _computed(number: int, pixels: Pixels, channels: tuple[int, ...], cut: Cut, engine: Engine) -> UnitResult:
    if pixels.error:
        return UnitResult(number, error=pixels.error)
    rows, cols = cut.units[number].inner.slices
    valid = pixels.valid[rows, cols]
    if not valid.any():
        return UnitResult(number, [np.zeros((len(channels), *valid.shape), np.float32)], [valid])
    with timed("network"):
        logits = engine(pixels.values[None])
    return UnitResult(number, [logits[0, channels, rows, cols]], [valid])


def _slide(work: Work, cut: Cut, run: Sequence[int], engine: Engine) -> Iterator[UnitResult]:
    """The units of a run, which lie one below the other; while one band is computed, the next is read."""
    assert work.radius is not None, "a network without a bound does not slide"
    units, height = [cut.units[number] for number in run], cut.shape[0]
    slide = engine.slide(units[0].padded.width)
    top, heights = units[0].core.row, [unit.core.height for unit in units]
    first = max(0, top - work.radius) // slide.band
    bands = _Bands(work, units[0], slide.band, first * slide.band, _read_to(slide, top + sum(heights), height))
    found = timed_each("network", slide_down(slide, bands, height, first=first, radius=work.radius))
    above = max(0, first * slide.band - slide.schedule.delay)
    logits = _regrouped((rows[0, work.channels, :, bands.core] for rows in found), [top - above, *heights])
    valid = _regrouped(bands.valid(), [top - first * slide.band, *heights])
    next(logits), next(valid)  # above the run
    for number, unit, found_here, valid_here in zip(run, units, logits, valid, strict=True):
        yield UnitResult(number, found_here, valid_here, bands.error(unit.core, work.radius))


def _read_to(slide: Slide, stop: int, height: int) -> int:
    """The row to read to, for all rows above `stop` to come out."""
    steps = -(-(stop + slide.schedule.delay) // slide.band)
    return min(height, steps * slide.band)


@dataclass
class _Bands:
    """A strip from one row to another, normalised; where it has data waits until its rows come out of the network."""

    work: Work
    strip: Tile
    band: int
    start: int
    stop: int
    _waiting: deque[Bool[np.ndarray, "rows width"]] = field(default_factory=deque)
    _failed: list[tuple[Window, ReadError]] = field(default_factory=list)

    @property
    def core(self) -> slice:
        """The columns that count."""
        return self.strip.inner.slices[1]

    def __iter__(self) -> Iterator[Float32[np.ndarray, "1 band rows width"]]:
        whole = self.strip.padded
        windows = [
            Window(row, whole.col, min(self.band, self.stop - row), whole.width)
            for row in range(self.start, self.stop, self.band)
        ]
        for window, pixels in zip(windows, _read_ahead(self.work.read, windows), strict=True):
            self._waiting.append(pixels.valid[:, self.core])
            if pixels.error:
                self._failed.append((window, pixels.error))
            yield pixels.values[None]

    def valid(self) -> Iterator[Bool[np.ndarray, "rows width"]]:
        """Where there is data, in rows that were read; rows come out later than they go in, so some are waiting."""
        while self._waiting:
            yield self._waiting.popleft()

    def error(self, core: Window, radius: int) -> ReadError | None:
        """Why a unit cannot be trusted, if what the network sees for it could not be read."""
        low, high = core.row - radius, core.row + core.height + radius
        return next(
            (error for window, error in self._failed if low < window.row + window.height and window.row < high), None
        )


def _regrouped(parts: Iterable[np.ndarray], heights: Iterable[int]) -> Iterator[list[np.ndarray]]:
    """Rows (the last axis but one) that come in parts of any height, in lists of parts of these heights together."""
    parts, rest = iter(parts), np.empty((0, 0))
    for height in heights:
        group, missing = [], height
        while missing:
            rest = rest if rest.shape[-2] else next(parts)
            group.append(rest[..., :missing, :])
            taken = group[-1].shape[-2]
            missing, rest = missing - taken, rest[..., taken:, :]
        yield group


def mean_of_flips(rasters: Sequence[RawRaster], flips: Sequence[Flip], out: Path) -> RawRaster:
    """The mean of rasters that were computed flipped, flipped back and rounded; no data where the first has none."""
    if len(rasters) == 1:
        return rasters[0]
    mean = RawRaster(out, rasters[0].shape, rasters[0].bands)
    height, width = mean.shape
    for start in range(0, height, MEAN_ROWS):
        window = Window(start, 0, min(MEAN_ROWS, height - start), width)
        laid = [
            flip.back(raster.read(flip.into(window, mean.shape))) for raster, flip in zip(rasters, flips, strict=True)
        ]
        values = np.rint(np.mean(laid, axis=0, dtype=np.float32)).astype(np.uint8)
        mean.write(window, np.where(laid[0] == NO_DATA, np.uint8(NO_DATA), values))
    return mean
