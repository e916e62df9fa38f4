"""The report of a comparison in one file of HTML: sums, the polygons that disagree most, and the largest changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from cropland.comparing.changes import GAIN, LOSS
from cropland.comparing.figures import DISAGREES
from cropland.comparing.polygons import HeldPolygons
from cropland.evaluation.subject import Subject, decimated, imagery_on
from cropland.geo.area import area_words
from cropland.geo.coverage import in_pixels
from cropland.geo.window import Window
from cropland.language import _, shown
from cropland.page import jpeg_uri, percent, rendered

__all__ = ["Pictures", "page"]

WORST, LARGEST = 20, 6  # polygons that disagree most; changes of each kind
PANEL, WHOLE = 280, 1100  # pixels of the longer edge of a panel, and of the picture of the whole map
LEAST = 40  # pixels of the map that a panel shows at least along each edge
AROUND = 0.3  # of the extent of a polygon, on each side of it
DRAWN = 20_000  # changes in the picture of the whole map, at most
GREY, GREEN = 200, np.array((0, 158, 115))
COLOURS = {GAIN: (0, 114, 178), LOSS: (204, 51, 17), "polygon": (255, 196, 0)}
RGB = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the pictures of a report are drawn from."""

    last: Subject
    earlier: Subject | None
    held: HeldPolygons
    table: pd.DataFrame
    changes: GeoDataFrame

    def worst(self) -> Iterator[dict[str, Any]]:
        """The polygons that disagree most, of those that disagree on more than half of their ground."""
        order = self.table["rank"].dropna().astype(int).sort_values().index[:WORST]
        for number in order[self.table["disagreement"][order] > DISAGREES].tolist():
            row = self.table.loc[number]
            facts = {
                _("code"): self._key(self.held.coding.column, number),
                _("area"): area_words(row["ground_ha"], digits=2),
                _("cropland"): percent(row["cropland_share"]) + " %",
                _("probability"): percent(row.get("mean_probability")) + " %",
                _("unknown"): percent(row["unknown_share"]) + " %",
            }
            name = self._key(self.held.options.id, number) or str(number + 1)
            yield {
                "title": _("{rank}. Polygon {name}", rank=int(row["rank"]), name=name),
                "facts": {title: value for title, value in facts.items() if value not in ("", "– %")},
                "panels": self._panels(self.held.store.polygons(np.array([number]))[0], COLOURS["polygon"]),
            }

    def largest(self, kind: str) -> Iterator[dict[str, Any]]:
        """The largest gains or losses."""
        its = self.changes[self.changes["kind"] == kind].head(LARGEST)
        for row, shape in zip(its.itertuples(), in_pixels(its.geometry.to_numpy(), self._affine), strict=True):
            facts = {_("area"): area_words(row.area_ha, digits=2), _("code"): row.code, _("polygon"): row.polygon}
            yield {
                "title": "",
                "facts": {title: value for title, value in facts.items() if isinstance(value, str) and value},
                "panels": self._panels(shape, COLOURS[kind]),
            }

    def whole(self) -> str:
        """The whole map with all changes, the largest of them if there are very many."""
        height, width = self.last.ground.shape
        step = ceil(max(height, width) / WHOLE)
        picture = self._image(self.last, Window(0, 0, height, width), step)
        some = self.changes.nlargest(DRAWN, "area_ha")
        shapes = in_pixels(some.geometry.to_numpy(), self._affine)
        colours = [COLOURS[kind] for kind in some["kind"]]
        return jpeg_uri(_with_outlines(picture, list(shapes), colours, scale=1 / step, filled=True), quality=85)

    @cached_property
    def _images(self) -> dict[str, Callable[[Window, int], RGB] | None]:
        """What draws the imagery of each map on the grid of the last; its stretch takes a pass over the scene."""
        maps, ground = {"last": self.last, "earlier": self.earlier}, self.last.ground
        return {
            name: imagery_on(each.imagery, ground) if each and each.imagery else None for name, each in maps.items()
        }

    @property
    def _affine(self) -> Any:
        return self.last.ground.grid.affine

    def _key(self, column: str | None, number: int) -> str:
        """The text that a polygon has in a column, "" in none."""
        return str(self.held.keys[column][number]) if column else ""

    def _panels(self, shape: shapely.Geometry, colour: tuple[int, int, int]) -> list[tuple[str, str]]:
        """Titles and pictures around a shape: the imagery of each map, and cropland on the last map."""
        window = _around(shape, self.last.ground.shape)
        step = ceil(max(window.shape) / PANEL)
        moved = shapely.transform(shape, lambda points: points - (window.col, window.row))
        titles = [_("earlier"), _("now")] if self.earlier else [_("image")]
        subjects = [self.earlier, self.last] if self.earlier else [self.last]
        images = [self._image(each, window, step) for each in subjects if each is not None]
        mask = decimated(self.last.mask, window, step)
        tinted = images[-1].mean(axis=2, keepdims=True).repeat(3, axis=2)
        tinted[mask == 1] += 0.6 * (GREEN - tinted[mask == 1])
        tinted[mask > 1] = GREY
        scale = max(1, PANEL // max(mask.shape))
        panels = []
        for title, image in zip([*titles, _("cropland on the map")], [*images, tinted.astype(np.uint8)], strict=True):
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            drawn = _with_outlines(large, [moved], [colour], scale=scale / step)
            panels.append((title, jpeg_uri(drawn, quality=85, subsampling=0)))
        return panels

    def _image(self, subject: Subject, window: Window, step: int) -> RGB:
        """The imagery of a map, grey where it is not known."""
        image = self._images["last" if subject is self.last else "earlier"]
        if image is not None:
            return image(window, step)
        return np.full((*(ceil(length / step) for length in window.shape), 3), GREY, np.uint8)


def _around(shape: shapely.Geometry, of: tuple[int, int]) -> Window:
    """The window of a shape with some ground around it, on a grid of that shape."""
    west, north, east, south = shape.bounds
    side = max(LEAST, (1 + 2 * AROUND) * max(east - west, south - north))
    starts = [
        int(np.clip((low + high - side) / 2, 0, max(0, length - 1)))
        for low, high, length in ((north, south, of[0]), (west, east, of[1]))
    ]
    row, col = starts
    return Window(row, col, min(ceil(side), of[0] - row), min(ceil(side), of[1] - col))


def _with_outlines(
    picture: RGB,
    shapes: Sequence[shapely.Geometry],
    colours: Sequence[tuple[int, int, int]],
    *,
    scale: float,
    filled: bool = False,
) -> RGB:
    """The outlines of shapes in pixels, times the scale, on a picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    for shape, colour in zip(shapes, colours, strict=True):
        for part in shapely.get_parts(shape):
            rings = [(np.asarray(ring.coords) * scale).ravel().tolist() for ring in (part.exterior, *part.interiors)]
            if filled:
                draw.polygon(rings[0], fill=(*colour, 130))
            for ring in rings:
                draw.line(ring, fill=(*colour, 255), width=1 if filled else 2, joint="curve")
    return np.asarray(image)


def page(found: Mapping[str, Any], pictures: Pictures) -> str:
    """The report as HTML, from the content of comparison.json."""
    return rendered(
        "cropland.comparing",
        "report.html",
        found=found,
        title=shown(found["title"]),
        area=lambda value: area_words(value, digits=1),
        number=lambda value: f"{value:,.1f}",
        whole=pictures.whole(),
        worst=list(pictures.worst()),
        largest={_("Largest gains"): list(pictures.largest(GAIN)), _("Largest losses"): list(pictures.largest(LOSS))},
    )
