"""Small real files to measure on: a chip folder, a mask, polygons; and a model that needs no network."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from cropland.data.boundary import boundary_distance
from cropland.data.chips import write_chip, write_index
from cropland.geo.scene import Image
from cropland.model import ModelFile, WorkingPixel
from cropland.probability import DESCRIPTION
from cropland.recipe import Recipe
from rasters import write_raster

LEFT, TOP, CRS = 400_000.0, 4_000_000.0, "EPSG:32650"
SIZE = 32


def model(**changes: object) -> ModelFile:
    values = {
        "recipe": Recipe(bands=("red",)),
        "working_pixels": (WorkingPixel(10.0, 0.9, 0.5),),
        "stride": 1,
        "radius": 0,
    }
    return ModelFile(**(values | changes))


def write_chips(folder: Path) -> Path:
    """Three chips whose `red` is bright where there is cropland, but for a false alarm in the one of group sea."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    west = np.zeros((SIZE, SIZE), np.uint8)
    west[:, :16] = 1
    unknown = west.copy()
    unknown[:8] = 255
    targets = {"fields_0": west, "fields_1": unknown, "sea_0": np.zeros_like(west)}
    rows = [_chip(folder, name, target, number) for number, (name, target) in enumerate(targets.items())]
    write_index(folder, gpd.GeoDataFrame(rows, crs=4326), {"bands": ["blue", "red"], "scenes": [], "options": {}})
    return folder


def _chip(folder: Path, name: str, target: np.ndarray, number: int) -> dict[str, object]:
    red = np.where(target == 1, 200.0, 20.0)
    if name == "sea_0":
        red[:8] = 200
    values = np.stack([np.zeros_like(red), red]).astype(np.float32)
    grid = GeoBox(red.shape, Affine(10, 0, LEFT, 0, -10, TOP), CRS)
    paths = write_chip(
        folder,
        name,
        Image(values, np.ones(red.shape, bool)),
        target,
        boundary=boundary_distance(target, (target == 1).astype(np.int32)),
        grid=grid,
        bands=("blue", "red"),
        dtype=np.dtype("uint8"),
    )
    group = name.partition("_")[0]
    shares = {
        f"share_{key}": float((target == value).mean())
        for key, value in (("cropland", 1), ("other", 0), ("unknown", 255))
    }
    at = {"row": 0, "col": 0, "height": SIZE, "width": SIZE, "pixel_m": 10.0, "block": number}
    limits = {"low": [0.0, 0.0], "high": [255.0, 220.0]}
    return {
        "id": name,
        **paths,
        "source": "s",
        "group": group,
        "split": "validation",
        **at,
        **shares,
        **limits,
        "geometry": shapely.box(0, 0, 1, 1),
    }


def write_mask(path: Path, values: np.ndarray, **profile: object) -> Path:
    return write_raster(path, values, **{"transform": Affine(10, 0, LEFT, 0, -10, TOP), **profile})


def field(col: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle in pixels of the mask."""
    return shapely.box(LEFT + col * 10, TOP - (row + height) * 10, LEFT + (col + width) * 10, TOP - row * 10)


def write_polygons(path: Path, **columns: list[object]) -> Path:
    gpd.GeoDataFrame(columns, crs=CRS).to_file(path)
    return path


def write_map(
    folder: Path, mask: np.ndarray, parcels: list[shapely.Geometry], *, name: str = "scene", **profile: object
) -> Path:
    """The folder of a finished map: a probability of 0.8 where the mask has cropland, 0.2 elsewhere."""
    levels = np.where(mask == 255, 255, np.where(mask == 1, 203, 51)).astype(np.uint8)
    write_mask(folder / "mask.tif", mask, nodata=255, **profile)
    write_mask(folder / "probability.tif", levels, nodata=255, names=(DESCRIPTION,), **profile)
    gpd.GeoDataFrame(geometry=parcels, crs=CRS).to_parquet(folder / "parcels.parquet")
    about = {"found": {}, "options": {"threshold": 0.6}, "scene": {"name": name}, "model": {"sha256": "abc"}}
    (folder / "map.json").write_text(json.dumps(about), encoding="utf-8")
    return folder
