"""Make the samples that ship from the data they come from.

python recipes/make_samples.py DATA    (DATA holds naip_us and scenes)
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import rasterio
from rasterio.crs import CRS
from rasterio.windows import Window

SAMPLE = Path(__file__).parents[1] / "src" / "cropland" / "sample"
LOSSLESS = {"driver": "GTiff", "compress": "deflate", "zlevel": 9, "predictor": 2, "tiled": True}
BLOCKS = {"blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
TILE = "naip_38"  # of validation: pivots, forest, houses on wooded lots, a motorway; half of it is cropland
# Of the western two thirds: fields and forest, a town, a river, marsh and the lagoon.
DELMARVA = Window(col_off=430, row_off=420, width=690, height=560)


def main(data: Path) -> None:
    """Write the two scenes and the fields of the second."""
    SAMPLE.mkdir(exist_ok=True)
    write_delmarva(data / "scenes" / "s2_delmarva" / "s2_l1c_b02_b03_b04_b08_uint16.tif")
    write_tile(data / "naip_us" / "images" / f"{TILE}.png")
    write_fields(data / "naip_us" / "fields.gpkg")


def write_delmarva(source: Path) -> None:
    """Sentinel-2 level 1C, 10 m: the bands that every model of this project could ask for."""
    with rasterio.open(source) as scene:
        values, transform = scene.read(window=DELMARVA), scene.window_transform(DELMARVA)
        profile = {"crs": scene.crs, "transform": transform, "count": scene.count, "dtype": scene.dtypes[0]}
    size = {"width": DELMARVA.width, "height": DELMARVA.height}
    with rasterio.open(SAMPLE / "sentinel2_delmarva.tif", "w", **LOSSLESS, **BLOCKS, **profile, **size) as file:
        file.write(values)
        file.descriptions = ("blue", "green", "red", "nir")
        file.update_tags(TIFFTAG_COPYRIGHT="contains modified Copernicus Sentinel data 2016")


def write_tile(source: Path) -> None:
    """NAIP, 1 m: the pixels as they are, the reference system that the PNG could not hold."""
    with rasterio.open(source) as tile:
        profile = {name: tile.profile[name] for name in ("transform", "count", "dtype", "width", "height")}
        values = tile.read()
    profile |= {"crs": CRS.from_epsg(4326), "photometric": "RGB"}
    with rasterio.open(SAMPLE / "naip_minnesota.tif", "w", **LOSSLESS, **BLOCKS, **profile) as file:
        file.write(values)
        file.descriptions = ("red", "green", "blue")
        file.update_tags(TIFFTAG_COPYRIGHT="USDA NAIP, public domain")


def write_fields(source: Path) -> None:
    """The tile's fields to the centimetre."""
    fields = geopandas.read_file(source, where=f"id = '{TILE}'")[["geometry"]]
    fields.to_file(SAMPLE / "naip_minnesota_fields.geojson", driver="GeoJSON", RFC7946="YES", COORDINATE_PRECISION=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
