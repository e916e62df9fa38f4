"""The sheet on which a person judges the points of a sample: one page with the imagery around each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from jaxtyping import Float64, UInt8
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from cropland import __version__
from cropland.errors import GridError, SceneError
from cropland.files import write_text
from cropland.geo.area import pixel_edge_m, pixel_edges_m
from cropland.geo.grid import check_frames
from cropland.geo.scene import COLOURS, Image, Scene
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.language import _, language
from cropland.page import jpeg_uri
from cropland.progress import prefetch, progress_bar

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["write_sheet"]

EDGE = 480  # points of the page along the edge of a view; a picture has at most as many pixels
NEAR, FAR = 41, 401  # pixels of the mask along the edge of a view; odd, so that one lies in the middle
SMALLEST = 6  # points of the page: a pixel that is drawn smaller needs lines that lead to it
INFRARED = ("nir", "red", "green")  # drawn as red, green and blue: what grows is red
OUTSIDE = 127  # grey of what the imagery does not hold
GAMMA = 0.75  # below 1: what is dark, such as woods and wet ground, can be told apart
THREADS = 2
SMALL = 200  # pixels of a picture that the browser enlarges so much that every flaw of a JPEG shows
# Options of the JPEGs of each rendering. Large pictures decide the size of the file; infrared is looked at less.
FINE = [{"quality": 92, "subsampling": 0}] * 2
COARSE = [{"quality": 60, "subsampling": 2}, {"quality": 40, "subsampling": 2}]
RGB = UInt8[np.ndarray, "height width 3"]
Corners = Float64[np.ndarray, "4 2"]


@dataclass(frozen=True, eq=False)
class _View:
    """A square of ground around a pixel of the mask: a window of the imagery's working grid of a ratio.

    outline: the pixel's corners as x and y in points of the page, 0..480 from the view's upper left.
    """

    window: Window
    ratio: float
    side_m: float
    outline: Corners


def write_sheet(out: Path, points: GeoDataFrame, *, pixel: GeoBox, imagery: Scene, title: str, sample: str) -> None:
    """Write a page of HTML on which a person judges by the keyboard whether each point is cropland.

    The page works without a network. It shows the pixel of the mask at each point in two views, 41 and 401 pixels of
    the mask wide, all stretched by the percentiles of the whole scene. Answers are saved as CSV.

    points: columns `id` and `geometry`, points in the mask's CRS; other columns are never read, so that the page tells
    neither the class on the map nor the stratum. pixel: the grid of the mask. imagery: of any CRS and pixel size.
    sample: the short hash of the sample, by which the page knows its own CSV files.
    Raises `GridError` where points and imagery have frames that cannot be mixed, `SceneError` where a point lies
    outside of the imagery, `ReadError` for imagery that cannot be read.
    """
    corners = _corners(points, pixel, imagery)
    renderings = _renderings(imagery.bands)
    statistics = imagery.statistics(list(dict.fromkeys(band for each in renderings for band in each)))
    edges_m = [pixel_edge_m(_one_pixel(pixel, at), unit_m=imagery.unit_m) for at in _pixels(points, pixel)]
    draw = partial(_drawn, imagery, renderings, statistics)
    drawn = []
    with progress_bar(_("pictures"), total=len(points), rate="{:.1f}/s".format, counted=True) as bar:
        for views in prefetch(draw, zip(corners, edges_m, strict=True), threads=THREADS):
            drawn.append(views)
            bar()
    shown = [
        {"id": str(name), "place": place, "views": views}
        for name, place, views in zip(points["id"], _places(points), drawn, strict=True)
    ]
    write_text(out, _page(shown, title=title, sample=sample, has_infrared=len(renderings) > 1))


def _pixels(points: GeoDataFrame, pixel: GeoBox) -> Float64[np.ndarray, "point 2"]:
    """Column and row of the pixel that holds each point."""
    x, y = points.geometry.x.to_numpy(), points.geometry.y.to_numpy()
    pixels: np.ndarray = np.floor(np.stack(~pixel.affine @ (x, y), axis=1))
    return pixels


def _corners(points: GeoDataFrame, pixel: GeoBox, imagery: Scene) -> Float64[np.ndarray, "point 4 2"]:
    """The corners of the pixel at each point, as columns and rows of the imagery's own grid."""
    around = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = pixel.affine @ tuple(np.moveaxis(_pixels(points, pixel)[:, None] + around, 2, 0))
    source, target = pixel.crs, imagery.grid.crs
    if (source is None) != (target is None):
        raise GridError(
            "of the mask and the imagery {name} only one has a coordinate reference system; give the imagery that the "
            "mask was made of",
            name=imagery.name,
        )
    if source and target and source != target:
        check_frames(source.proj, target.proj, allow_datum_shift=False)
        x, y = Transformer.from_crs(source.proj, target.proj, always_xy=True).transform(x, y)
    corners = np.stack(~imagery.grid.affine @ (x, y), axis=2)
    height, width = imagery.shape
    middle = corners.mean(axis=1)
    inside = ((middle >= 0) & (middle < (width, height))).all(axis=1)
    if not inside.all():
        raise SceneError(
            "{count} of {total} points of the sample lie outside of {name}; give imagery that covers the whole mask",
            count=int((~inside).sum()),
            total=len(inside),
            name=imagery.name,
        )
    return corners


def _one_pixel(grid: GeoBox, at: Sequence[float]) -> GeoBox:
    """The grid of one pixel that begins at a column and row of another grid."""
    return GeoBox((1, 1), grid.affine @ Affine.translation(*at), grid.crs)


def _places(points: GeoDataFrame) -> Iterator[str]:
    """Latitude and longitude as map services take them; nothing for points without a CRS."""
    if points.crs is None:
        return iter([""] * len(points))
    degrees = points.geometry.to_crs(4326)
    return (f"{latitude:.6f}, {longitude:.6f}" for latitude, longitude in zip(degrees.y, degrees.x, strict=True))


def _renderings(bands: Sequence[str]) -> list[tuple[str, ...]]:
    """The bands that are drawn as red, green and blue: natural colours, then infrared; else the first in grey."""
    return [each for each in (COLOURS, INFRARED) if set(each) <= set(bands)] or [(bands[0],) * 3]


def _drawn(
    imagery: Scene,
    renderings: Sequence[tuple[str, ...]],
    statistics: Statistics,
    pixel: tuple[Corners, float],
) -> list[dict[str, Any]]:
    """Both views of a pixel for the page: pictures, outline and size."""
    corners, edge_m = pixel
    shown = []
    for across in (NEAR, FAR):
        view = _view(imagery, corners, across * edge_m)
        options = FINE if max(view.window.shape) <= SMALL else COARSE
        pictures = _pictures(imagery, view, renderings, statistics)
        is_small = np.ptp(view.outline, axis=0).max() < SMALLEST
        shown.append(
            {
                "side": view.side_m,
                "outline": " ".join(f"{x:.2f},{y:.2f}" for x, y in view.outline),
                "middle": view.outline.mean(axis=0).round(2).tolist() if is_small else None,
                "pictures": [
                    jpeg_uri(each, optimize=True, **how) for each, how in zip(pictures, options, strict=False)
                ],
            }
        )
    return shown


def _view(imagery: Scene, corners: Corners, side_m: float) -> _View:
    """A window of whole pixels, which lies around the pixel to half of one; its outline is exact."""
    middle = corners.mean(axis=0)
    edges_m = pixel_edges_m(_one_pixel(imagery.grid, middle), unit_m=imagery.unit_m)
    size = side_m / np.array(edges_m)
    ratio = max(1.0, size.max() / EDGE)
    width, height = np.maximum(1, np.rint(size / ratio)).astype(int)
    left, top = np.floor(middle / ratio - (width / 2, height / 2) + 0.5).astype(int)
    outline = (corners / ratio - (left, top)) / (width, height) * EDGE
    return _View(Window(int(top), int(left), int(height), int(width)), float(ratio), side_m, outline)


def _pictures(
    imagery: Scene, view: _View, renderings: Sequence[tuple[str, ...]], statistics: Statistics
) -> Iterator[RGB]:
    """The view in each rendering, grey where it reaches over the edge of the imagery."""
    window, (rows, cols) = view.window, imagery.working_grid(view.ratio).shape
    top, left = max(0, window.row), max(0, window.col)
    bottom, right = min(rows, window.row + window.height), min(cols, window.col + window.width)
    inner = Window(top, left, bottom - top, right - left)
    image = imagery.read(inner, bands=statistics.bands, ratio=view.ratio)
    for bands in renderings:
        chosen = [statistics.bands.index(band) for band in bands]
        colours = Image(image.values[chosen], image.valid, bands=COLOURS)
        low, high = ([limits[each] for each in chosen] for limits in (statistics.low, statistics.high))
        stretched = 255 * colours.rgba(low, high)[:, :, :3] ** GAMMA
        drawn = np.full((*window.shape, 3), OUTSIDE, np.uint8)
        drawn[inner.within(window).slices][image.valid] = stretched[image.valid]
        yield drawn


def _page(points: Sequence[dict[str, Any]], *, title: str, sample: str, has_infrared: bool) -> str:
    folder = files("cropland.sampling")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals["_"] = _
    return environment.from_string((folder / "sheet.html").read_text(encoding="utf-8")).render(
        title=title,
        edge=EDGE,
        has_infrared=has_infrared,
        language=language(),
        script=Markup((folder / "sheet.js").read_text(encoding="utf-8")),
        sheet={"sample": sample, "points": points},
        version=__version__,
    )
