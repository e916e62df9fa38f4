"""Where cropland was gained and lost, as polygons: against what other polygons say, or against an earlier map.

Two outlines of one field never lie on each other, so a difference counts only where it is wide: what an opening by a
disc leaves of it (Serra 1982, Image Analysis and Mathematical Morphology). Of a pure shift by s nothing is left if the
disc is wider than s: along the direction of the shift no piece of the difference is longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from math import atan2, ceil, degrees, hypot
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import rasterio
import shapely
from geopandas import GeoDataFrame
from jaxtyping import UInt8
from scipy.ndimage import distance_transform_edt

from cropland.comparing.figures import pairs_within
from cropland.comparing.polygons import CROPLAND, OTHER, UNKNOWN, HeldPolygons
from cropland.data.boundary import boundary_distance
from cropland.data.shift import Patch, Shift, has_edges, measured_shift
from cropland.evaluation.subject import NamedGrid, Read, Subject
from cropland.geo.area import MU_PER_HA
from cropland.geo.coverage import in_pixels
from cropland.geo.window import Tile, Window, tiles
from cropland.language import Message
from cropland.parcels.parcels import find_parcels
from cropland.probability import NO_DATA, from_levels
from cropland.progress import megapixels, prefetch, progress_bar

__all__ = ["GAIN", "LOSS", "Rule", "changes", "rule_of", "windows_along"]

GAIN, LOSS = "gain", "loss"
TILE = 1024  # pixels along the edge of a tile
PATCH, PATCHES = 512, 16  # pixels along the edge of a window in which a shift is measured, and how many of them
SLACK = 2.0  # pixels by which edges of one field differ without a shift: one on either side
TOLD = 0.5  # pixels from which on a shift is told


@dataclass(frozen=True)
class Rule:
    """What counts as a gain or a loss: wider than `width_m`, and of at least `min_area_m2`.

    shift: of the outlines against the edges of the map, in pixels; None where it cannot be measured.
    """

    width_m: float
    min_area_m2: float
    pixel_m: float
    shift: Shift | None

    @property
    def notes(self) -> Iterator[str]:
        """The rule, and the shift, in sentences."""
        if self.shift is not None and self.shift.is_measured and self.shift.length >= TOLD:
            yield Message(
                "The outlines lie {metres:.1f} m ({pixels:.1f} pixels) towards {bearing:.0f}° of the edges of the map, "
                "measured on {blocks} blocks; `cropland doctor --fix-shift` moves polygons.",
                metres=self.shift.length * self.pixel_m,
                pixels=self.shift.length,
                bearing=degrees(atan2(self.shift.right, -self.shift.down)) % 360,
                blocks=self.shift.blocks,
            )
        yield Message(
            "A gain or a loss is wider than {width:.3g} m and has at least {area:g} m2; narrower strips come from "
            "outlines that do not lie on each other.",
            width=self.width_m,
            area=self.min_area_m2,
        )


class _Sides(NamedTuple):
    """What was before and what is now, in windows: 1 cropland, 0 not, 255 unknown."""

    before: Read
    now: Read


def rule_of(before: Read, last: Subject, *, width_m: float | None, min_area_m2: float, along: Sequence[Window]) -> Rule:
    """The rule for the gains and losses between a state before and a map.

    width_m: the measured shift and two pixels if not given. along: windows with outlines, in which the shift is
    measured.
    """
    pixel_m = hypot(*last.ground.pixel_sides_m) / 2**0.5
    shift = measured_shift(_patch(before(window), last, window) for window in along)
    moved = shift.length if shift is not None and shift.is_measured else 0.0
    return Rule((moved + SLACK) * pixel_m if width_m is None else width_m, min_area_m2, pixel_m, shift)


def windows_along(before: Read, ground: NamedGrid) -> list[Window]:
    """Windows at even distances that have enough outlines to measure a shift."""
    every = [tile.core for tile in tiles(ground.shape, size=PATCH, halo=0, stride=1)]
    step = max(1, len(every) // (4 * PATCHES))
    found: list[Window] = []
    for window in every[::step]:
        label = before(window)
        if has_edges(label, boundary_distance(label, None)):
            found.append(window)
        if len(found) == PATCHES:
            break
    return found


def _patch(label: UInt8[np.ndarray, "height width"], last: Subject, window: Window) -> Patch:
    """The outlines over the probability of the map, or over its mask where it has no probability."""
    mask = last.mask(window)
    seen = from_levels(last.probability(window)) if last.probability is not None else np.float32(mask == CROPLAND)
    valid = mask != UNKNOWN
    return Patch(np.where(valid, seen, 0)[None], valid, label, boundary_distance(label, None))


def changes(
    before: Read, last: Subject, held: HeldPolygons, rule: Rule, *, folder: Path, dates: tuple[date | None, date | None]
) -> GeoDataFrame:
    """The gains and the losses as polygons in the CRS of the map, the largest of each first.

    Columns: kind, gain or loss; area_ha and area_mu on the ellipsoid; mean_probability of the map, missing without one;
    since and date of the two states; code and polygon: the code, and the number (from 1) or id, of the polygon that
    lies under the largest part of it, and shared, that part (0..1), all missing if more of it lies in no polygon;
    verdict, empty, for a person. folder: for temporary files. dates: before, now; None where unknown.
    """
    rasters = {kind: folder / f"{kind}.tif" for kind in (GAIN, LOSS)}
    probability = folder / "probability.tif" if last.probability is not None else None
    _write(_Sides(before, last.mask), last, rule, rasters, probability)
    tables = []
    for kind, raster in rasters.items():
        with find_parcels(raster, probability=probability, unit_m=last.ground.unit_m, folder=folder) as found:
            for chunk in found.chunks():
                wide = chunk[chunk["metrics:area"] >= rule.min_area_m2].reset_index(drop=True)
                tables.append(_table(kind, wide, held, last.ground, dates))
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["kind", "area_ha"], ascending=[True, False], ignore_index=True)


def _write(sides: _Sides, last: Subject, rule: Rule, rasters: dict[str, Path], probability: Path | None) -> None:
    """Rasters of 1 where cropland was gained or lost, and of the probability where there are any."""
    ground = last.ground
    height, width = ground.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
    profile |= {"crs": None if ground.grid.crs is None else str(ground.grid.crs), "transform": ground.grid.affine}
    sides_m = ground.pixel_sides_m
    halo = ceil(2 * rule.width_m / min(sides_m)) + 2

    def look(tile: Tile) -> tuple[Tile, dict[str, np.ndarray]]:
        was, now = sides.before(tile.padded), sides.now(tile.padded)
        unknown = (was == UNKNOWN) | (now == UNKNOWN)
        pairs = {GAIN: (was == OTHER) & (now == CROPLAND), LOSS: (was == CROPLAND) & (now == OTHER)}
        wide = {
            kind: _wide(differ, unknown, sides_m, rule.width_m)[tile.inner.slices] for kind, differ in pairs.items()
        }
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


def _wide(differ: np.ndarray, unknown: np.ndarray, sides_m: tuple[float, float], width_m: float) -> np.ndarray:
    """What of a difference is left after an opening by a disc of that width, with the corners that the disc rounds.

    Unknown ground may be of the difference, so it does not make it narrow; nor does the edge of the map.
    """
    room = differ | unknown
    if not differ.any() or room.all():
        return differ
    inner: np.ndarray = differ & (distance_transform_edt(room, sampling=sides_m) > width_m / 2)
    if inner.any():
        inner = differ & (distance_transform_edt(~inner, sampling=sides_m) <= width_m)
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
        "shared": of(np.minimum(part[most], 1)),
        "verdict": pd.Series([None] * len(found), dtype="str"),
    }
    texts = {name: columns[name].astype("str") for name in ("code", "polygon")}
    return GeoDataFrame(columns | texts, geometry=found.geometry.to_numpy(), crs=found.crs)
