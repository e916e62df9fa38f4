"""What is wrong with drawn polygons: where they lie, and their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS

from cropland.data.finding import DataFinding
from cropland.data.labels import PRESETS, LabelOptions
from cropland.errors import CroplandError
from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m
from cropland.geo.features import open_layer
from cropland.geo.grid import crs_name
from cropland.geo.scene import Scene
from cropland.language import Message

__all__ = ["apart", "polygon_findings"]

TINY = 4  # pixels of area
THIN = 1.0  # pixels of mean width, 2 x area / perimeter
SHARED = 0.1  # of the smaller of two polygons
ON_EARTH = 180.0, 90.0  # degrees
Shapes = np.ndarray  # of shapely geometries


def apart(scene: Scene, options: LabelOptions, error: CroplandError) -> DataFinding:
    """Why the labels do not meet a scene: the error itself, with what would bring them together."""
    assert options.labels is not None, "labels that lie elsewhere have a file"
    opened = open_layer(options.labels, layer=options.layer, encoding=options.encoding)
    bounds = np.array(opened.bounds(None))
    evidence: str = Message("{why}", why=error)
    remedy: str = Message("Check which of the two is right, in QGIS above a background map")
    if opened.crs is not None and np.isfinite(bounds).all():
        remedy = _remedy(scene, options.labels, opened.crs, bounds) or remedy
    return DataFinding("error", "crs", f"{scene.name}, {options.labels.name}", evidence, remedy)


def _remedy(scene: Scene, path: Path, crs: CRS, bounds: np.ndarray) -> Message | None:
    """What the coordinates would be right as, if the box around them then meets the scene."""
    west, south, east, north = bounds
    fixed = path.with_name(f"{path.stem}_fixed.gpkg").name
    if _meets(scene, (south, west, north, east), crs):  # PROJ's own order, which GIS never uses
        return Message(
            "The coordinates are in the order latitude, longitude: exchange them with "
            "qgis_process run native:swapxy --INPUT={path} --OUTPUT={fixed}",
            path=path,
            fixed=fixed,
        )
    swapped = (south, west, north, east)
    own = CRS.from_user_input(str(scene.grid.crs))
    ground = gpd.GeoSeries([scene.grid.extent.geom], crs=own)
    for meant in dict.fromkeys((own, CRS.from_epsg(4326), ground.estimate_utm_crs())):
        if meant != crs and _meets(scene, tuple(bounds), meant):
            return Message(
                "The file names {claimed}, but its coordinates are those of {meant}. Name the right one: "
                "ogr2ogr -a_srs {code} {fixed} {path}",
                claimed=crs_name(crs),
                meant=crs_name(meant),
                code=_code(meant),
                path=path,
                fixed=fixed,
            )
        if meant != crs and _meets(scene, swapped, meant):
            return Message(
                "The file names {claimed}, but its coordinates are those of {meant} in the order y, x. Name the right "
                "one (ogr2ogr -a_srs {code} {fixed} {path}) and exchange them (qgis_process run native:swapxy)",
                claimed=crs_name(crs),
                meant=crs_name(meant),
                code=_code(meant),
                path=path,
                fixed=fixed,
            )
    return None


def _code(crs: CRS) -> str:
    return f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else f"'{crs.to_wkt()}'"


def _meets(scene: Scene, bounds: tuple[float, ...], crs: CRS) -> bool:
    """Whether a box in a CRS touches a scene."""
    if crs.is_geographic and (np.abs(bounds) > [*ON_EARTH, *ON_EARTH]).any():
        return False
    ground = gpd.GeoSeries([scene.grid.extent.geom], crs=str(scene.grid.crs))
    box = gpd.GeoSeries([shapely.box(*bounds)], crs=crs).to_crs(ground.crs)
    return bool(np.isfinite(box.total_bounds).all() and box.iloc[0].intersects(ground.iloc[0]))


def polygon_findings(options: LabelOptions, *, pixel_m: float) -> Iterator[DataFinding]:
    """Invalid, tiny and thin polygons, and such as share ground, each with their number and the worst of them."""
    assert options.labels is not None, "polygons come from a file"
    layer = open_layer(options.labels, layer=options.layer, encoding=options.encoding)
    where = options.where if options.preset is None else PRESETS[options.preset].cropland
    features = layer.read(where=where, columns=[])
    shapes = shapely.force_2d(shapely.from_wkb(features.wkb, on_invalid="ignore"))
    numbers = features.attributes.index.to_numpy()
    is_area = np.isin(shapely.get_type_id(shapes), (3, 6)) & np.isfinite(shapely.bounds(shapes)).all(axis=1)
    shapes, numbers, name = shapes[is_area], numbers[is_area], options.labels.name
    invalid = ~shapely.is_valid(shapes)
    if invalid.any():
        yield DataFinding(
            "warning",
            "polygons",
            name,
            Message(
                "{count} of {total} polygons are invalid; number {number}: {reason}",
                count=int(invalid.sum()),
                total=len(shapes),
                number=int(numbers[invalid][0]),
                reason=shapely.is_valid_reason(shapes[invalid][0]),
            ),
            Message(
                "They are repaired on reading, which may not give what was meant; repair them in the file: "
                "qgis_process run native:fixgeometries"
            ),
        )
    shapes = shapely.make_valid(shapes)
    placed = gpd.GeoSeries(shapes, crs=layer.crs)
    area, length = ellipsoidal_area_m2(placed), ellipsoidal_length_m(placed)
    pixels = area / pixel_m**2
    width = 2 * area / np.maximum(length, 1e-9) / pixel_m
    tiny = pixels < TINY
    yield from _small(name, numbers, tiny, pixels)
    thin = ~tiny & (width < THIN)
    if thin.any():
        worst = int(np.flatnonzero(thin)[pixels[thin].argmax()])
        yield DataFinding(
            "note",
            "polygons",
            name,
            Message(
                "{count} of {total} polygons are slivers, less than a pixel wide on average; the largest is number "
                "{number}, {area:.0f} m²",
                count=int(thin.sum()),
                total=len(shapes),
                number=int(numbers[worst]),
                area=float(area[worst]),
            ),
            Message("Remove them if they are left over from an overlay; a sliver gives a line of wrong labels"),
        )
    yield from _overlaps(name, numbers, shapes)


def _small(name: str, numbers: np.ndarray, tiny: np.ndarray, pixels: np.ndarray) -> Iterator[DataFinding]:
    if tiny.any():
        worst = int(pixels.argmin())
        yield DataFinding(
            "note",
            "polygons",
            name,
            Message(
                "{count} of {total} polygons are smaller than {least} pixels; number {number} has {pixels:.2g}",
                count=int(tiny.sum()),
                total=len(numbers),
                least=TINY,
                number=int(numbers[worst]),
                pixels=float(pixels[worst]),
            ),
            Message("Remove them, or select the others with --where"),
        )


def _overlaps(name: str, numbers: np.ndarray, shapes: Shapes) -> Iterator[DataFinding]:
    """Pairs that share more than a tenth of the smaller one."""
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    one, other = one[one < other], other[one < other]
    smaller = np.minimum(shapely.area(shapes[one]), shapely.area(shapes[other]))
    shared = shapely.area(shapely.intersection(shapes[one], shapes[other]))
    share = np.divide(shared, smaller, out=np.zeros(len(shared)), where=smaller > 0)
    if not (share > SHARED).any():
        return
    worst = int(share.argmax())
    yield DataFinding(
        "warning",
        "polygons",
        name,
        Message(
            "{count} pairs of polygons share more than a tenth of the smaller one; numbers {one} and {other} share "
            "{share:.0%}",
            count=int((share > SHARED).sum()),
            one=int(numbers[one[worst]]),
            other=int(numbers[other[worst]]),
            share=float(share[worst]),
        ),
        Message("Draw each field once: the boundary between two that overlap is learnt in a wrong place"),
    )
