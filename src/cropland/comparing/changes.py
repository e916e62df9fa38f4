"""Where cropland was gained and lost, as polygons: against what other polygons say, or against an earlier map.

Two outlines of one field never lie on each other, so a difference counts only where it is wide: what an opening by a
disc leaves of it (Serra 1982, Image Analysis and Mathematical Morphology). Of a pure shift by s nothing is left if the
disc is wider than s: along the direction of the shift no piece of the difference is longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from math import atan2, ceil, degrees, hypot
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import rasterio
import shapely
from geopandas import GeoDataFrame
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt

from cropland.comparing.figures import pairs_within
from cropland.comparing.polygons import CROPLAND, OTHER, UNKNOWN, HeldPolygons
from cropland.data.boundary import boundary_distance
from cropland.data.shift import Patch, Shift, has_edges, measured_shift
from cropland.evaluation.subject import NamedGrid, Read, Subject, imagery_on
from cropland.geo.area import MU_PER_HA
from cropland.geo.coverage import in_pixels
from cropland.geo.window import Tile, Window, tiles
from cropland.language import Message
from cropland.parcels.parcels import find_parcels
from cropland.probability import NO_DATA, from_levels
from cropland.progress import megapixels, prefetch, progress_bar

__all__ = ["GAIN", "LOSS", "Before", "Rule", "changes"]

GAIN, LOSS = "gain", "loss"
TILE = 1024  # pixels along the edge of a tile
PATCH, PATCHES = 512, 16  # pixels along the edge of a window in which a shift is measured, and how many of them
SLACK = 2.0  # pixels by which edges of one field differ without a shift: one on either side
T = TypeVar("T")
TOLD = 0.5  # pixels from which on a shift is told


@dataclass(frozen=True, eq=False)
class Before:
    """What was before: what polygons say, or an earlier map.

    read: 1 cropland, 0 not, 255 unknown. outlines: the same, but what no polygon outlines is not cropland: only where
    polygons end matters to a shift. some: whether there may be outlines in a window. hides: whether unknown ground is
    hidden, as under a cloud, rather than not asked about. moved: what to say of a shift.
    """

    read: Read
    outlines: Read
    some: Callable[[Window], bool]
    hides: bool
    moved: Message

    @staticmethod
    def of(held: HeldPolygons, earlier: Subject | None) -> Before:
        """The earlier map where there is one, else the polygons."""
        if earlier is not None:
            moved = Message(
                "The earlier map lies {metres:.1f} m ({pixels:.1f} pixels) towards {bearing}° of the later one, "
                "measured on {blocks} blocks.",
                **NOTHING,
            )
            return Before(earlier.mask, earlier.mask, lambda window: True, True, moved)

        moved = Message(
            "The outlines lie {metres:.1f} m ({pixels:.1f} pixels) towards {bearing}° of the edges of the map, "
            "measured on {blocks} blocks; `cropland doctor --fix-shift` moves polygons.",
            **NOTHING,
        )
        return Before(
            held.draw, partial(held.draw, outside=OTHER), lambda window: len(held.over(window)) > 0, False, moved
        )


NOTHING = {"metres": 0.0, "pixels": 0.0, "bearing": 0, "blocks": 0}  # in a message that is filled later


@dataclass(frozen=True)
class Rule:
    """What counts as a gain or a loss: wider than `width_m`, and of at least `min_area_m2`.

    shift: of the outlines against the edges of the map, in pixels; None where there are too few outlines. east_m,
    north_m: the same on the ground.
    """

    width_m: float
    min_area_m2: float
    shift: Shift | None
    east_m: float
    north_m: float

    @staticmethod
    def of(before: Before, last: Subject, *, width_m: float | None, min_area_m2: float) -> Rule:
        """The rule for what changed until a map was made. width_m: the shift and two pixels if not given."""
        shift = measured_shift(_patches(before, last))
        down_m, along_m = last.ground.pixel_sides_m
        a, b, _c, d, e, _f = last.ground.grid.affine[:6]
        right, down = (0.0, 0.0) if shift is None else (shift.right * along_m, shift.down * down_m)
        east_m, north_m = (right * column / hypot(a, d) + down * row / hypot(b, e) for column, row in ((a, b), (d, e)))
        moved = hypot(east_m, north_m) if shift is not None and shift.is_measured else 0.0
        width = moved + SLACK * max(down_m, along_m) if width_m is None else width_m
        return Rule(width, min_area_m2, shift, east_m, north_m)

    def to_json(self) -> dict[str, Any] | None:
        """The shift as plain values; None where it is not known."""
        if self.shift is None:
            return None
        pixels = {"right_px": self.shift.right, "down_px": self.shift.down, "is_measured": self.shift.is_measured}
        return pixels | {"east_m": self.east_m, "north_m": self.north_m}

    def notes(self, before: Before) -> Iterator[str]:
        """The shift and the rule, in sentences."""
        if self.shift is None:
            yield Message("There are too few outlines on the map to measure whether they are shifted against it.")
        elif self.shift.length >= TOLD and not self.shift.is_measured:
            yield Message(
                "The outlines may lie some {metres:.1f} m beside the map. This is not certain, and it is not allowed "
                "for: look at them, and give --min-width-m where it is so.",
                metres=hypot(self.east_m, self.north_m),
            )
        elif self.shift.length >= TOLD:
            yield before.moved.filled(
                metres=hypot(self.east_m, self.north_m),
                pixels=self.shift.length,
                bearing=round(degrees(atan2(self.east_m, self.north_m))) % 360,
                blocks=self.shift.blocks,
            )
        yield Message(
            "A gain or a loss is wider than {width:.3g} m and has at least {area:g} m2; narrower strips mostly come "
            "from outlines that are slightly off.",
            width=self.width_m,
            area=self.min_area_m2,
        )


def _patches(before: Before, last: Subject) -> Iterator[Patch]:
    """Windows at even distances that have enough outlines to measure a shift, over the image that was mapped and its
    probability, or over the mask alone."""
    every = [tile.core for tile in tiles(last.ground.shape, size=PATCH, halo=0, stride=1) if before.some(tile.core)]
    drawn = ((window, before.outlines(window)) for window in _evenly(every, 4 * PATCHES))
    known = ((window, label, boundary_distance(label, None)) for window, label in drawn)
    image = None if last.imagery is None else imagery_on(last.imagery, last.ground)
    for window, label, boundary in _evenly([each for each in known if has_edges(*each[1:])], PATCHES):
        mask = last.mask(window)
        valid = mask != UNKNOWN
        bands = [np.float32(mask == CROPLAND) if last.probability is None else from_levels(last.probability(window))]
        if image is not None:
            rgb = image(window, 1)
            bands += [np.float32(rgb[..., band]) / 255 for band in range(3)]
        yield Patch(np.where(valid, np.stack(bands), 0), valid, label, boundary)


def _evenly(each: Sequence[T], most: int) -> list[T]:
    """So many of them at even distances, or all if they are fewer."""
    places = np.linspace(0, len(each) - 1, min(most, len(each))).round().astype(int)
    return [each[place] for place in places]


def changes(
    before: Before,
    last: Subject,
    held: HeldPolygons,
    rule: Rule,
    *,
    folder: Path,
    dates: tuple[date | None, date | None],
) -> GeoDataFrame:
    """The gains and the losses as polygons in the CRS of the map, the largest of each first.

    Columns: kind, gain or loss; area_ha and area_mu on the ellipsoid; mean_probability of the map, missing without one;
    since and date of the two states; code, polygon and polygon_fid: the code, the id (or number from 1), and the number
    of the polygon that lies under the largest part of it, and shared, that part (0..1), all missing if more of it lies
    in no polygon; verdict, empty, for a person. folder: for temporary files. dates: before, now; None where unknown.
    """
    rasters = {kind: folder / f"{kind}.tif" for kind in (GAIN, LOSS)}
    probability = folder / "probability.tif" if last.probability is not None else None
    _write(before, last, rule, rasters, probability)
    tables = []
    for kind, raster in rasters.items():
        with find_parcels(raster, probability=probability, unit_m=last.ground.unit_m, folder=folder) as found:
            for chunk in found.chunks():
                wide = chunk[chunk["metrics:area"] >= rule.min_area_m2].reset_index(drop=True)
                tables.append(_table(kind, wide, held, last.ground, dates))
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["kind", "area_ha"], ascending=[True, False], ignore_index=True)


def _write(before: Before, last: Subject, rule: Rule, rasters: dict[str, Path], probability: Path | None) -> None:
    """Rasters of 1 where cropland was gained or lost, and of the probability where there are any."""
    ground = last.ground
    height, width = ground.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
    profile |= {"crs": None if ground.grid.crs is None else str(ground.grid.crs), "transform": ground.grid.affine}
    sides_m = ground.pixel_sides_m
    halo = ceil(2 * rule.width_m / min(sides_m)) + 4

    def look(tile: Tile) -> tuple[Tile, dict[str, np.ndarray]]:
        was, now = before.read(tile.padded), last.mask(tile.padded)
        hidden = (now == UNKNOWN) | ((was == UNKNOWN) & before.hides)
        pairs = {GAIN: (was == OTHER) & (now == CROPLAND), LOSS: (was == CROPLAND) & (now == OTHER)}
        wide = {kind: _wide(differ, hidden, sides_m, rule.width_m)[tile.inner.slices] for kind, differ in pairs.items()}
        return tile, wide

    with ExitStack() as stack, progress_bar(ground.name, total=height * width, rate=megapixels) as bar:
        files = {kind: stack.enter_context(rasterio.open(path, "w", **profile)) for kind, path in rasters.items()}
        levels = probability and stack.enter_context(rasterio.open(probability, "w", sparse_ok=True, **profile))
        for tile, wide in prefetch(look, tiles(ground.shape, size=TILE, halo=halo, stride=1), threads=2, ahead=1):
            for kind, values in wide.items():
                files[kind].write(values.astype(np.uint8), 1, window=tile.core.in_file)
            if levels and last.probability is not None and any(values.any() for values in wide.values()):
                levels.write(last.probability(tile.core), 1, window=tile.core.in_file)
            bar(tile.core.height * tile.core.width)


def _wide(
    differ: Bool[np.ndarray, "height width"],
    hidden: Bool[np.ndarray, "height width"],
    sides_m: tuple[float, float],
    width_m: float,
) -> Bool[np.ndarray, "height width"]:
    """What of a difference is left after an opening by a disc of that width, with the corners that the disc rounds.

    Hidden ground may be of the difference, so it does not make it narrow; nor does the edge of the map.
    """
    room = differ | hidden
    if not differ.any() or room.all():
        return differ
    # To the edge of a pixel is half a pixel less than to the centre of the next.
    reach = distance_transform_edt(room, sampling=sides_m) - max(sides_m) / 2
    inner: np.ndarray = differ & (reach > width_m / 2)
    if inner.any():
        inner = differ & (distance_transform_edt(~inner, sampling=sides_m) <= width_m + max(sides_m))
    return inner


def _table(
    kind: str, found: GeoDataFrame, held: HeldPolygons, ground: NamedGrid, dates: tuple[date | None, date | None]
) -> GeoDataFrame:
    shapes = in_pixels(found.geometry.to_numpy(), ground.grid.affine)
    change, polygon, shared = pairs_within(shapes, held)
    part = shared / shapely.area(shapes)[change]
    order = np.lexsort([part, change])
    most = order[np.flatnonzero(np.diff(change[order], append=len(found)))]  # of each change, the largest part
    outside = 1 - np.bincount(change, part, minlength=len(found))
    most = most[part[most] > outside[change[most]]]
    place, number = change[most], polygon[most]

    def of(values: np.ndarray) -> pd.Series:
        return pd.Series(values, index=place).reindex(range(len(found)))

    ids = held.keys.get(held.options.id or "")
    codes = held.keys.get(held.coding.column or "")
    columns = {
        "kind": pd.Series([kind] * len(found), dtype="str"),
        "area_ha": found["area_ha"].astype(np.float64),
        "area_mu": found["area_ha"].astype(np.float64) * MU_PER_HA,
        "mean_probability": found["mean_probability"].astype(np.float64),
        "since": pd.Series([None if dates[0] is None else dates[0].isoformat()] * len(found), dtype="str"),
        "date": pd.Series([None if dates[1] is None else dates[1].isoformat()] * len(found), dtype="str"),
        "code": of(np.asarray(codes.take(number), object) if codes is not None else np.full(len(number), None)),
        "polygon": of(np.asarray(ids.take(number), object) if ids is not None else (number + 1).astype(str)),
        "polygon_fid": of(number + 1).astype("Int64"),
        "shared": of(np.minimum(part[most], 1)),
        "verdict": pd.Series([None] * len(found), dtype="str"),
    }
    texts = {name: columns[name].astype("str") for name in ("code", "polygon")}
    return GeoDataFrame(columns | texts, geometry=found.geometry.to_numpy(), crs=found.crs)
