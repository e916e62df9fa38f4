"""Where a scene has no data: declared by a value, an alpha band or a mask, an undeclared collar, under a cloud, or not
on the Earth.

The rule is made when a scene is opened and applied to every window.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Bool, Int64, Num
from odc.geo.geobox import GeoBox

from cropland.errors import SceneError
from cropland.geo.area import is_on_earth, pixel_area_m2
from cropland.geo.bands import NamedBands
from cropland.geo.cloud_mask import CloudMask
from cropland.geo.reading import (
    BandHeader,
    ImageFile,
    ImageHeader,
    Layer,
    read_layers,
    read_mask,
    representable,
    sampled,
)
from cropland.geo.window import Window
from cropland.language import Message

__all__ = ["NoData", "beyond_the_earth", "check_any_data", "find_no_data", "nodata_value", "true_alphas"]

DECIDING = ("blue", "green", "red", "nir")  # few, so that validity is one thing whichever bands are read
LOOK = 256  # pixels along an edge of the look at the middle of a scene

# An alpha band is looked at in few places: opaque and transparent are all it holds, but for a ramp between them.
PLACES = 4  # rows and columns of windows
PLACE = 64  # pixels along an edge of a window
OPAQUE = 0.5  # least share of what is not transparent

# A collar is looked for in a coarse picture of the scene, where its border shows black or white at all.
CELLS = 512  # rows and columns of the picture at most
GLANCES = 16  # rows at which the left and the right border are looked at before the whole scene is
JPEG_NOISE = 6  # of 255: what JPEG makes of a flat black beside a picture
ALONG = 0.125  # least share of the border: a roof or a cloud that touches it fills less
SMALLEST = 0.002  # least share of the scene
SOFT = 0.1  # of the median: a neighbour so near the value is its shading, as around water or cloud
BLUR = 1.5  # cells that a straight edge, drawn in cells, lies off its line at most
JPEG_BLOCK = 8  # pixels by which JPEG blurs an edge
STRETCH = 32, 0.125, 0.22  # cells, share of the picture's side, share of the edge: a straight stretch of an edge
STRAIGHT = 0.6  # least share of an edge in such stretches: turned pictures have 0.95 and more, most shores below 0.3


@dataclass(frozen=True, eq=False)
class Collar:
    """A border of one value around the image.

    reached: cells of a coarse picture of the scene that the value fills, connected to the border, and their
    neighbours. A pixel is collar when it lies in such a cell and every deciding band is within `tolerance` of the
    value: this depends on the pixel alone, not on the window that is read.
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
        axes = zip((rows, cols), self.reached.shape, self.scene_shape, strict=True)
        cells = (pixels * count // length for pixels, count, length in axes)
        near = self.reached[np.ix_(*cells)]
        return near & _is_near(values, self.value, self.tolerance) if near.any() else near


@dataclass(frozen=True, eq=False)
class NoData:
    """The scene's rule for no data.

    layers: the bands that decide. alphas: bands of opacity. masks: files with a mask band. beyond: the scene's grid,
    where it reaches beyond the Earth. clouds: a raster beside the scene.
    """

    layers: tuple[Layer, ...]
    alphas: tuple[Layer, ...] = ()
    masks: tuple[ImageFile, ...] = ()
    collar: Collar | None = None
    beyond: GeoBox | None = None
    clouds: CloudMask | None = None

    @property
    def is_possible(self) -> bool:
        """False when every pixel is certainly valid."""
        return self._by_value or bool(self.alphas or self.masks or self.beyond or self.clouds)

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
        if self.beyond is not None:
            grid, place = self.beyond, window
            if shape is not None and shape != window.shape:
                scale = Affine.scale(window.width / shape[1], window.height / shape[0])
                affine = grid.affine @ Affine.translation(window.col, window.row) @ scale
                grid, place = GeoBox(shape, affine, grid.crs), Window(0, 0, *shape)
            void |= pixel_area_m2(grid, place) == 0
        if self.clouds is not None:
            void |= self.clouds.covers(*_places(window, shape or window.shape))
        return void

    def _filled(self, values: Sequence[np.ndarray], window: Window) -> np.ndarray:
        """Where all deciding bands hold a no-data value that a measurement may hold too, or the collar's."""
        height, width = values[0].shape
        void = np.zeros((height, width), bool)
        if all(layer.nodata is not None and _may_be_measured(layer) for layer in self.layers):
            void = np.logical_and.reduce([v == layer.nodata for v, layer in zip(values, self.layers, strict=True)])
        if self.collar is not None:
            void |= self.collar.covers(values, *_places(window, (height, width)))
        return void


def _places(window: Window, shape: tuple[int, int]) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " col"]]:
    """The rows and columns of the scene that a window decimated to `shape` shows."""
    height, width = shape
    return sampled(window.row, window.height, height), sampled(window.col, window.width, width)


def _may_be_measured(layer: Layer) -> bool:
    """Whether the no-data value may be a measurement as well: zero (deep water) and the largest integer (a white roof).

    Such a value must stand in every deciding band; any other no-data value voids a pixel by standing in one band.
    """
    largest = None if layer.is_float else np.iinfo(layer.dtype).max
    return layer.nodata in (0, largest)


def _is_near(values: Iterable[Num[np.ndarray, "height width"]], value: float, distance: float) -> np.ndarray:
    """Where every band is within a distance of a value."""
    if distance == 0:
        same: np.ndarray = np.logical_and.reduce([band == value for band in values])
        return same
    low, high = value - distance, value + distance
    near: np.ndarray = np.logical_and.reduce([(band >= low) & (band <= high) for band in values])
    return near


def _impossible(layer: Layer, values: np.ndarray) -> np.ndarray:
    void = ~np.isfinite(values) if layer.is_float else np.zeros(values.shape, bool)
    if layer.nodata is not None and not _may_be_measured(layer):
        void |= values == values.dtype.type(layer.nodata)
    return void


def nodata_value(source: BandHeader, named: NamedBands, given: float | None) -> float | None:
    """The no-data value of a band: given, declared, or its sensor's.

    Raises `SceneError` for a value that its type cannot hold.
    """
    if given is not None:
        value = representable(given, source.dtype)
        if value is None and not np.isnan(given):
            raise SceneError(
                "--nodata {given:g} cannot occur in {name}, which holds {dtype}",
                given=given,
                name=source.path.name,
                dtype=source.dtype,
            )
        return value
    usual = {sensor.nodata for sensor in named.sensors}
    is_number = not source.dtype.startswith("float") and len(usual) == 1
    return source.nodata if source.nodata is not None or not is_number else usual.pop()


def true_alphas(headers: Sequence[ImageHeader]) -> tuple[list[ImageHeader], tuple[str, ...]]:
    """Headers in which only an opacity is called alpha, and notes on bands that were something else.

    GDAL takes the fourth band of many pictures for alpha, and some programs write near infrared as such.
    """
    notes: list[str] = []

    def judged(band: BandHeader) -> BandHeader:
        if band.color != "alpha" or _is_opacity(band):
            return band
        notes.append(
            Message(
                "Band {index} of {name} is marked as alpha but holds measurements, so it is read as a band.",
                index=band.index,
                name=band.path.name,
            )
        )
        return replace(band, color="undefined")

    return [replace(header, bands=tuple(map(judged, header.bands))) for header in headers], tuple(notes)


def _is_opacity(band: BandHeader) -> bool:
    """Whether most pixels that are not 0 hold one value, the largest."""
    layer, (height, width) = Layer(band.path, band.index, band.dtype), band.shape
    rows, cols = (sampled(0, length, PLACES) - min(PLACE, length) // 2 for length in (height, width))
    size = min(PLACE, height), min(PLACE, width)
    starts = [(row, col) for row in rows.clip(0, height - size[0]) for col in cols.clip(0, width - size[1])]
    windows = dict.fromkeys(Window(int(row), int(col), *size) for row, col in starts)
    seen = np.concatenate([read_layers([layer], window).ravel() for window in windows])
    opaque = seen[seen != 0]
    return opaque.size == 0 or bool((opaque == opaque.max()).mean() >= OPAQUE)


def find_no_data(
    layers: Sequence[Layer], named: NamedBands, headers: Sequence[ImageHeader]
) -> tuple[NoData, tuple[str, ...]]:
    """The rule for no data, with a note where two marks count, and on a collar.

    A collar is looked for where the files declare nothing.
    """
    found = [band for header in headers for band in header.bands]
    by_name = dict(zip(named.names, layers, strict=True))
    deciding = tuple(by_name[name] for name in DECIDING if name in by_name) or tuple(layers[:4])
    alphas = tuple(Layer(s.path, s.index, s.dtype) for s in found if s.color == "alpha")
    masks = tuple(header.path for header in headers if header.has_mask)
    no_data = NoData(deciding, alphas, masks)
    values = sorted({layer.nodata for layer in layers if layer.nodata is not None})
    if alphas and values:
        text = ", ".join(f"{value:g}" for value in values)
        return no_data, (Message("No data is where the alpha band is 0 and where the value is {values}.", values=text),)
    if alphas or masks or values or len(layers) < 2:  # a band of 0 and 1 is a mask, and 0 is no collar there
        return no_data, ()
    used = {source.path for source in named.sources}
    noise = JPEG_NOISE if any(header.is_lossy for header in headers if header.path in used) else 0
    collar = _find_collar(no_data, headers[0].shape, tolerance=noise)
    if collar is None:
        return no_data, ()
    colour = Message("black") if collar.value <= 0 else Message("white")
    note = Message(
        "A {colour} collar ({value:g} in every band, connected to the border) is taken as no data.",
        colour=colour,
        value=collar.value,
    )
    return replace(no_data, collar=collar), (note,)


def beyond_the_earth(no_data: NoData, grid: GeoBox) -> tuple[NoData, tuple[Message, ...]]:
    """The rule for a scene of that grid, and a note where the grid reaches beyond the Earth."""
    if is_on_earth(grid):
        return no_data, ()
    return replace(no_data, beyond=grid), (Message("Pixels that are not on the Earth are taken as no data."),)


def check_any_data(no_data: NoData, shape: tuple[int, int], *, name: str) -> None:
    """Refuse a scene without a valid pixel: a look at its middle, then at single pixels all over.

    Raises `SceneError`.
    """
    height, width = shape
    size = min(LOOK, height), min(LOOK, width)
    middle = Window((height - size[0]) // 2, (width - size[1]) // 2, *size)
    if not no_data.is_possible or no_data.valid(middle).any():
        return
    valid = no_data.valid(Window(0, 0, height, width), shape=(min(height, 4 * LOOK), min(width, 4 * LOOK)))
    if not valid.any() and no_data.clouds is not None:
        raise SceneError(
            "{name} has no pixel that {mask} leaves; leave this scene out, as `cropland find --cloud 90` does, or use "
            "all of its pixels with --mask none",
            name=name,
            mask=no_data.clouds.layer.path.name,
        )
    if not valid.any():
        raise SceneError("{name} is all no data; give another scene, or another value with --nodata", name=name)


def _find_collar(no_data: NoData, shape: tuple[int, int], *, tolerance: float) -> Collar | None:
    """The collar of a scene of that shape, if it has one.

    Its value is the least or the largest of all. A collar runs along the border, its edge is straight, and it is
    abrupt: where most neighbours are nearly as dark or as bright, it is water, shadow or cloud. tolerance: what a lossy
    compression may have added to the value.
    """
    candidates = _at_border(no_data, shape, tolerance)
    if not candidates:
        return None
    coarse = (min(shape[0], CELLS), min(shape[1], CELLS))
    values, valid = no_data.read(no_data.layers, Window(0, 0, *shape), shape=coarse)
    known = np.ones(coarse, bool) if valid is None else valid
    for value in candidates:
        filled = _is_near(values, value, tolerance) & known
        if _border(filled).mean() < ALONG or not _is_extreme(values[:, known], value, tolerance):
            continue
        from scipy import ndimage  # few scenes come here, and it takes as long to import as numpy

        blur = max(BLUR, JPEG_BLOCK * coarse[0] / shape[0]) if tolerance else BLUR
        region = _with_straight_edges(filled, blur)
        along = _border(region).mean() >= ALONG and region.mean() >= SMALLEST
        if along and _is_abrupt(values, region, known & ~filled, value):
            return Collar(value, tolerance, ndimage.binary_dilation(region, np.ones((3, 3))), shape)
    return None


def _is_extreme(values: Num[np.ndarray, "layer pixel"], value: float, tolerance: float) -> bool:
    """Whether all numbers lie on one side of the value: zero amid negative and positive ones is a measurement."""
    return bool(values.min() >= value - tolerance or values.max() <= value + tolerance)


def _with_straight_edges(filled: Bool[np.ndarray, "row col"], blur: float) -> Bool[np.ndarray, "row col"]:
    """The regions that touch the border and end in straight lines, as a turned picture does in its frame.

    What is narrower than three cells is left out of them: dark pixels of the picture beside the collar.
    """
    from rasterio import features
    from scipy import ndimage

    beyond = np.pad(filled, 2, constant_values=True)  # a collar goes on there, so that a narrow one is left in
    opened = ndimage.binary_opening(beyond, np.ones((3, 3)))[2:-2, 2:-2] & filled
    labels, _ = ndimage.label(opened)
    touching = np.isin(labels, np.setdiff1d(_border(labels), 0))
    outlines = features.shapes(labels.astype(np.int32), mask=touching)
    return np.isin(labels, [label for outline, label in outlines if _is_straight(outline, filled.shape, blur)])


def _is_straight(outline: Mapping[str, Any], shape: tuple[int, int], blur: float) -> bool:
    """Whether most of a region's edge, the picture's border aside, consists of long straight stretches."""
    import shapely

    frame = shapely.box(0, 0, shape[1], shape[0]).boundary
    edges = shapely.line_merge(shapely.geometry.shape(outline).boundary.difference(frame))
    total = straight = 0.0
    for edge in shapely.get_parts(edges):
        # Between the middles of the sides of cells, which lie nearer to a slanted line than their corners.
        ends = shapely.get_coordinates(shapely.segmentize(edge, 1))
        middles = np.concatenate([ends[:1], (ends[1:] + ends[:-1]) / 2, ends[-1:]])
        corners = shapely.get_coordinates(shapely.LineString(middles).simplify(blur))
        lengths = np.hypot(*np.diff(corners, axis=0).T)
        cells, of_side, of_edge = STRETCH
        long = min(max(cells, of_side * min(shape)), of_edge * edge.length)
        total, straight = total + lengths.sum(), straight + lengths[lengths >= long].sum()
    return bool(straight >= STRAIGHT * total)


def _at_border(no_data: NoData, shape: tuple[int, int], tolerance: float) -> Sequence[float]:
    """Black and white, where they occur along the border: by a few blocks instead of the whole scene."""
    dtype = np.dtype(no_data.layers[0].dtype)
    candidates = (0,) if dtype.kind == "f" else tuple(sorted({int(np.iinfo(dtype).min), 0, int(np.iinfo(dtype).max)}))
    if max(shape) <= CELLS:
        return candidates
    with ThreadPoolExecutor(2) as pool:  # blocks are decoded
        seen = list(pool.map(lambda window: no_data.read(no_data.layers, window)[0], _glances(*shape)))
    return [value for value in candidates if any(_is_near(values, value, tolerance).any() for values in seen)]


def _glances(height: int, width: int) -> Iterator[Window]:
    yield Window(0, 0, 1, width)
    yield Window(height - 1, 0, 1, width)
    for row in np.linspace(0, height - 1, min(GLANCES, height)).astype(int):
        yield Window(int(row), 0, 1, 1)
        yield Window(int(row), width - 1, 1, 1)


def _border(picture: Num[np.ndarray, "row col"]) -> Num[np.ndarray, " place"]:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def _is_abrupt(values: Num[np.ndarray, "layer row col"], region: np.ndarray, others: np.ndarray, value: float) -> bool:
    """Whether few of the other pixels beside the region are nearly as dark or as bright as it is."""
    from scipy import ndimage

    around = ndimage.binary_dilation(region) & others
    if not around.any():
        return True
    distance = SOFT * abs(float(np.median(values[:, others])))
    return float(_is_near(values, value, distance)[around].mean()) < 0.5
