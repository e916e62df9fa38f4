"""A mask: a raster of 1 cropland, 0 not cropland and 255 no data, read in windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, UInt8

from cropland.errors import SceneError
from cropland.geo.area import pixel_area_m2
from cropland.geo.map_folder import MapFolder
from cropland.geo.scene import Scene, open_scene
from cropland.geo.window import Window

__all__ = ["UNMAPPED", "Mask", "mask_classes"]

UNMAPPED = 255  # no data


def mask_classes(
    values: Float[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"], *, path: Path
) -> UInt8[np.ndarray, "height width"]:
    """The values of a mask as classes, 255 where they are not valid. Raises `SceneError` for other values."""
    known = np.where(valid, values, UNMAPPED)
    foreign = known[(known != 0) & (known != 1) & (known != UNMAPPED)]
    if foreign.size:
        raise SceneError(
            "{file} holds the values {shown}; a mask is 1 cropland, 0 not cropland, 255 no data",
            file=path,
            shown=", ".join(f"{value:g}" for value in np.unique(foreign)[:8]),
        )
    return known.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Mask:
    """A raster of 1 cropland, 0 not cropland and 255 no data, read in windows."""

    path: Path
    scene: Scene

    @staticmethod
    def open(
        path: Path, *, crs: str | None = None, pixel_m: float | None = None, allow_datum_shift: bool = False
    ) -> Mask:
        """The mask of a file or of the folder of a map; the options and the errors are those of `open_scene`."""
        if path.is_dir():
            found = MapFolder.find(path)
            if found is None:
                raise SceneError("{path} is a folder, but not that of a map; give the file of a mask", path=path)
            path = found.mask
        # Naming the band and the no data value keeps a mask of few values from being taken for imagery with a collar.
        how = {"crs": crs, "pixel_m": pixel_m, "allow_datum_shift": allow_datum_shift}
        return Mask(path, open_scene(path, bands={"mask": 1}, nodata=UNMAPPED, **how))  # type: ignore[arg-type]

    @property
    def title(self) -> str:
        """The name of the scene that was mapped where that is known, since the mask of every map is mask.tif."""
        found = MapFolder.find(self.path)
        return self.path.name if found is None else str(found.about.get("scene", {}).get("name", found.path.name))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.scene.shape

    def read(self, window: Window) -> UInt8[np.ndarray, "height width"]:
        """The classes in a window. Raises `SceneError` if it holds other values than 0, 1 and no data."""
        image = self.scene.read(window)
        return mask_classes(image.values[0], image.valid, path=self.path)

    def area_m2(self, window: Window, *, each: bool = False) -> Float64[np.ndarray, "height width"]:
        """The area of each pixel on the ellipsoid, as `pixel_area_m2` has it."""
        return pixel_area_m2(self.scene.grid, window, unit_m=self.scene.unit_m, each=each)

    def coordinates(
        self, rows: Int64[np.ndarray, " point"], cols: Int64[np.ndarray, " point"]
    ) -> tuple[Float64[np.ndarray, " point"], Float64[np.ndarray, " point"]]:
        """The centres of pixels in the CRS of the mask."""
        a, b, c, d, e, f = self.scene.grid.affine[:6]
        return a * (cols + 0.5) + b * (rows + 0.5) + c, d * (cols + 0.5) + e * (rows + 0.5) + f

    def pixels(
        self, x: Float64[np.ndarray, " point"], y: Float64[np.ndarray, " point"]
    ) -> tuple[Int64[np.ndarray, " point"], Int64[np.ndarray, " point"]]:
        """The rows and columns of the pixels in which places in the CRS of the mask lie; -1 for both outside of it."""
        a, b, c, d, e, f = (~self.scene.grid.affine)[:6]
        rows, cols = np.floor(d * x + e * y + f), np.floor(a * x + b * y + c)
        inside = (rows >= 0) & (rows < self.shape[0]) & (cols >= 0) & (cols < self.shape[1])
        return np.where(inside, rows, -1).astype(np.int64), np.where(inside, cols, -1).astype(np.int64)
