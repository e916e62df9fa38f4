"""A scene: imagery on one grid, read in windows at its own pixel size or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import ceil, sqrt
from typing import Annotated, Any
from warnings import catch_warnings
from weakref import ref

import numpy as np
from affine import Affine
from cyclopts import Parameter
from jaxtyping import Bool, Float32, UInt8
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from cropland.errors import BandError, GridError, InputError, SceneError
from cropland.fact_sheet import fact_sheet
from cropland.geo.bands import NamedBands, added_to, band_numbers, name_bands, of_one_size, parse_bands
from cropland.geo.cloud_mask import MaskFile, open_cloud_mask, whole_numbers
from cropland.geo.grid import crs_name, place
from cropland.geo.imagery import Given, Imagery, every_imagery, given_imagery
from cropland.geo.no_data import NoData, beyond_the_earth, check_any_data, find_no_data, nodata_value, true_alphas
from cropland.geo.reading import (
    ImageFile,
    ImageHeader,
    Layer,
    at_first_look,
    image_file,
    observed_in,
    read_header,
)
from cropland.geo.resample import resample, resampled_length, taps
from cropland.geo.statistics import HIGH, LOW, Statistics, percentiles
from cropland.geo.window import Window
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0

__all__ = ["Image", "Scene", "SceneOptions", "open_scene", "open_scenes"]

Pixels = tuple[np.ndarray, np.ndarray | None]
AT_ONCE = 1 << 24  # source pixels resampled in one go
COLOURS = ("red", "green", "blue")
THUMBNAIL = 240  # pixels of an edge
NO_MASK = "none"  # in place of a cloud mask


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels of a window in the sensor's units, and where they are valid; values are 0 where they are not.

    grid, bands: where the pixels lie, and the names of the bands, where that is known.
    """

    values: Float32[np.ndarray, "band height width"]
    valid: Bool[np.ndarray, "height width"]
    grid: GeoBox | None = None
    bands: tuple[str, ...] = ()

    def rgba(
        self, low: Sequence[float] | None = None, high: Sequence[float] | None = None
    ) -> Float32[np.ndarray, "height width 4"]:
        """Red, green and blue where the image has them, else its first band, and where it is valid; all 0..1.

        low, high: what is drawn darkest and brightest, per band of the image; its own 2nd and 98th percentile if not
        given.
        """
        chosen = [self.bands.index(band) for band in COLOURS] if set(COLOURS) <= set(self.bands) else [0, 0, 0]
        values = self.values[chosen]
        if low is None or high is None:
            seen = values[:, self.valid]
            limits = np.percentile(seen, (LOW, HIGH), axis=1) if seen.size else np.zeros((2, 3))
        else:
            limits = np.array([low, high])[:, chosen]
        darkest, brightest = limits[:, :, None, None]
        stretched = np.clip((values - darkest) / np.maximum(brightest - darkest, 1e-6), 0, 1)
        return np.concatenate([stretched, self.valid[None]]).transpose(1, 2, 0).astype(np.float32)

    def rgb(
        self, low: Sequence[float] | None = None, high: Sequence[float] | None = None
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The same in bytes, grey where the image is not valid."""
        drawn = (255 * self.rgba(low, high)[:, :, :3]).astype(np.uint8)
        drawn[~self.valid] = 127
        return drawn

    def _repr_html_(self) -> str:
        step = ceil(max(self.valid.shape) / THUMBNAIL)
        seen = replace(self, values=self.values[:, ::step, ::step], valid=self.valid[::step, ::step])
        return fact_sheet(_("image"), _facts(self.bands, self.valid.shape, self.grid), _png(seen.rgba()))


@dataclass(frozen=True, eq=False)
class Scene:
    """Imagery of one sensor and time on one grid: one or more files, here or remote, none of them held open.

    name: for output folders. bands: STAC common names where known. grid: its own; without a CRS it is pixel space.
    pixel_m: edge of a pixel at the centre, metres on the ellipsoid (geometric mean of the two edges).
    notes: what was assumed, in sentences. layers, no_data: where the bands lie and what is no data.
    observed: when it was taken, UTC, where that is known. is_temporary: its file goes with it, as that of an array.
    """

    name: str
    files: tuple[ImageFile, ...]
    bands: tuple[str, ...]
    grid: GeoBox
    pixel_m: float
    notes: tuple[str, ...]
    layers: tuple[Layer, ...]
    no_data: NoData
    observed: datetime | None = None
    is_temporary: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    @property
    def has_no_data(self) -> bool:
        """False only if every pixel is certainly valid."""
        return self.no_data.is_possible

    @property
    def unit_m(self) -> float | None:
        """Metres per unit of the coordinates where there is no CRS, else None."""
        return None if self.grid.crs else self.pixel_m / sqrt(abs(self.grid.affine.determinant))

    def working_grid(self, ratio: float) -> GeoBox:
        """The grid of the same origin with pixels `ratio` times as large; the last ones may reach over the edge."""
        height, width = (resampled_length(length, ratio) for length in self.shape)
        return GeoBox((height, width), self.grid.affine @ Affine.scale(ratio), self.grid.crs)

    def read(self, window: Window | None = None, *, bands: Sequence[str] | None = None, ratio: float = 1.0) -> Image:
        """The bands (all of them) in a window (the whole) of the working grid of that ratio.

        Above 1 a pixel is the area-weighted mean of the valid pixels under it, valid where they fill at least half of
        its area inside the scene; below 1 it is interpolated bilinearly. A window is bit for bit the same part of a
        larger one. Raises `BandError` for a band that the scene lacks, `ReadError` for a window that cannot be read.
        """
        bands = self.bands if bands is None else tuple(bands)
        layers = self._layers(bands)
        if window is None:
            window = Window(0, 0, *(resampled_length(length, ratio) for length in self.shape))
        pixels = self.no_data.read(layers, window) if ratio == 1 else self._resampled(window, layers, ratio)
        place = self.grid.affine @ Affine.scale(ratio) @ Affine.translation(window.col, window.row)
        return _image(pixels, layers, GeoBox(window.shape, place, self.grid.crs), bands)

    def read_valid(self, window: Window) -> Bool[np.ndarray, "height width"]:
        """Where the scene has data, in a window of its own grid."""
        return self.no_data.valid(window) if self.has_no_data else np.ones(window.shape, bool)

    def read_decimated(self, *, bands: Sequence[str], max_pixels: int = 1_000_000) -> Image:
        """The whole scene by pixels at even distances, for statistics and pictures; cheap where overviews exist.

        Raises `SceneError` where it cannot be read.
        """
        key = (ref(self), tuple(bands), max_pixels)
        image = _latest.get(key)
        if image is None:
            with at_first_look():
                image = _decimated(self, tuple(bands), max_pixels)
            _latest.clear()
            _latest[key] = image
        return image

    def rgba(self, *, max_pixels: int) -> Float32[np.ndarray, "height width 4"]:
        """A picture of the whole scene: `Image.rgba` of a decimated read."""
        bands = COLOURS if set(COLOURS) <= set(self.bands) else self.bands[:1]
        return self.read_decimated(bands=bands, max_pixels=max_pixels).rgba()

    def statistics(self, bands: Sequence[str] | None = None) -> Statistics:
        """The low and the high percentile of each band (all of them) over the whole scene, from one decimated pass.

        Raises `SceneError` if the scene is all no data.
        """
        bands = self.bands if bands is None else bands
        image = self.read_decimated(bands=bands)
        if not image.valid.any():
            raise SceneError("{name} is all no data; expected some valid pixels, check --nodata", name=self.name)
        return percentiles(image.values, image.valid, bands)

    def _repr_html_(self) -> str:
        facts = _facts(self.bands, self.shape, self.grid, self.pixel_m)
        facts[_("notes")] = " ".join(map(shown, self.notes)) or _("none")
        return fact_sheet(self.name, facts, _png(self.rgba(max_pixels=THUMBNAIL**2)))

    def _layers(self, bands: Sequence[str]) -> list[Layer]:
        missing = [band for band in bands if band not in self.bands]
        if missing:
            raise BandError(
                "{name} has no band {missing} (it has {bands}); say which it is with --bands "
                "{missing2}=NUMBER,... or use another model",
                name=self.name,
                missing=", ".join(missing),
                bands=", ".join(self.bands),
                missing2=missing[0],
            )
        return [self.layers[self.bands.index(band)] for band in bands]

    def _resampled(self, window: Window, layers: Sequence[Layer], ratio: float) -> Pixels:
        rows, cols = (
            taps(ratio, start=start, count=count, length=length)
            for start, count, length in zip(window[:2], window[2:], self.shape, strict=True)
        )
        (row, height), (col, width) = rows.span, cols.span
        if height * width > AT_ONCE and window.height > 1:
            return _stacked([self._resampled(half, layers, ratio) for half in _halves(window)])
        values, valid = self.no_data.read(layers, Window(row, col, height, width))
        return resample(values, valid, rows=rows, cols=cols)


# Statistics and picture need the same pixels. A weak reference: the scene itself is not kept in memory by this.
_latest: dict[tuple[ref[Scene], tuple[str, ...], int], Image] = {}


def _decimated(scene: Scene, bands: tuple[str, ...], max_pixels: int) -> Image:
    layers, (height, width) = scene._layers(bands), scene.shape
    scale = min(1.0, sqrt(max_pixels / (height * width)))
    rows, cols = max(1, int(height * scale)), max(1, int(width * scale))
    whole = Window(0, 0, height, width)
    if height % 2 or rows % 2:  # else the halves show the same pixels
        pixels = scene.no_data.read(layers, whole, shape=(rows, cols))
    else:
        # Without overviews every block is decoded, which takes a thread a quarter of the time of the network.
        with ThreadPoolExecutor(2) as pool:
            half = (rows // 2, cols)
            read = pool.map(lambda window: scene.no_data.read(layers, window, shape=half), _halves(whole))
            pixels = _stacked(list(read))
    grid = GeoBox((rows, cols), scene.grid.affine @ Affine.scale(width / cols, height / rows), scene.grid.crs)
    return _image(pixels, layers, grid, bands)


def _halves(window: Window) -> tuple[Window, Window]:
    upper = window.height // 2
    return window._replace(height=upper), window._replace(row=window.row + upper, height=window.height - upper)


def _stacked(parts: Sequence[Pixels]) -> Pixels:
    masks = [np.ones(values.shape[1:], bool) if valid is None else valid for values, valid in parts]
    return np.concatenate([values for values, _ in parts], axis=1), np.concatenate(masks)


def _image(pixels: Pixels, layers: Sequence[Layer], grid: GeoBox, bands: tuple[str, ...]) -> Image:
    values, valid = pixels
    values = values.astype(np.float32, copy=False)
    added = np.array([layer.added for layer in layers], np.float32)
    if added.any():
        values = values + added[:, None, None]
    if valid is None:
        return Image(values, np.ones(values.shape[1:], bool), grid, bands)
    return Image(np.where(valid, values, np.float32(0)), valid, grid, bands)


def _facts(
    bands: Sequence[str], shape: tuple[int, ...], grid: GeoBox | None, pixel_m: float | None = None
) -> dict[str, str]:
    (height, width), crs = shape, grid.crs if grid is not None else None
    size = (
        _("{width:,} x {height:,} pixels", width=width, height=height)
        if pixel_m is None
        else _("{width:,} x {height:,} pixels of {pixel_m:.3g} m", width=width, height=height, pixel_m=pixel_m)
    )
    return {
        _("bands"): ", ".join(bands),
        _("size"): size,
        _("coordinates"): crs_name(crs.proj) if crs is not None else _("none"),
    }


def _png(rgba: Float32[np.ndarray, "height width 4"]) -> bytes:
    drawn = (255 * rgba).astype(np.uint8).transpose(2, 0, 1)
    bands, height, width = drawn.shape
    with MemoryFile() as memory, catch_warnings(action="ignore", category=NotGeoreferencedWarning):
        with memory.open(driver="PNG", count=bands, height=height, width=width, dtype="uint8") as file:
            file.write(drawn)
        return bytes(memory.read())


def open_scene(
    paths: Given | Sequence[Given] | Imagery,
    *,
    sensor: str | None = None,
    bands: str | Mapping[str, int] | Sequence[str] | None = None,
    nodata: float | None = None,
    crs: object = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
    mask: Given | None = None,
    mask_values: str | Sequence[int] | None = None,
    mask_bits: str | Sequence[int] | None = None,
) -> Scene:
    """Open a scene by its files, or by a folder with one file per band; addresses may stand in place of paths.

    sensor: a name on the shelf. bands: numbers by name, counted from 1 through all files, also as
    "red=3,green=2,blue=1"; or a name for each. nodata, crs: in place of what the files declare. pixel_m: for a scene
    without a CRS. allow_datum_shift: accept a CRS of another frame than the files'. mask: a raster whose values say
    where cloud hides the ground, which is no data there; the one that a STAC item names if not given, no one for
    "none". mask_values: those of the mask that hide the ground, also as "3,8,9". mask_bits: the same by bits, counted
    from 0; both are known for Sentinel-2's SCL, Landsat's QA_PIXEL and Fmask.
    Raises `SceneError`, `BandError` or `GridError` for what cannot be used, `InputError` for a mask that is not meant.
    """
    imagery = given_imagery(paths)
    with at_first_look():
        headers, mistaken = true_alphas([_header(path, imagery.tags) for path in imagery.files])
    found = [band for header in headers for band in header.bands]
    numbers = band_numbers(bands, len(found))
    named = name_bands(found, sensor=sensor or imagery.sensor, bands=numbers or imagery.bands)
    if imagery.of_one_size:
        named = of_one_size(named)
        used = {source.path: None for source in named.sources}
        headers = [header for path in used for header in headers if header.path == path]
    placement = place(headers, crs=crs, pixel_m=pixel_m, allow_datum_shift=allow_datum_shift)
    layers = _layers_of(named, nodata)
    with at_first_look():
        no_data, seen = find_no_data(layers, named, headers)
        no_data, beyond = beyond_the_earth(no_data, placement.grid)
        no_data, hidden = _under_clouds(
            no_data, imagery, placement.grid, mask=mask, mask_values=mask_values, mask_bits=mask_bits
        )
        check_any_data(no_data, headers[0].shape, name=imagery.name)
    return Scene(
        name=imagery.name,
        files=tuple(header.path for header in headers),
        bands=named.names,
        grid=placement.grid,
        pixel_m=placement.pixel_m,
        notes=(*named.notes, *mistaken, *placement.notes, *_offset_notes(layers), *seen, *beyond, *hidden),
        layers=layers,
        no_data=no_data,
        observed=imagery.observed or observed_in(headers[0].bands[0].tags),
    )


def _under_clouds(
    no_data: NoData,
    imagery: Imagery,
    grid: GeoBox,
    *,
    mask: Given | None,
    mask_values: str | Sequence[int] | None,
    mask_bits: str | Sequence[int] | None,
) -> tuple[NoData, tuple[Message, ...]]:
    """The rule with the cloud mask that is given, or that the item names, and notes on it."""
    values = whole_numbers(mask_values, option="--mask-values")
    bits = whole_numbers(mask_bits, option="--mask-bits")
    if values and bits:
        raise InputError("--mask-values and --mask-bits cannot go together; give one of them")
    given = imagery.clouds if mask is None else None if mask == NO_MASK else MaskFile.of(image_file(mask))
    if given is None and (values or bits):
        raise InputError("--mask-values and --mask-bits are of a mask; give it with --mask FILE")
    if given is None:
        return no_data, ()
    try:
        clouds, notes = open_cloud_mask(given, grid, values=values, bits=bits)
    except (SceneError, GridError) as error:
        if not given.is_own:
            raise
        raise SceneError(
            "the mask of the item {name} cannot be used ({error}); give another one with --mask FILE, or use all "
            "pixels with --mask none",
            name=imagery.name,
            error=error,
        ) from error
    return replace(no_data, clouds=clouds), notes


def _header(path: ImageFile, tags: Mapping[str, str]) -> ImageHeader:
    """The header of a file, with these tags beside its own."""
    header = read_header(path)
    if not tags:
        return header
    return replace(header, bands=tuple(replace(band, tags={**band.tags, **tags}) for band in header.bands))


def _layers_of(named: NamedBands, nodata: float | None) -> tuple[Layer, ...]:
    is_sentinel2 = any(sensor.name.startswith("sentinel2") for sensor in named.sensors)
    return tuple(
        Layer(
            source.path,
            source.index,
            source.dtype,
            nodata=nodata_value(source, named, nodata),
            added=added_to(source, band=name, is_sentinel2=is_sentinel2),
        )
        for name, source in zip(named.names, named.sources, strict=True)
    )


def _offset_notes(layers: Sequence[Layer]) -> tuple[str, ...]:
    added = {layer.added for layer in layers} - {0.0}
    if not added:
        return ()
    return (
        Message(
            "Sentinel-2's offset of baseline 04.00 is applied ({added}).",
            added=", ".join(f"{a:+g}" for a in sorted(added)),
        ),
    )


def open_scenes(
    given: Sequence[Given],
    *,
    sensor: str | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
    mask: Given | None = None,
    mask_values: str | None = None,
    mask_bits: str | None = None,
) -> list[Scene]:
    """Open all scenes that are given, in their order; by name where one of the given stands for several scenes.

    Each is an image (also a VRT or an address), a pattern such as tiles/*.tif, a STAC Item or ItemCollection, or a
    folder. If all images in a folder have the same number of bands, and at least three, each image is one scene; in a
    folder of folders with images, each of these is one scene. Any other folder is one scene with a file per band.
    The other arguments and the errors are those of `open_scene`.
    """
    return [
        open_scene(
            imagery,
            sensor=sensor,
            bands=bands,
            nodata=nodata,
            crs=crs,
            pixel_m=pixel_m,
            allow_datum_shift=allow_datum_shift,
            mask=mask,
            mask_values=mask_values,
            mask_bits=mask_bits,
        )
        for each in given
        for imagery in every_imagery(image_file(each))
    ]


@Parameter(name="*")
@dataclass(frozen=True)
class SceneOptions:
    """How scenes are opened, as typed on the command line.

    Parameters
    ----------
    sensor
        The sensor whose bands these are.
    bands
        Numbers of the bands, as in red=3,green=2,blue=1.
    nodata
        The value that means no data.
    crs
        The CRS of scenes whose files name none, as in EPSG:32650.
    pixel_m
        Pixel size in metres of scenes without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    mask
        A cloud mask: a raster whose values say where cloud, shadow or snow hides the ground, which is no data there. A
        STAC item names its own, which is used if none is given; none uses all pixels.
    mask_values
        Its values that hide the ground, as in 3,8,9,10,11; known for Sentinel-2's SCL and for Fmask.
    mask_bits
        Its bits that hide the ground, counted from 0, as in 1,2,3,4; known for Landsat's QA_PIXEL and the Fmask of HLS.
    """

    sensor: str | None = None
    bands: str | None = None
    nodata: float | None = None
    crs: str | None = None
    pixel_m: Annotated[float | None, ABOVE_0] = None
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False
    mask: str | None = None
    mask_values: str | None = None
    mask_bits: str | None = None

    def open(self, given: Sequence[Given]) -> list[Scene]:
        """`open_scenes` with these options. Raises the same errors."""
        return open_scenes(given, **self._arguments())

    def opener(self) -> Callable[[Given], Scene]:
        """`open_scene` with these options. Raises `BandError` where the bands cannot be read."""
        return partial(open_scene, **self._arguments())

    def _arguments(self) -> dict[str, Any]:
        return {**vars(self), "bands": parse_bands(self.bands) if self.bands else None}
