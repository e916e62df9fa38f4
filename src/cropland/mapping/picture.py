"""The picture of a map: scene, probability, mask and parcels side by side."""

from collections.abc import Iterable
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np
import rasterio
import shapely
from geopandas import GeoDataFrame
from jaxtyping import Float32, Float64, UInt8
from rasterio.enums import Resampling

from cropland.fonts import drawable, lettering
from cropland.geo.area import area_words, pixel_edges_m
from cropland.geo.scene import Scene
from cropland.language import _
from cropland.probability import ONE
from cropland.writers import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_overview", "overview"]


PANEL = 1000  # pixels of the longer side of a panel
INK, PALE, LAND, CROP, OUTLINE = "#23301f", "#8a8f80", "#e9e4d6", "#548c2f", "#ffc400"
NO_DATA = "#dbe0e3"  # colder than all land, and dark enough for what is written on it
RAMP = ["#f7f3e8", "#e3d9a7", "#b5c46b", "#5f9a3a", "#1c5c2a"]


def overview(
    scene: Scene,
    probability: Path,
    mask: Path,
    parcels: Iterable[GeoDataFrame],
    out: Path,
    *,
    area_ha: float,
    share: float,
) -> None:
    """Write a PNG of the four panels with a scale bar, under a line with the area, its share (0..1) and the parcels.

    Parcels may come in any number of tables. Rings that would be smaller than two points of the picture are not drawn.
    All products lie on one grid over the scene's ground. Raises `OutputError` where `out` cannot be written.
    """
    shown = scene.rgba(max_pixels=PANEL**2)
    ground_m = pixel_edges_m(scene.grid, unit_m=scene.unit_m)[0] * scene.shape[1]
    draw_overview(shown, probability, mask, parcels, out, scene.name, ground_m, area_ha=area_ha, share=share)


@lettering()
def draw_overview(
    shown: Float32[np.ndarray, "height width 4"],
    probability: Path,
    mask: Path,
    parcels: Iterable[GeoDataFrame],
    out: Path,
    name: str,
    ground_m: float,
    *,
    area_ha: float,
    share: float,
) -> None:
    """The same of any picture (red, green, blue and opacity, 0..1) of the products' ground, `ground_m` wide."""
    # Imported here, since it takes half a second; the object API needs no display and leaves pyplot's state alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap

    grid_shape = _shape(mask)
    figure, axes = _panels(grid_shape)
    FigureCanvasAgg(figure)
    ramp = LinearSegmentedColormap.from_list("probability", RAMP)
    pictures: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        (_("Scene"), shown, {}),
        (_("Probability"), _reduced(probability, Resampling.average), {"cmap": ramp, "vmin": 0, "vmax": ONE}),
        (_("Mask"), _reduced(mask, Resampling.mode), {"cmap": ListedColormap([LAND, CROP]), "vmin": 0, "vmax": 1}),
        (_("Parcels"), shown, {}),
    ]
    height, width = grid_shape
    for axis, (title, picture, style) in zip(axes, pictures, strict=True):
        axis.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased", **style)
        axis.set_title(title, loc="left", y=1.0, color=INK, fontsize=11, pad=5)
    count = _draw_parcels(axes[3], parcels, mask)
    _draw_ramp(axes[1], ramp)
    _draw_scale(axes[0], ground_m, width)
    _write_title(figure, name, area_ha=area_ha, share=share, count=count)
    with replacing(out) as hidden, catch_warnings():
        simplefilter("ignore", UserWarning)  # a letter of the name that no font of this machine has
        figure.savefig(hidden, dpi=150, facecolor="white", format="png")


def _shape(raster: Path) -> tuple[int, int]:
    with rasterio.open(raster) as source:
        return int(source.height), int(source.width)


def _reduced(raster: Path, resampling: Resampling) -> UInt8[np.ma.MaskedArray, "height width"]:
    with rasterio.open(raster) as source:
        factor = max(1.0, max(source.shape) / PANEL)
        shape = tuple(max(1, round(length / factor)) for length in source.shape)
        values = source.read(1, out_shape=shape, resampling=resampling)
    return np.ma.masked_equal(values, 255)


def _panels(shape: tuple[int, int]) -> "tuple[Figure, list[Axes]]":
    """Four panels of the grid's aspect: in a row, or two by two where the ground is wide."""
    from matplotlib.figure import Figure

    aspect = min(max(shape[1] / shape[0], 0.35), 4.0)
    columns, rows = (4, 1) if aspect < 1.6 else (2, 2)
    wide = 4.0 if columns == 4 else 6.4
    high = wide / aspect
    gap, edge, head, caption = 0.16, 0.25, 0.75, 0.32
    size = (2 * edge + columns * wide + (columns - 1) * gap, head + rows * (high + caption) + edge)
    figure = Figure(figsize=size)
    axes = []
    for number in range(4):
        row, column = divmod(number, columns)
        left, bottom = edge + column * (wide + gap), size[1] - head - row * (high + caption) - caption - high
        place = (left / size[0], bottom / size[1], wide / size[0], high / size[1])
        axes.append(figure.add_axes(place, xticks=[], yticks=[], facecolor=NO_DATA))
        axes[-1].spines[:].set(color=PALE, linewidth=0.6)
    return figure, axes


def _draw_parcels(axis: "Axes", parcels: Iterable[GeoDataFrame], mask: Path) -> int:
    """Draw the outlines of all tables, and say how many parcels these are."""
    from matplotlib.collections import LineCollection

    with rasterio.open(mask) as source:
        to_pixels, finest = ~source.transform, max(source.shape) / PANEL / 2
    count, lines = 0, list[np.ndarray]()
    for table in parcels:
        count += len(table)
        lines.append(_visible_lines(table.geometry.to_numpy(), to_pixels, finest))
    width = float(np.clip(2.2 - 0.5 * np.log10(max(count, 1)), 0.35, 1.2))
    axis.add_collection(LineCollection(lines, colors=OUTLINE, linewidths=width, joinstyle="round"), autolim=False)
    return count


def _visible_lines(polygons: np.ndarray, to_pixels: rasterio.Affine, finest: float) -> Float64[np.ndarray, "point 2"]:
    """Rings in pixels as one line with NaN between them, without what cannot be seen."""
    points, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    points = np.column_stack(to_pixels @ tuple(points.T))
    steps = np.rint(points / finest)
    moves = (np.diff(steps, axis=0, prepend=-1) != 0).any(axis=1) | (np.diff(ring, prepend=-1) != 0)
    points, ring = points[moves], ring[moves]
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    extents = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts) if len(starts) else points
    kept = np.repeat(extents.max(axis=1) >= 4 * finest, np.diff(starts, append=len(points)))
    points, ring = points[kept], ring[kept]
    return np.insert(points, np.flatnonzero(np.diff(ring)) + 1, np.nan, axis=0)


def _draw_ramp(axis: "Axes", ramp: Any) -> None:
    # Above the panel, where no picture can swallow it.
    bar = axis.inset_axes((0.64, 1.022, 0.3, 0.022))
    bar.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=ramp)
    bar.set(xticks=[], yticks=[])
    bar.spines[:].set(color=PALE, linewidth=0.5)
    for place, text, align in ((-0.03, "0", "right"), (1.03, "1", "left")):
        bar.text(place, 0.45, text, transform=bar.transAxes, fontsize=9, color=INK, ha=align, va="center")


def _draw_scale(axis: "Axes", ground_m: float, width: float) -> None:
    """A bar of a round length, about a quarter of the panel, light on dark so that it shows on any ground."""
    from matplotlib.patheffects import withStroke

    length = _round_below(ground_m / 4)
    left, right = 0.04, 0.04 + length / ground_m
    halo = [withStroke(linewidth=4.5, foreground=INK)]
    axis.plot([left, right], [0.045, 0.045], transform=axis.transAxes, color="white", linewidth=2.5, path_effects=halo)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    halo = [withStroke(linewidth=2.5, foreground=INK)]
    axis.text(left, 0.065, label, transform=axis.transAxes, color="white", fontsize=9, va="bottom", path_effects=halo)


def _round_below(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer."""
    unit: float = 10.0 ** floor(log10(length))
    return max(step * unit for step in (1, 2, 5) if step * unit <= length)


def _write_title(figure: "Figure", name: str, *, area_ha: float, share: float, count: int) -> None:
    width, height = figure.get_size_inches()
    said = (
        _("{area} of cropland", area=area_words(area_ha, digits=0 if area_ha >= 100 else 2)),
        _("{share:.1%} of the ground with data", share=share),
        _("1 parcel") if count == 1 else _("{count:,} parcels", count=count),
    )
    left = 0.25 / width
    figure.text(left, 1 - 0.2 / height, drawable(name), fontsize=15, weight="bold", color=INK, va="top")
    figure.text(left, 1 - 0.52 / height, "   ·   ".join(said), fontsize=11, color=INK, va="top")
