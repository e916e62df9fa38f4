"""Where a scene has no data: declared by a value, an alpha band or a mask, or an undeclared collar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64, Num

from cropland.geo.layers import Layer, read_layers, read_mask, sampled
from cropland.geo.remote import ImageFile
from cropland.geo.tiles import Window

__all__ = ["Collar", "NoData", "may_be_measured"]


@dataclass(frozen=True, eq=False)
class Collar:
    """A border of one value around the image.

    reached: cells of a coarse picture of the scene that the value fills, connected to the border, and their
    neighbours. A pixel is collar when it lies in such a cell and every deciding band is within `tolerance` of the
    value: a rule of the pixel's own place, the same for every window.
    """

    value: float
    tolerance: float
    reached: Bool[np.ndarray, "cell_row cell_col"]
    scene_shape: tuple[int, int]

    def covers(
        self,
        values: Sequence[Num[np.ndarray, "height width"]],
        rows: Int64[np.ndarray, "height"],
        cols: Int64[np.ndarray, "width"],
    ) -> Bool[np.ndarray, "height width"]:
        """Which pixels at these rows and columns of the scene are collar."""
        places = (rows, cols)
        cells = (p * n // total for p, n, total in zip(places, self.reached.shape, self.scene_shape, strict=True))
        near = self.reached[np.ix_(*cells)]
        return near & is_near(values, self.value, self.tolerance) if near.any() else near


@dataclass(frozen=True, eq=False)
class NoData:
    """The scene's rule for no data.

    layers: the bands that decide. alphas: bands of opacity. masks: files with a mask band.
    """

    layers: tuple[Layer, ...]
    alphas: tuple[Layer, ...] = ()
    masks: tuple[ImageFile, ...] = ()
    collar: Collar | None = field(default=None)

    @property
    def is_possible(self) -> bool:
        """False when every pixel is certainly valid."""
        return self._by_value or bool(self.alphas or self.masks)

    @property
    def _by_value(self) -> bool:
        values = any(layer.nodata is not None or layer.is_float for layer in self.layers)
        return values or self.collar is not None

    def read(
        self, layers: Sequence[Layer], window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[Num[np.ndarray, "layer height width"], Bool[np.ndarray, "height width"] | None]:
        """Numbers of `layers` in a window (decimated to `shape`) and where they are valid; None: everywhere."""
        if not (self.is_possible or any(layer.is_float or layer.nodata is not None for layer in layers)):
            return read_layers(layers, window, shape=shape), None
        needed = list(dict.fromkeys([*layers, *self._deciding]))
        values = dict(zip(needed, read_layers(needed, window, shape=shape), strict=True))
        return np.stack([values[layer] for layer in layers]), self._valid(values, window, shape)

    def valid(self, window: Window, *, shape: tuple[int, int] | None = None) -> Bool[np.ndarray, "height width"]:
        """Where a window (decimated to `shape`) has data, by the deciding bands."""
        layers = self._deciding
        values = dict(zip(layers, read_layers(layers, window, shape=shape), strict=True)) if layers else {}
        return self._valid(values, window, shape)

    @property
    def _deciding(self) -> tuple[Layer, ...]:
        return self.layers if self._by_value else ()

    def _valid(
        self, values: Mapping[Layer, np.ndarray], window: Window, shape: tuple[int, int] | None
    ) -> Bool[np.ndarray, "height width"]:
        void = self._declared(window, shape)
        for layer, numbers in values.items():
            void |= _impossible(layer, numbers)
        if self._by_value:
            void |= self._filled([values[layer] for layer in self.layers], window)
        return ~void

    def _declared(self, window: Window, shape: tuple[int, int] | None) -> np.ndarray:
        void = np.zeros(shape or window.shape, bool)
        for path in self.masks:
            void |= ~read_mask(path, window, shape=shape)
        for alpha in self.alphas:
            void |= read_layers([alpha], window, shape=shape)[0] == 0
        return void

    def _filled(self, values: Sequence[np.ndarray], window: Window) -> np.ndarray:
        """Where all deciding bands hold a no-data value that a measurement may hold too, or the collar's."""
        height, width = values[0].shape
        void = np.zeros((height, width), bool)
        if all(layer.nodata is not None and may_be_measured(layer) for layer in self.layers):
            void = np.logical_and.reduce([v == layer.nodata for v, layer in zip(values, self.layers, strict=True)])
        if self.collar is not None:
            rows, cols = sampled(window.row, window.height, height), sampled(window.col, window.width, width)
            void |= self.collar.covers(values, rows, cols)
        return void


def may_be_measured(layer: Layer) -> bool:
    """Whether the no-data value may be a measurement as well: zero (deep water) and the largest integer (a white roof).

    There every deciding band must hold it; any other no-data value voids a pixel in whatever band it stands.
    """
    largest = None if layer.is_float else np.iinfo(layer.dtype).max
    return layer.nodata in (0, largest)


def is_near(values: Iterable[Num[np.ndarray, "height width"]], value: float, distance: float) -> np.ndarray:
    """Where every band is within a distance of a value."""
    if distance == 0:
        same: np.ndarray = np.logical_and.reduce([band == value for band in values])
        return same
    low, high = value - distance, value + distance
    near: np.ndarray = np.logical_and.reduce([(band >= low) & (band <= high) for band in values])
    return near


def _impossible(layer: Layer, values: np.ndarray) -> np.ndarray:
    void = ~np.isfinite(values) if layer.is_float else np.zeros(values.shape, bool)
    if layer.nodata is not None and not may_be_measured(layer):
        void |= values == values.dtype.type(layer.nodata)
    return void
