"""The slippy picture of an evaluation: right, false alarm, missed and unknown over the imagery, in one HTML file.

A sheet becomes a pyramid of tiles. Level 0 has its own pixels, each further level half as many along each side, and the
top level is one tile. If not all of level 0 fits the budget, the whole ground is kept down to the finest level that
takes half of it; the rest goes to tiles of levels 0 and 1 in the places that are listed and where most is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from itertools import product

import numpy as np
import shapely
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.score import Picture
from cropland.geo.window import Window
from cropland.language import _
from cropland.page import encoded
from cropland.progress import Bar, megapixels, progress_bar

__all__ = ["FALSE", "MISSED", "RIGHT", "Place", "Sheet", "assembled", "viewer"]

# Okabe and Ito (2008), which every kind of colour vision can tell apart.
RIGHT, FALSE, MISSED = (0, 158, 115), (213, 94, 0), (86, 180, 233)
# A class is the prediction + 2 x the reference: 0 other land, 1 false alarm, 2 missed, 3 right; and 4 unknown.
IS_FALSE, IS_MISSED, IS_UNKNOWN = 1, 2, 4
# Red, green, blue and opacity of each. What is right is faint, so that the eye goes to what is wrong.
PALETTE = ((0, 0, 0, 0), (*FALSE, 215), (*MISSED, 215), (*RIGHT, 65), (40, 40, 40, 140))
COLOURS = bytes(value for *colour, _opacity in PALETTE for value in colour)
OPACITIES = bytes(opacity for *_colour, opacity in PALETTE)
TILE = 256  # pixels along the edge of a tile
BLOCK = 4 * TILE  # of a part that is read at once
SHARP = 2 * TILE  # of a part of level 0 that is kept where most is wrong
ENTRY = 32  # bytes of a tile in the page beside its pixels
OUTLINES = 1 / 8  # share of the budget that outlines may take
QUARTERS = 4  # steps of a pixel in which outlines are written
BLANK = 200  # grey where there is no imagery; viewer.js fills with it too

RGB = UInt8[np.ndarray, "height width 3"]
Classes = UInt8[np.ndarray, "height width"]
Tiles = dict[tuple[int, int, int], tuple[str, str]]  # (level, row, column): JPEG of the imagery, PNG of the verdict


@dataclass(frozen=True, eq=False)
class Sheet:
    """One picture of the viewer.

    shape: height and width in pixels. pixel_m: height and width of a pixel in metres. read: the imagery (None where a
    sheet has none), prediction and reference (1 cropland, 0 not cropland, 255 unknown) of a window, every `step`-th row
    and column from its first; imagery may be averaged instead. predicted, reference: outlines of fields, in columns and
    rows of pixels.
    """

    name: str
    shape: tuple[int, int]
    pixel_m: tuple[float, float]
    read: Callable[[Window, int], tuple[RGB | None, Classes, Classes]]
    predicted: Sequence[shapely.Geometry] = ()
    reference: Sequence[shapely.Geometry] = ()


@dataclass(frozen=True)
class Place:
    """A part of a sheet to look at, in its pixels; `sheet` is the position among the sheets."""

    name: str
    sheet: int
    window: Window
    note: str = ""


def viewer(sheets: Sequence[Sheet], *, places: Sequence[Place] = (), budget_bytes: int = 8_000_000) -> Markup:
    """The pictures as a fragment of an HTML page, with everything that they need in it.

    Tiles and outlines take at most `budget_bytes` of the page; script and style add about 180 kB. Each sheet is read
    once in windows of at most 1024 x 1024 samples, and again, in windows of 512 x 512, where it is shown in full
    sharpness: the places in their order, then where most is wrong. If not even the coarsest tiles of all sheets fit,
    the last sheets and their places are left out, and the page says so; the fragment is empty if none is left.
    """
    outlines = _outlines(sheets, budget=round(budget_bytes * OUTLINES))
    pyramids = _choose(sheets, places, budget=budget_bytes - len(_compact(outlines)))
    data = {
        "sheets": [
            {
                "name": sheet.name,
                "shape": sheet.shape,
                "pixel": sheet.pixel_m,
                "top": _top(sheet.shape),
                "home": pyramid.home,
                "note": _sharpness(sheet, pyramid.base),
                "tiles": {"/".join(map(str, key)): tile for key, tile in pyramid.tiles.items()},
                **rings,
            }
            for sheet, pyramid, rings in zip(sheets, pyramids, outlines, strict=False)
        ],
        "blank": f"rgb({BLANK} {BLANK} {BLANK})",
        "places": [{"sheet": place.sheet, "window": place.window} for place in places],
    }
    if not pyramids:
        return Markup("")
    given = any(len(sheet.predicted) or len(sheet.reference) for sheet in sheets)
    folder = files("cropland.evaluation")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["_"] = _
    return Markup(
        environment.from_string((folder / "viewer.html").read_text(encoding="utf-8")).render(
            # Within a script nothing is an entity, and no name may end it.
            data=Markup(_compact(data).replace("<", "\\u003c")),
            sheets=sheets[: len(pyramids)],
            omitted=len(sheets) - len(pyramids),
            places=[(number, place) for number, place in enumerate(places) if place.sheet < len(pyramids)],
            drawn={name: any(rings[name] for rings in outlines) for name in ("predicted", "reference")},
            crowded=given and not any(any(rings.values()) for rings in outlines),
            colours={"right": RIGHT, "false": FALSE, "missed": MISSED},
            style=Markup((folder / "leaflet" / "leaflet.css").read_text(encoding="utf-8")),
            leaflet=Markup((folder / "leaflet" / "leaflet.js").read_text(encoding="utf-8")),
            licence=Markup((folder / "leaflet" / "LICENSE").read_text(encoding="utf-8")),
            script=Markup((folder / "viewer.js").read_text(encoding="utf-8")),
        )
    )


def assembled(
    name: str, chips: Sequence[tuple[Window, Callable[[], Picture]]], *, pixel_m: tuple[float, float]
) -> Sheet:
    """Chips of one scene as a sheet, each drawn where its window lies; later ones cover earlier ones.

    Ground without a chip is unknown. A chip is drawn when its ground is read, and only the last few are remembered.
    """

    @lru_cache(maxsize=16)
    def drawn(number: int) -> Picture:
        return chips[number][1]()

    def read(window: Window, step: int) -> tuple[RGB | None, Classes, Classes]:
        size = _ceil(window.height, step), _ceil(window.width, step)
        rgb = None
        prediction, reference = np.full(size, UNKNOWN, np.uint8), np.full(size, UNKNOWN, np.uint8)
        for number, (place, _draw) in enumerate(chips):
            rows, rows_of_chip = _samples(window.row, window.height, step, within=(place.row, place.height))
            cols, cols_of_chip = _samples(window.col, window.width, step, within=(place.col, place.width))
            if rows.start >= rows.stop or cols.start >= cols.stop:
                continue
            picture = drawn(number)
            prediction[rows, cols] = picture.prediction[rows_of_chip, cols_of_chip]
            reference[rows, cols] = picture.reference[rows_of_chip, cols_of_chip]
            if picture.rgb is not None:
                rgb = np.full((*size, 3), BLANK, np.uint8) if rgb is None else rgb
                rgb[rows, cols] = picture.rgb[rows_of_chip, cols_of_chip]
        return rgb, prediction, reference

    shape = (
        max(place.row + place.height for place, _draw in chips),
        max(place.col + place.width for place, _draw in chips),
    )
    return Sheet(name, shape, pixel_m, read)


def _samples(first: int, length: int, step: int, *, within: tuple[int, int]) -> tuple[slice, slice]:
    """Which samples of a span lie in another one (its first and its length), and which pixels of that they are."""
    start = max(0, _ceil(within[0] - first, step))
    stop = _ceil(min(first + length, sum(within)) - first, step)
    pixel = first + start * step - within[0]
    return slice(start, stop), slice(pixel, pixel + (stop - start - 1) * step + 1, step)


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """The tiles of a sheet: all those of level `base` and above, some of levels 0 and 1.

    home: the rectangle of what is known. wrong: how many pixels of level `base` are wrong in each part of `SHARP`
    pixels, by the part's first row and column in level 0.
    """

    base: int
    tiles: Tiles
    home: Window
    wrong: dict[tuple[int, int], int]


def _choose(sheets: Sequence[Sheet], places: Sequence[Place], *, budget: int) -> list[_Pyramid]:
    """The pyramids of as many sheets as fit, down to the finest level that all can have, sharper where it counts."""
    tops = [_top(sheet.shape) for sheet in sheets]
    coarsest = max(tops, default=0)
    typical = _typical_bytes(sheets)
    counts = [
        sum(
            _ceil(height, TILE << level) * _ceil(width, TILE << level)
            for (height, width), top in zip((sheet.shape for sheet in sheets), tops, strict=True)
            for level in range(min(base, top), top + 1)
        )
        for base in range(coarsest + 1)
    ]

    def limit(base: int) -> float:
        return budget / 2 if 0 < base < coarsest else budget

    base = next((base for base, count in enumerate(counts) if count * typical <= limit(base)), coarsest)
    with progress_bar(total=sum(sheet.shape[0] * sheet.shape[1] for sheet in sheets), rate=megapixels) as bar:
        found = [_pyramid(sheet, min(base, top), bar) for sheet, top in zip(sheets, tops, strict=True)]
    # The samples may have been of bare ground, which takes less than the rest.
    while base < coarsest and sum(_bytes(each.tiles) for each in found) > limit(base):
        base += 1
        found = [_from_level(each, min(base, top)) for each, top in zip(found, tops, strict=True)]
    while found and sum(_bytes(each.tiles) for each in found) > budget:
        found.pop()
    return _sharpened(sheets, found, places, left=budget - sum(_bytes(each.tiles) for each in found))


def _typical_bytes(sheets: Sequence[Sheet]) -> float:
    """What a tile takes, from a dozen of level 0 in random places."""
    draw = np.random.default_rng(0)
    tiles: Tiles = {}
    for number in range(12 if sheets else 0):
        sheet = sheets[number % len(sheets)]
        row, col = (int(draw.integers(max(1, length - TILE + 1))) for length in sheet.shape)
        height, width = min(TILE, sheet.shape[0] - row), min(TILE, sheet.shape[1] - col)
        tiles |= _cut(*_read(sheet, Window(row, col, height, width), level=0), level=0, row=number * TILE, col=0)
    return _bytes(tiles) / max(len(tiles), 1)


def _pyramid(sheet: Sheet, base: int, bar: Bar) -> _Pyramid:
    """All tiles of a sheet from a level up, from one pass over blocks of that level."""
    top = _top(sheet.shape)
    height, width = (_ceil(length, 1 << base) for length in sheet.shape)
    # What the blocks become once no tile of them is smaller than a tile: the rest of the pyramid comes from there.
    above = min(base + 3, top + 1)
    shape = tuple(_ceil(length, 1 << above) for length in sheet.shape)
    rgb: RGB | None = None
    classes = np.zeros(shape, np.uint8)
    part = max(1, SHARP >> base)
    tiles: Tiles = {}
    wrong: dict[tuple[int, int], int] = {}
    for row, col in product(range(0, height, BLOCK), range(0, width, BLOCK)):
        window = Window(row, col, min(BLOCK, height - row), min(BLOCK, width - col))
        its_rgb, its_classes = _read(sheet, window, level=base)
        errors = ((its_classes == IS_FALSE) | (its_classes == IS_MISSED)).astype(np.int64)
        errors = np.add.reduceat(errors, np.arange(0, window.height, part), axis=0)
        errors = np.add.reduceat(errors, np.arange(0, window.width, part), axis=1)
        for (down, along), count in np.ndenumerate(errors):
            wrong[(row + down * part) << base, (col + along * part) << base] = int(count)
        new, its_rgb, its_classes = _climb(its_rgb, its_classes, level=base, stop=above, row=row, col=col)
        tiles |= new
        there = Window(row >> (above - base), col >> (above - base), *its_classes.shape).slices
        classes[there] = its_classes
        if its_rgb is not None:
            rgb = np.full((*shape, 3), BLANK, np.uint8) if rgb is None else rgb
            rgb[there] = its_rgb
        bar((window.height << base) * (window.width << base))
    tiles |= _climb(rgb, classes, level=above, stop=top + 1, row=0, col=0)[0]
    return _Pyramid(base, tiles, _home(classes, above, sheet.shape), wrong)


def _home(classes: Classes, level: int, shape: tuple[int, int]) -> Window:
    """The rectangle of what is known, in pixels of level 0; the whole where nothing is."""
    # A sample stands for up to `size` pixels on either side of it.
    size = 1 << level
    rows, cols = (np.flatnonzero((classes != IS_UNKNOWN).any(axis=axis)) * size for axis in (1, 0))
    if not len(rows):
        return Window(0, 0, *shape)
    (top, bottom), (left, right) = (
        (max(0, int(its[0]) - size), min(length, int(its[-1]) + size))
        for its, length in zip((rows, cols), shape, strict=True)
    )
    return Window(top, left, bottom - top, right - left)


def _from_level(pyramid: _Pyramid, base: int) -> _Pyramid:
    return replace(pyramid, base=base, tiles={key: tile for key, tile in pyramid.tiles.items() if key[0] >= base})


def _sharpened(
    sheets: Sequence[Sheet], pyramids: Sequence[_Pyramid], places: Sequence[Place], *, left: int
) -> list[_Pyramid]:
    """With tiles of levels 0 and 1 for the bytes that are left: of the places in their order, then of what is wrong."""
    parts = []
    for number, pyramid in enumerate(pyramids):
        for (row, col), wrong in pyramid.wrong.items() if pyramid.base else ():
            rank = next((rank for rank, place in enumerate(places) if _meet(place, number, row, col)), len(places))
            if wrong or rank < len(places):
                parts.append((rank, -(wrong << 2 * pyramid.base), number, row, col))
    added: list[Tiles] = [{} for _pyramid in pyramids]
    for _rank, _wrong, number, row, col in sorted(parts):
        sheet = sheets[number]
        window = Window(row, col, min(SHARP, sheet.shape[0] - row), min(SHARP, sheet.shape[1] - col))
        rgb, classes = _read(sheet, window, level=0)
        stop = min(2, pyramids[number].base)
        tiles, _rgb, _classes = _climb(rgb, classes, level=0, stop=stop, row=row, col=col)
        left -= _bytes(tiles)
        if left < 0:
            break
        added[number] |= tiles
    return [replace(each, tiles=each.tiles | more) for each, more in zip(pyramids, added, strict=True)]


def _meet(place: Place, sheet: int, row: int, col: int) -> bool:
    window = place.window
    down = row < window.row + window.height and window.row < row + SHARP
    return place.sheet == sheet and down and col < window.col + window.width and window.col < col + SHARP


def _read(sheet: Sheet, window: Window, *, level: int) -> tuple[RGB | None, Classes]:
    """Imagery and classes (numbers of `PALETTE`) of a window of a level."""
    row, col = window.row << level, window.col << level
    height, width = min(window.height << level, sheet.shape[0] - row), min(window.width << level, sheet.shape[1] - col)
    rgb, prediction, reference = sheet.read(Window(row, col, height, width), 1 << level)
    classes = (prediction == 1) + 2 * (reference == 1)
    classes[(prediction == UNKNOWN) | (reference == UNKNOWN)] = IS_UNKNOWN
    return rgb, classes.astype(np.uint8)


def _climb(
    rgb: RGB | None, classes: Classes, *, level: int, stop: int, row: int, col: int
) -> tuple[Tiles, RGB | None, Classes]:
    """The tiles of a part at its level and above, and what the part becomes at level `stop`.

    row, col: of its first pixel at its level, both multiples of a tile at all levels below `stop`.
    """
    tiles: Tiles = {}
    while level < stop:
        tiles |= _cut(rgb, classes, level=level, row=row, col=col)
        if rgb is not None:
            rgb = np.pad(rgb, [*((0, length % 2) for length in classes.shape), (0, 0)], mode="edge")
            height, width = (length // 2 for length in rgb.shape[:2])
            fours = rgb.reshape(height, 2, width, 2, 3).sum(axis=(1, 3), dtype=np.uint16)
            rgb = ((fours + 2) // 4).astype(np.uint8)
        # One of four, not the majority: each colour keeps its share of the ground at every level.
        classes = classes[::2, ::2]
        level, row, col = level + 1, row // 2, col // 2
    return tiles, rgb, classes


def _cut(rgb: RGB | None, classes: Classes, *, level: int, row: int, col: int) -> Tiles:
    tiles: Tiles = {}
    for top, left in product(range(0, classes.shape[0], TILE), range(0, classes.shape[1], TILE)):
        part = np.s_[top : top + TILE, left : left + TILE]
        key = level, (row + top) // TILE, (col + left) // TILE
        tiles[key] = _jpeg(None if rgb is None else rgb[part]), _png(classes[part])
    return tiles


def _jpeg(rgb: RGB | None) -> str:
    return "" if rgb is None else encoded(rgb, "jpeg", quality=75, optimize=True)


def _png(classes: Classes) -> str:
    """Colours with their opacity, nothing where all is transparent; what is unknown is hatched."""
    if not classes.any():
        return ""
    hatch = np.add.outer(*map(np.arange, classes.shape)) % 8 < 2
    shown = np.where((classes == IS_UNKNOWN) & ~hatch, 0, classes).astype(np.uint8)
    return encoded(shown, "png", palette=COLOURS, transparency=OPACITIES, bits=4)


def _outlines(sheets: Sequence[Sheet], *, budget: int) -> list[dict[str, list[list[int]]]]:
    """The rings of each sheet, as simple as needed to fit; nothing where they never do.

    A ring is the first column and row, then the differences from point to point, all in quarters of a pixel.
    """
    found: list[dict[str, list[list[int]]]] = []
    for tolerance in (0.25, 0.5, 1.0, 2.0, 4.0):
        found = [
            {"predicted": _rings(sheet.predicted, tolerance), "reference": _rings(sheet.reference, tolerance)}
            for sheet in sheets
        ]
        if len(_compact(found)) <= budget:
            return found
    return [{"predicted": [], "reference": []} for _sheet in sheets]


def _rings(polygons: Sequence[shapely.Geometry], tolerance: float) -> list[list[int]]:
    simple = shapely.simplify(np.asarray(polygons, object), tolerance)
    points, owner = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(simple)), return_index=True)
    steps = np.rint(points * QUARTERS).astype(np.int64)
    first = np.diff(owner, prepend=-1) != 0
    moves = np.where(first[:, None], steps, np.diff(steps, axis=0, prepend=0))
    return [ring.ravel().tolist() for ring in np.split(moves, np.flatnonzero(first)[1:])] if len(moves) else []


def _sharpness(sheet: Sheet, base: int) -> str:
    """What a person must know about blurred ground."""
    if not base:
        return ""
    pixel_m = max(sheet.pixel_m)
    return _(
        "The pixels shown are {coarse:.3g} m wide, and {fine:.3g} m where most is wrong.",
        coarse=pixel_m * 2**base,
        fine=pixel_m,
    )


def _top(shape: tuple[int, int]) -> int:
    """The level at which one tile holds all."""
    return max(0, (max(shape) - 1).bit_length() - (TILE - 1).bit_length())


def _ceil(length: int, step: int) -> int:
    return -(-length // step)


def _bytes(tiles: Tiles) -> int:
    return sum(len(rgb) + len(classes) + ENTRY for rgb, classes in tiles.values())


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
