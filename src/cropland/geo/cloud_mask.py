"""A cloud mask: a raster beside a scene whose values say where cloud, shadow or snow hides the ground."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from jaxtyping import Bool, Int64
from odc.geo.geobox import GeoBox
from pyproj import CRS

from cropland.errors import GridError, InputError, Option, SceneError
from cropland.geo.grid import crs_name, usable_crs
from cropland.geo.reading import ImageFile, ImageHeader, Layer, read_header, read_layers, reading
from cropland.geo.window import Window
from cropland.language import Message, joined

__all__ = ["CloudMask", "MaskFile", "open_cloud_mask", "whole_numbers"]

AT_ONCE = 1 << 24  # pixels of a mask in memory
OFF = 0.01  # of a pixel of the mask: as far as a place may be off
ON_EDGE = 1e-6  # a middle this near to an edge lies on it, and belongs to the pixel behind
FEW = 16  # values that an error lists
NEARLY = 0.99  # of the scene, that the outline of a mask in another CRS must reach
LOOKED = 1000  # pixels along each edge by which the hidden share is told


@dataclass(frozen=True)
class MaskKind:
    """A raster that is known by its name, and which of its values and bits hide the ground.

    pattern: of the words, in small letters, of a file's name, or of the key, title or band of a STAC asset.
    """

    title: str
    pattern: str
    values: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()


KINDS = (
    # 0 no data, 1 saturated or defective, 3 cloud shadow, 8 and 9 cloud, 10 thin cirrus, 11 snow or ice.
    # Source: ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), Scene Classification.
    MaskKind(Message("Sentinel-2 scene classification"), r"\bscl\b", values=(0, 1, 3, 8, 9, 10, 11)),
    # 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 cloud shadow, 5 snow.
    # Source: USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), Pixel Quality Assessment.
    MaskKind(Message("Landsat pixel quality"), r"\bqa pixel\b", bits=(0, 1, 2, 3, 4, 5)),
    # 1 cloud, 2 beside cloud or shadow, 3 cloud shadow, 4 snow or ice; the fill, 255, has all of them.
    # Source: NASA, Harmonized Landsat Sentinel-2 Product User Guide V2.0, Quality Assessment layer.
    MaskKind("HLS Fmask", r"\bhls [ls]30 (.* )?fmask\b", bits=(1, 2, 3, 4)),
    # 0 land, 1 water, 2 cloud shadow, 3 snow, 4 cloud, 255 fill.
    # Source: Qiu, Zhu and He 2019, Fmask 4.0, doi:10.1016/j.rse.2019.05.024.
    MaskKind("Fmask", r"\bfmask\d?\b", values=(2, 3, 4, 255)),
)


@dataclass(frozen=True)
class MaskFile:
    """The file of a cloud mask, and its kind where that is known. is_own: the scene itself names it."""

    path: ImageFile
    kind: MaskKind | None
    is_own: bool = False

    @staticmethod
    def of(path: ImageFile, *names: str, is_own: bool = False) -> MaskFile:
        """The mask of a file, whose name or other `names` may tell the kind."""
        texts = [re.sub(r"[^a-z0-9]+", " ", name.lower()) for name in (path.stem, *names)]
        found = (kind for kind in KINDS if any(re.search(kind.pattern, text) for text in texts))
        return MaskFile(path, next(found, None), is_own)


@dataclass(frozen=True)
class CloudMask:
    """The pixels of a scene that are no data, because the mask has one of the `values` there, or one of the `bits`.

    One of the two is empty. bits: counted from 0, the lowest. from_scene: from column and row of the scene to those of
    the mask, without a turn.
    """

    layer: Layer
    values: tuple[int, ...]
    bits: tuple[int, ...]
    from_scene: Affine

    @property
    def hiding(self) -> dict[str, list[int]]:
        """What hides the ground, for map.json."""
        return {"values": list(self.values)} if self.values else {"bits": list(self.bits)}

    def covers(
        self, rows: Int64[np.ndarray, " height"], cols: Int64[np.ndarray, " width"]
    ) -> Bool[np.ndarray, "height width"]:
        """Which pixels at these rows and columns of the scene are hidden, by the pixel of the mask at their middle."""
        own_rows, own_cols = _under(self.from_scene, rows, cols)
        top, left = int(own_rows.min()), int(own_cols.min())
        window = Window(top, left, int(own_rows.max()) - top + 1, int(own_cols.max()) - left + 1)
        if window.height * window.width > AT_ONCE and len(rows) > 1:
            return np.concatenate([self.covers(half, cols) for half in np.array_split(rows, 2)])
        numbers = read_layers([self.layer], window)[0]
        return self._hides(numbers[np.ix_(own_rows - top, own_cols - left)])

    def _hides(self, numbers: np.ndarray) -> Bool[np.ndarray, "row col"]:
        hidden: np.ndarray = np.isin(numbers, np.array(self.values, numbers.dtype))
        if self.bits:
            hidden |= (numbers.astype(np.int64) & sum(1 << bit for bit in self.bits)) != 0
        return hidden


def open_cloud_mask(
    given: MaskFile, grid: GeoBox, *, values: Sequence[int] = (), bits: Sequence[int] = ()
) -> tuple[CloudMask, tuple[Message, ...]]:
    """The mask of a scene with this grid, and what a person should know of it.

    values, bits: what hides the ground, by one of them; that of the known kind if both are empty. Raises `SceneError`
    for a file that is no mask, or whose kind is not known and nothing is given, `GridError` where it cannot be placed
    on the scene.
    """
    header = read_header(given.path)
    layer = _layer(header)
    from_scene = _placed(header, grid)
    kind = None if values or bits else given.kind
    if kind is not None:
        values, bits = kind.values, kind.bits
    if not (values or bits):
        raise SceneError(
            "{name} is no mask of a known kind; it holds {values}: say which of these hide the ground with "
            "--mask-values, or which bits do with --mask-bits",
            name=given.path.name,
            values=_values(layer, header.shape),
        )
    _check_possible(layer, values, bits)
    mask = CloudMask(layer, tuple(values), tuple(bits), from_scene)
    share = _hidden_share(mask, header, grid)
    return mask, _notes(mask, kind, share, is_own=given.is_own)


def _hidden_share(mask: CloudMask, header: ImageHeader, grid: GeoBox) -> float:
    """How much of the scene is hidden, by up to a million pixels at even distances."""
    rows, cols = (np.array([0, length - 1]) for length in map(int, grid.shape))
    (top, bottom), (left, right) = (np.sort(ends) for ends in _under(mask.from_scene, rows, cols))
    window = Window(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)
    with reading(header.path) as file:
        shape = tuple(min(LOOKED, length) for length in window.shape)
        numbers = file.read(mask.layer.index, window=window.in_file, out_shape=shape)
    return float(mask._hides(numbers).mean())


def _notes(mask: CloudMask, kind: MaskKind | None, share: float, *, is_own: bool) -> tuple[Message, ...]:
    name, numbers = mask.layer.path.name, ", ".join(map(str, mask.values or mask.bits))
    named = name if kind is None else Message("{name} ({kind})", name=name, kind=kind.title)
    about = {"name": named, "numbers": numbers, "share": share}
    note = (
        Message("Pixels are no data where {name} is {numbers}: some {share:.1%} of the scene.", **about)
        if mask.values
        else Message("Pixels are no data where {name} has a bit of {numbers}: some {share:.1%} of the scene.", **about)
    )
    return (note, Message("The item names this mask; --mask none uses all pixels.")) if is_own else (note,)


def whole_numbers(given: str | Sequence[int] | None, *, option: str) -> tuple[int, ...]:
    """The numbers of an option, also as text: 3,8,9. Raises `InputError` for anything else."""
    parts = given.split(",") if isinstance(given, str) else given or ()
    try:
        return tuple(dict.fromkeys(int(part) for part in parts))
    except (TypeError, ValueError) as error:
        raise InputError(
            "{option} {text!r} cannot be read; write whole numbers, as in 3,8,9", option=Option(option), text=given
        ) from error


def _layer(header: ImageHeader) -> Layer:
    path = header.path
    if len(header.bands) > 1:
        raise SceneError(
            "{name} has {count} bands; a cloud mask has one: gdal_translate -b NUMBER {path} mask.tif",
            name=path.name,
            count=len(header.bands),
            path=path,
        )
    layer = Layer(path, 1, header.bands[0].dtype)
    if layer.is_float:
        raise SceneError("{name} holds {dtype}; a cloud mask holds whole numbers", name=path.name, dtype=layer.dtype)
    return layer


def _placed(header: ImageHeader, grid: GeoBox) -> Affine:
    """From pixels of the scene to those of the mask. Raises `GridError` where that needs a turn, or leaves the mask."""
    name = header.path.name
    scene = None if grid.crs is None else CRS.from_user_input(str(grid.crs))
    own = usable_crs(header.crs) if header.crs else None
    if own is None and scene is not None:
        raise GridError(
            "{name} has no coordinate reference system, but the scene has one; write it into the file: "
            "gdal_edit.py -a_srs {crs} {path}",
            name=name,
            crs=_code(scene),
            path=header.path,
        )
    affine = Affine.scale(1, -1) if own is None and header.transform.is_identity else header.transform
    way: Affine = ~affine @ grid.affine
    height, width = map(int, grid.shape)
    if own is not None and scene is not None and (reached := _footprint(header, own, grid)) < NEARLY:
        raise _beside(name, reached)
    if own != scene or max(abs(way.b) * height, abs(way.d) * width) > OFF:
        raise GridError(
            "{name} lies on another grid ({own}) than the scene ({scene}); bring it onto the scene's: {command}",
            name=name,
            own=_grid_name(own, affine),
            scene=_grid_name(scene, grid.affine),
            command=_warp(header, grid, scene),
        )
    rows, cols = _under(way, np.array([0, height - 1]), np.array([0, width - 1]))
    share = np.prod([_inside(ends, length) for ends, length in zip((rows, cols), header.shape, strict=True)])
    if share < 1:
        raise _beside(name, float(share))
    return way


def _footprint(header: ImageHeader, own: CRS, grid: GeoBox) -> float:
    """The share of the scene's ground that the mask reaches, by their outlines."""
    scene, mask = (
        grid.extent.geom,
        GeoBox(header.shape, header.transform, own.to_wkt()).extent.to_crs(str(grid.crs)).geom,
    )
    share = scene.intersection(mask).area / scene.area if np.isfinite(mask.bounds).all() else 0.0
    return float(share)


def _beside(name: str, share: float) -> GridError:
    if share <= 0:
        return GridError("{name} does not meet the scene; give the mask of this place", name=name)
    return GridError(
        "{name} covers {share:.0%} of the scene; give a mask that covers all of it", name=name, share=share
    )


def _under(
    way: Affine, rows: Int64[np.ndarray, " row"], cols: Int64[np.ndarray, " col"]
) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " col"]]:
    """Rows and columns of the mask under the middles of the scene's."""
    places = way.e * (rows + 0.5) + way.f, way.a * (cols + 0.5) + way.c
    own_rows, own_cols = (np.floor(place + ON_EDGE).astype(np.int64) for place in places)
    return own_rows, own_cols


def _inside(ends: np.ndarray, length: int) -> float:
    """The share of the way between two pixels, both with it, that lies in the mask."""
    first, last = sorted(map(int, ends))
    if first >= 0 and last < length:
        return 1.0
    return max(0, min(last, length - 1) - max(first, 0) + 1) / (last - first + 1)


def _code(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "CRS"


def _grid_name(crs: CRS | None, affine: Affine) -> str:
    name = Message("none") if crs is None else crs_name(crs)
    return Message("{crs}, rotated", crs=name) if affine.b or affine.d else name


def _warp(header: ImageHeader, grid: GeoBox, crs: CRS | None) -> str:
    (height, width), box = map(int, grid.shape), grid.boundingbox
    target = "" if crs is None else f" -t_srs {_code(crs)}"
    bounds = " ".join(f"{edge:.12g}" for edge in box.bbox)
    return f"gdalwarp -r near{target} -te {bounds} -ts {width} {height} {header.path} mask.tif"


def _check_possible(layer: Layer, values: Sequence[int], bits: Sequence[int]) -> None:
    dtype = np.dtype(layer.dtype)
    limits = np.iinfo(dtype)
    wrong = [("--mask-values", value) for value in values if not limits.min <= value <= limits.max]
    wrong += [("--mask-bits", bit) for bit in bits if not 0 <= bit < 8 * dtype.itemsize]
    if wrong:
        option, number = wrong[0]
        raise SceneError(
            "{option} {number} cannot occur in {name}, which holds {dtype}",
            option=Option(option),
            number=number,
            name=layer.path.name,
            dtype=layer.dtype,
        )


def _values(layer: Layer, shape: tuple[int, int]) -> str:
    """The values of a mask for a person, the most frequent first."""
    counts: dict[int, int] = {}
    for window in _strips(shape):
        for value, count in zip(*np.unique(read_layers([layer], window), return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(count)
    shown = [str(value) for value in sorted(counts, key=lambda value: -counts[value])]
    more = [Message(" and {len} more", len=len(shown) - FEW)] if len(shown) > FEW else []
    return joined("", (", ".join(shown[:FEW]), *more))


def _strips(shape: tuple[int, int]) -> Iterator[Window]:
    height, width = shape
    rows = max(1, AT_ONCE // width)
    return (Window(row, 0, min(rows, height - row), width) for row in range(0, height, rows))
