"""Labels from a raster whose values a table explains."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from jaxtyping import Float64, UInt8
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject

from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Draw
from cropland.errors import LabelError
from cropland.geo.reading import Layer, dataset, read_layers
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import _

__all__ = ["RasterLabels", "ValueTable", "parse_classes"]

# No JPEG: its values are not those that somebody drew.
SUFFIXES = (".tif", ".tiff", ".png", ".img", ".vrt", ".jp2", ".bmp", ".gif")
ENTRY = re.compile(r"(\*|[-+]?\d+(?:\.\d+)?)=(0|1|255)")

Values = Float64[np.ndarray, "height width"]


@dataclass(frozen=True)
class ValueTable:
    """What each value of a raster means: 1 cropland, 0 not cropland, 255 unknown; `rest` is every value not named."""

    meaning: Mapping[float, int]
    rest: int | None = None

    def __call__(self, values: Values, source: str) -> UInt8[np.ndarray, "height width"]:
        """Translate values; NaN, which is no data, is unknown. Raises `LabelError` if a value is not in the table."""
        found, place = np.unique(values, return_inverse=True)
        meant = [UNKNOWN if np.isnan(value) else self.meaning.get(value, self.rest) for value in found]
        foreign = [f"{value:g}" for value, means in zip(found, meant, strict=True) if means is None]
        if foreign:
            raise LabelError(
                _(
                    '{source} has the values {foreign}: give --classes "1=1,*=0" ({table_help})',
                    source=source,
                    foreign=", ".join(foreign[:12]),
                    table_help=_table_help(),
                )
            )
        return np.array(meant, np.uint8)[place].reshape(values.shape)


PLAIN = ValueTable({0: OTHER, 1: CROPLAND, 255: UNKNOWN})


def parse_classes(text: str) -> ValueTable:
    """Read a table such as `50=1,100=255,*=0`. Raises `LabelError` for anything else."""
    entries = [ENTRY.fullmatch(entry) for entry in text.replace(" ", "").split(",")]
    if not all(entries):
        raise LabelError(
            _(
                '--classes "{text}" cannot be read: give pairs such as "50=1,100=255,*=0" ({table_help})',
                text=text,
                table_help=_table_help(),
            )
        )
    meaning = {entry[1]: int(entry[2]) for entry in entries if entry}
    rest = meaning.pop("*", None)
    return ValueTable({float(value): target for value, target in meaning.items()}, rest)


@dataclass(frozen=True)
class RasterLabels:
    """A raster of classes, or a folder that holds one for each scene under the scene's name.

    Without a table, 0, 1 and 255 mean themselves. A raster on another grid gives its nearest pixel.
    """

    path: Path
    table: ValueTable | None = None

    def on(self, scene: Scene) -> Draw:
        """Lay it on a scene. Raises `LabelError` if there is none for the scene, or it does not meet the scene."""
        path = _named_as(scene, self.path) if self.path.is_dir() else self.path
        read = _read_window if _aligned(dataset(path), scene) else _read_warped
        nodata = self._nodata(dataset(path))
        table = self.table or PLAIN
        return lambda window: table(read(path, scene, window, nodata), path.name)

    def _nodata(self, labels: DatasetReader) -> float | None:
        """The value that is no data; a class that the table names is none, whatever the file declares."""
        if self.table is None and labels.nodata in (0, 1):
            raise LabelError(
                _(
                    "{name} declares its value {nodata:g} to be no data: say what it is, --classes "
                    '"1=1,0=0" or --classes "1=1,0=255" ({table_help})',
                    name=Path(labels.name).name,
                    nodata=labels.nodata,
                    table_help=_table_help(),
                )
            )
        return None if self.table and labels.nodata in self.table.meaning else labels.nodata


def _named_as(scene: Scene, folder: Path) -> Path:
    for path in sorted(folder.iterdir()):
        if path.stem == scene.name and path.suffix.lower() in SUFFIXES:
            return path
    raise LabelError(
        _(
            "{folder} has no raster for the scene {name}; expected {name} with {suffixes}",
            folder=folder,
            name=scene.name,
            suffixes=", ".join(SUFFIXES),
        )
    )


def _aligned(labels: DatasetReader, scene: Scene) -> bool:
    """Whether the raster's pixels are the scene's; raises if the two cannot be laid on one another."""
    grid = scene.grid
    same_shape = labels.shape == scene.shape
    if same_shape and (labels.crs is None or grid.crs is None):
        return True
    name = f"{Path(labels.name).name} ({labels.height} x {labels.width} pixels)"
    other = f"{scene.name} ({grid.height} x {grid.width})"
    if labels.crs is None or grid.crs is None:
        raise LabelError(
            _("{name} cannot be laid on {other}: expected a CRS on both, or the same size", name=name, other=other)
        )
    extent = grid.extent.to_crs(labels.crs).boundingbox
    if rasterio.coords.disjoint_bounds(tuple(extent), labels.bounds):
        raise LabelError(_("{name} does not meet {other}: check the CRS of both", name=name, other=other))
    same_place = labels.transform.almost_equals(grid.affine, precision=1e-3 * abs(grid.affine.a))
    return bool(same_shape and same_place and grid.crs == labels.crs)


def _read_window(path: Path, scene: Scene, window: Window, nodata: float | None) -> Values:
    (values,) = read_layers([Layer(path, 1, "float64")], window).astype(float)
    return values if nodata is None else np.where(values == nodata, np.nan, values)


def _read_warped(path: Path, scene: Scene, window: Window, nodata: float | None) -> Values:
    values = np.full(window.shape, np.nan)
    reproject(
        rasterio.band(dataset(path), 1),
        values,
        src_nodata=nodata,
        dst_transform=scene.grid[window.slices].affine,
        dst_crs=str(scene.grid.crs),
        dst_nodata=np.nan,
        resampling=Resampling.nearest,
    )
    return values


def _table_help() -> str:
    return _("VALUE=1 is cropland, VALUE=0 is not, VALUE=255 is unknown, * is every other value")
