"""From the probabilities of a grid to what follows from them alone: mask, areas, parcels, picture and project."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import rasterio
from geopandas import GeoDataFrame, GeoSeries
from jaxtyping import UInt8
from odc.geo.geobox import GeoBox

from cropland.files import write_text
from cropland.geo.area import pixel_area_m2
from cropland.geo.grid import grid_of
from cropland.geo.resample import Taps, resample, taps
from cropland.geo.scene import Scene
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.mapping.picture import overview
from cropland.mapping.plan import Plan
from cropland.mapping.run_folder import Journal, RawRaster, Totals
from cropland.parcels.clean import by_threshold, clean_mask
from cropland.parcels.parcels import THRESHOLD_TAG, find_parcels
from cropland.probability import BOUNDARY_DESCRIPTION, DESCRIPTION, NO_DATA
from cropland.progress import timed
from cropland.writers.cog import write_cog
from cropland.writers.qgis import write_qgis, write_style
from cropland.writers.vector import write_geopackage, write_geoparquet

__all__ = ["finish", "on_grid", "write_index", "write_products", "write_project"]

DESCRIPTIONS = {"cropland": DESCRIPTION, "boundary": BOUNDARY_DESCRIPTION}  # of the band, by the output
FEW = 2048  # parcels in memory, where a file does not gain by more
STRIP = 512  # rows: a multiple of the tiles' height


def finish(scene: Scene, plan: Plan, raster: RawRaster, folder: Path, *, home: Path, journal: Journal) -> Totals:
    """Write all but map.json into `folder`, which will be moved to `home`, from what is on the working grid."""
    folder.mkdir(exist_ok=True)
    with timed("own grid"):
        flat = on_grid(raster, scene, plan)
    totals = write_products(
        flat["cropland"],
        folder,
        boundary=flat.get("boundary"),
        threshold=plan.threshold,
        boundary_threshold=plan.boundary_threshold,
        min_area_m2=plan.min_area_m2,
        unit_m=scene.unit_m,
        observed=scene.observed,
        journal=journal,
        draw=partial(_draw, scene, folder),
    )
    write_project(scene, plan.statistics, folder, home=home)
    return totals


def on_grid(raster: RawRaster, scene: Scene, plan: Plan) -> dict[str, Path]:
    """For each output of the map a file, beside the raster, of its probability on the grid of the product.

    Where that is the working grid, a file only describes the raster, and nothing is copied. Else the probability is
    interpolated bilinearly (averaged, where the product is coarser); on the scene's own grid a pixel without data stays
    without.
    """
    grid = plan.grid
    if plan.ratio == plan.out_ratio:
        return {name: _described(raster, band, name, grid) for band, name in enumerate(plan.channels)}
    height, width = grid.shape
    files = {name: raster.path.with_name(f"flat-{name}.tif") for name in plan.channels}
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": STRIP, "bigtiff": "if_safer"}
    profile |= {"crs": None if grid.crs is None else grid.crs.to_wkt(), "transform": grid.affine}
    with ExitStack() as stack:
        opened = [stack.enter_context(rasterio.open(path, "w", **profile)) for path in files.values()]
        for name, file in zip(files, opened, strict=True):
            file.descriptions = (DESCRIPTIONS[name],)
        for start in range(0, height, STRIP):
            window = Window(start, 0, min(STRIP, height - start), width)
            values = _resampled(raster, window, plan.out_ratio / plan.ratio)
            if plan.out_ratio == 1 and scene.has_no_data:
                values = np.where(scene.read_valid(window), values, NO_DATA).astype(np.uint8)
            for file, plane in zip(opened, values, strict=True):
                file.write(plane, 1, window=window.in_file)
    return files


def _described(raster: RawRaster, band: int, name: str, grid: GeoBox) -> Path:
    """A VRT that tells GDAL how the bytes of a band of a raw raster lie. Source: gdal.org, VRTRawRasterBand."""
    height, width = raster.shape
    crs = "" if grid.crs is None else f"<SRS>{escape(grid.crs.to_wkt())}</SRS>"
    transform = ", ".join(repr(float(number)) for number in grid.affine.to_gdal())
    text = f"""<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{crs}
<GeoTransform>{transform}</GeoTransform>
<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
<Description>{DESCRIPTIONS[name]}</Description><NoDataValue>{NO_DATA}</NoDataValue>
<SourceFilename relativeToVRT="1">{escape(raster.path.name)}</SourceFilename>
<ImageOffset>{raster.start(band)}</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>{width}</LineOffset>
</VRTRasterBand></VRTDataset>
"""
    out = raster.path.with_name(f"flat-{name}.vrt")
    write_text(out, text)
    return out


def _resampled(raster: RawRaster, window: Window, ratio: float) -> UInt8[np.ndarray, "band height width"]:
    rows, cols = (
        taps(ratio, start=start, count=count, length=length)
        for start, count, length in zip(window[:2], window[2:], raster.shape, strict=True)
    )
    return _interpolated(raster.rows(*rows.span), rows, cols)


def _interpolated(
    values: UInt8[np.ndarray, "band row col"], rows: Taps, cols: Taps
) -> UInt8[np.ndarray, "band height width"]:
    first, count = cols.span
    part = values[:, :, first : first + count]
    known = part[0] != NO_DATA  # in every band, since they come of one network
    probability, valid = resample(part, None if known.all() else known, rows=rows, cols=cols)
    rounded = np.rint(probability)
    return (rounded if valid is None else np.where(valid, rounded, NO_DATA)).astype(np.uint8)


def write_products(
    flat: Path,
    folder: Path,
    *,
    boundary: Path | None = None,
    threshold: float,
    boundary_threshold: float | None,
    min_area_m2: float,
    unit_m: float | None,
    observed: datetime | None,
    journal: Journal,
    draw: Callable[[Totals, Iterable[GeoDataFrame]], None],
) -> Totals:
    """Write probability, mask and parcels of a probability raster into `folder`, and its boundary where there is one.

    What the journal says was made is not made again. boundary: a raster on the same grid; all of it is kept, so that it
    also serves another mask, of a lower threshold, and its own threshold becomes its tag. threshold,
    boundary_threshold: 0..1. min_area_m2: of cropland, of holes, and of the cores of fields. unit_m: metres per unit of
    the coordinates, without a CRS. observed: when the image was taken. draw: makes the picture, of the totals and
    tables of parcels.
    """
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    classify = by_threshold(threshold)
    for left in folder.glob(".*"):  # by a run that was killed
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if boundary and boundary_threshold is not None:
        with rasterio.open(boundary, "r+") as lines:  # so that fields can be made of it again
            lines.update_tags(**{THRESHOLD_TAG: boundary_threshold})
    about: dict[str, Any] = {"unit_m": unit_m, "observed": observed}
    with ThreadPoolExecutor(1) as beside:  # to compress leaves a core to what follows
        compressed = beside.submit(_compress, flat, probability, journal)
        with timed("mask.tif"):
            journal.once(
                mask, lambda out: clean_mask(flat, out, classify=classify, min_area_m2=min_area_m2, unit_m=unit_m)
            )
        areas = beside.submit(_areas_ha, mask, unit_m)
        # Last, since nothing else waits for it: it is compressed while parcels are made and the picture is drawn.
        further = beside.submit(_compress, boundary, folder / "boundary.tif", journal) if boundary else None
        about |= {"boundary": boundary, "boundary_threshold": boundary_threshold, "min_area_m2": min_area_m2}
        about |= {"probability": flat, "folder": folder}
        with timed("parcels"), find_parcels(mask, **about) as parcels:
            with timed("parcels.parquet"):
                write_geoparquet(parcels.chunks(), folder / "parcels.parquet")
            with timed("parcels.gpkg"):
                write_geopackage(map(_to_correct, parcels.chunks(FEW)), folder / "parcels.gpkg")
            write_style(folder / "parcels.qml", pixel=parcels.pixel)
            with timed("waiting for probability.tif"):
                compressed.result()
            totals = Totals(*areas.result(), len(parcels))
            with timed("overview.png"):
                draw(totals, parcels.chunks(FEW))
        if further:
            with timed("waiting for boundary.tif"):
                further.result()
    return totals


def _to_correct(parcels: GeoDataFrame) -> GeoDataFrame:
    """Parcels with an empty column in which a person says what is wrong with them, for `cropland chips`."""
    parcels.insert(len(parcels.columns) - 1, "status", pd.Series([None] * len(parcels), dtype="str"))
    return parcels


def _compress(flat: Path, out: Path, journal: Journal) -> None:
    with timed(out.name):
        journal.once(out, lambda out: write_cog(flat, out, overviews="average"))


def _areas_ha(mask: Path, unit_m: float | None) -> tuple[float, float]:
    """Cropland and ground with data, counted in the mask."""
    sums = np.zeros(256)
    with timed("areas"), rasterio.open(mask) as file:
        grid = grid_of(file)
        for _, block in file.block_windows(1):
            area = pixel_area_m2(grid, Window(block.row_off, block.col_off, block.height, block.width), unit_m=unit_m)
            sums += np.bincount(file.read(1, window=block).ravel(), area.ravel(), minlength=256)
    return float(sums[1]) / 1e4, float(sums[:255].sum()) / 1e4


def _draw(scene: Scene, folder: Path, totals: Totals, parcels: Iterable[GeoDataFrame]) -> None:
    rasters, picture = (folder / "probability.tif", folder / "mask.tif"), folder / "overview.png"
    overview(scene, *rasters, parcels, picture, area_ha=totals.area_ha, share=totals.share)


def write_project(scene: Scene, statistics: Statistics, folder: Path, *, home: Path) -> None:
    """For the folder that this one will be moved to."""
    numbers = [scene.bands.index(band) + 1 for band in statistics.bands[:3]]
    write_qgis(
        folder / "map.qgs",
        title=scene.name,
        scene=None if scene.is_temporary else scene.files[0],
        bands=(numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else numbers[0],
        limits=list(zip(statistics.low, statistics.high, strict=True))[:3],
        probability=folder / "probability.tif",
        boundary=folder / "boundary.tif" if (folder / "boundary.tif").exists() else None,
        mask=folder / "mask.tif",
        parcels=folder / "parcels.gpkg",
        home=home,
    )


def write_index(maps: Sequence[tuple[Scene, Path, Totals]], out: Path) -> None:
    """A GeoPackage of where the scenes of a run lie, each with its folder and totals.

    Scenes without a CRS, and those with a corner that is not on the Earth, have no outline.
    """
    columns = {
        "name": [scene.name for scene, _, _ in maps],
        "area_ha": [totals.area_ha for _, _, totals in maps],
        "share": [totals.share for _, _, totals in maps],
        "parcels": [totals.parcels for _, _, totals in maps],
        "folder": [folder.name for _, folder, _ in maps],
    }
    outlines = [None if scene.grid.crs is None else scene.grid.extent.to_crs("EPSG:4326").geom for scene, _, _ in maps]
    known = [each if each is not None and np.isfinite(each.bounds).all() else None for each in outlines]
    write_geopackage([GeoDataFrame(columns, geometry=GeoSeries(known, crs=4326))], out, layer="scenes")
