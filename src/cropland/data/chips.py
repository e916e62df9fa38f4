"""A chip folder: GeoTIFF pairs of image and label, with an index; it is complete, and trains on any machine.

DIR/index.parquet   a row per chip: GeoParquet, footprints in EPSG:4326 (missing where the scene has no CRS)
DIR/chips.json      format, version, bands, and the scenes and options that the chips were cut with
DIR/images/ID.tif   bands named by their description, in the scene's own type; a mask where pixels are invalid
DIR/labels/ID.tif   uint8: 1 cropland, 0 not cropland, 255 unknown; in a second band the distance to the nearest
                    boundary of a field in steps of 0.1 pixels, 254 from 25.4 on, 255 unknown (absent in version 1)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from jaxtyping import Bool, Num, UInt8
from odc.geo.geobox import GeoBox
from pyarrow import ArrowException
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from cropland.errors import ChipError
from cropland.files import replacing, write_json
from cropland.geo.scene import Image

__all__ = ["INDEX", "Chip", "ChipFolder", "crs_text", "open_chips", "write_chip", "write_index"]

FORMAT, VERSION = "cropland chips", 2
INDEX, HEADER = "index.parquet", "chips.json"
COLUMNS = (
    *("id", "image", "label", "source", "group", "split", "block", "pixel_m", "row", "col", "height", "width"),
    *("share_cropland", "share_other", "share_unknown", "low", "high", "geometry"),
)


@dataclass(frozen=True, eq=False)
class Chip:
    """An image with its label: 1 cropland, 0 not cropland, 255 unknown.

    `low` and `high` are the 2nd and 98th percentile of each band of the scene it was cut from. `boundary` is the
    distance to the nearest boundary of a field, as `boundary_distance` gives it; None in a folder of version 1.
    """

    image: Image
    target: UInt8[np.ndarray, "height width"]
    id: str
    group: str
    pixel_m: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    boundary: UInt8[np.ndarray, "height width"] | None = None


@dataclass(frozen=True, eq=False)
class ChipFolder:
    """A chip folder, or some of its chips."""

    path: Path
    bands: tuple[str, ...]
    index: gpd.GeoDataFrame
    header: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def has_boundary(self) -> bool:
        """Whether its labels hold the distance to the nearest boundary of a field."""
        return bool(self.header["version"] > 1)

    def where(self, **equal: str) -> ChipFolder:
        """The chips whose columns have these values, as in `where(split="train")`."""
        chosen = self.index
        for column, value in equal.items():
            chosen = chosen[chosen[column] == value]
        return replace(self, index=chosen.reset_index(drop=True))

    def read(self, number: int, *, dtype: str | None = "float32") -> Chip:
        """The chip in one row of the index, its image in the file's own type if `dtype` is None.

        Raises `ChipError` if a file is missing or damaged.
        """
        row = self.index.iloc[number]
        shape = (len(self.bands), row["height"], row["width"])
        values, valid = _read(self.path / row["image"], shape, dtype=dtype)
        labels, _known = _read(self.path / row["label"], (1 + self.has_boundary, *shape[1:]), dtype="uint8")
        about = {name: row[name] for name in ("id", "group", "pixel_m")}
        return Chip(
            Image(values, valid, bands=tuple(self.bands)),
            labels[0],
            **about,
            low=tuple(row["low"].tolist()),
            high=tuple(row["high"].tolist()),
            boundary=labels[1] if self.has_boundary else None,
        )


def open_chips(path: str | Path) -> ChipFolder:
    """Open a chip folder. Raises `ChipError` if it is missing, foreign, damaged or of a newer version."""
    path = Path(path)
    try:
        header = json.loads((path / HEADER).read_text(encoding="utf-8"))
        index = gpd.read_parquet(path / INDEX)
    except FileNotFoundError as error:
        raise ChipError(
            "{path} is not a chip folder, {header} and {index} are not both in it: cut one with `cropland chips`",
            path=path,
            header=HEADER,
            index=INDEX,
        ) from error
    except (ValueError, OSError, ArrowException) as error:
        raise ChipError(
            "{path}: {header} or {index} is damaged ({error}); copy or cut the folder again",
            path=path,
            header=HEADER,
            index=INDEX,
            error=error,
        ) from error
    if not _is_ours(header) or not {*COLUMNS} <= {*index.columns}:
        raise ChipError("{path} is not a chip folder: cut one with `cropland chips`", path=path)
    if header["version"] > VERSION:
        raise ChipError(
            "{path} has format version {header}, expected {version} or less: update cropland",
            path=path,
            header=header["version"],
            version=VERSION,
        )
    return ChipFolder(path, tuple(header["bands"]), index, header)


def _is_ours(header: Any) -> bool:
    types = {"version": int, "bands": list}
    return (
        isinstance(header, dict)
        and header.get("format") == FORMAT
        and all(isinstance(header.get(name), kind) for name, kind in types.items())
    )


def _read(
    path: Path, shape: tuple[int, ...], *, dtype: str | None
) -> tuple[np.ndarray, Bool[np.ndarray, "height width"]]:
    try:
        with rasterio.open(path) as file:
            values, valid = file.read(out_dtype=dtype), file.dataset_mask() != 0
    except RasterioIOError as error:
        raise ChipError("{path} is missing or damaged: copy or cut the chip folder again", path=path) from error
    if values.shape != shape:
        raise ChipError(
            "{path} has {shape} bands, rows and columns, the index says {shape2}: cut the chips again",
            path=path,
            shape=values.shape,
            shape2=shape,
        )
    return values, valid


def write_chip(
    folder: Path,
    name: str,
    image: Image,
    target: UInt8[np.ndarray, "height width"],
    *,
    boundary: UInt8[np.ndarray, "height width"],
    grid: GeoBox,
    bands: Sequence[str],
    dtype: np.dtype,
) -> dict[str, str]:
    """Write image and label on their grid; returns their paths, relative to the folder."""
    paths = {"image": f"images/{name}.tif", "label": f"labels/{name}.tif"}
    valid = None if image.valid.all() else image.valid
    values = np.where(image.valid, image.values, 0)
    if dtype.kind in "iu":
        # A sensor's offset can bring a dark pixel below 0, which an unsigned type would wrap around.
        values = values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        _write(folder / paths["image"], values.astype(dtype), valid, grid=grid, descriptions=bands)
        labels = np.stack([target, boundary])
        _write(folder / paths["label"], labels, None, grid=grid, descriptions=["cropland", "boundary"])
    return paths


def _write(
    path: Path,
    values: Num[np.ndarray, "band height width"],
    valid: Bool[np.ndarray, "height width"] | None,
    *,
    grid: GeoBox,
    descriptions: Sequence[str],
) -> None:
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype.name}
    profile |= {"transform": grid.affine, "crs": crs_text(grid)}
    profile |= {"compress": "deflate", "predictor": 3 if values.dtype.kind == "f" else 2}
    # By way of memory: a full disk raises here, where GDAL would leave half a file and go on.
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(values)
            file.descriptions = descriptions
            if valid is not None:
                file.write_mask(valid)
        path.write_bytes(memory.getbuffer())


def crs_text(grid: GeoBox) -> str | None:
    """The CRS of a grid by its short code where there is one; None in pixel space."""
    crs = grid.crs
    return None if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else str(crs)


def write_index(folder: Path, index: gpd.GeoDataFrame, header: Mapping[str, Any]) -> None:
    """Write header and index, the index last and by renaming: files that it does not name do not count."""
    with replacing(folder / INDEX) as hidden:
        index[[*COLUMNS]].to_parquet(hidden, index=False)
        write_json(folder / HEADER, {"format": FORMAT, "version": VERSION, **header})
