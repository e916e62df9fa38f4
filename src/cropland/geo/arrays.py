"""Scenes from arrays: a numpy array with its grid, or a labelled array as those of xarray.

The array becomes a temporary GeoTIFF, so that it is read as any other file, also in other processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from re import sub
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeGuard
from warnings import catch_warnings
from weakref import finalize

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Bool
from rasterio.errors import NotGeoreferencedWarning

from cropland.errors import GridError, SceneError
from cropland.geo.grid import user_crs
from cropland.geo.reading import representable
from cropland.geo.scene import Scene, open_scene

__all__ = ["is_labelled", "open_array", "open_labelled_array"]

WRITTEN_AS = {"bool": "uint8", "float16": "float32", "int64": "float64", "uint64": "float64"}
DOWN = ("y", "latitude", "lat", "northing")
ACROSS = ("x", "longitude", "lon", "easting")
TIMES = ("time", "t", "date")


class LabelledArray(Protocol):
    """The part of xarray.DataArray that is used here."""

    name: Any
    dims: tuple[Any, ...]
    coords: Mapping[Any, Any]
    attrs: Mapping[Any, Any]

    @property
    def values(self) -> np.ndarray: ...


def is_labelled(given: object) -> TypeGuard[LabelledArray]:
    """Whether it is a labelled array; a dataset of several is none."""
    has_parts = all(hasattr(given, part) for part in ("dims", "coords", "attrs", "values"))
    return has_parts and not hasattr(given, "data_vars")


def open_array(
    values: np.ndarray,
    *,
    transform: Affine | None = None,
    crs: object = None,
    bands: str | Mapping[str, int] | Sequence[str] | None = None,
    labels: Sequence[str] = (),
    sensor: str | None = None,
    nodata: float | None = None,
    valid: Bool[np.ndarray, "height width"] | None = None,
    pixel_m: float | None = None,
    name: str = "array",
) -> Scene:
    """A scene of an array (band, height, width) or (height, width).

    Its temporary file is removed with the last copy of the scene.
    transform: affine, from (column, row) to coordinates; None is pixel space. crs: anything that pyproj reads. bands: a
    name for each, or as for a file. labels: descriptions of the bands, as B04. nodata: beside NaN, and beside what a
    masked array masks. valid: where there are data.
    Raises `SceneError`, `BandError` or `GridError` for what cannot be used.
    """
    stack = _stack(values)
    if valid is None and np.ma.isMaskedArray(values):
        valid = np.asarray(~np.ma.getmaskarray(values).reshape(stack.shape).any(axis=0))
    folder = TemporaryDirectory(prefix="cropland-", ignore_cleanup_errors=True)
    path, (count, height, width) = Path(folder.name) / f"{name}.tif", stack.shape
    profile = {"count": count, "height": height, "width": width, "dtype": stack.dtype.name, "transform": transform}
    # No colours, or a fourth band of bytes would be opacity.
    layout = {"driver": "GTiff", "tiled": True, "bigtiff": "if_safer", "photometric": "minisblack"}
    wkt = None if crs is None else user_crs(crs).to_wkt()
    with (
        catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(path, "w", crs=wkt, **profile, **layout) as file,
    ):
        file.write(stack)
        if valid is not None:
            file.write_mask(valid)
        if len(labels) == count:
            file.descriptions = tuple(labels)
    try:
        scene = open_scene(path, sensor=sensor, bands=bands, nodata=nodata, pixel_m=pixel_m)
    except BaseException:
        folder.cleanup()
        raise
    finalize(scene.no_data, folder.cleanup)  # copies of the scene have it in common
    return replace(scene, is_temporary=True)


def _stack(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    stack = array[None] if array.ndim == 2 else array
    if stack.ndim != 3 or not stack.size or stack.dtype.kind not in "buif":
        came = f"{array.shape} {array.dtype}"
        raise SceneError("the array is {came}; expected numbers as (band, height, width) or (height, width)", came=came)
    if stack.shape[2] <= 4 < min(stack.shape[:2]):
        raise SceneError(
            "the array is {shape}, with the bands last; give array.transpose(2, 0, 1)", shape=str(array.shape)
        )
    return stack.astype(WRITTEN_AS.get(stack.dtype.name, stack.dtype.name), copy=False)


def open_labelled_array(
    array: LabelledArray,
    *,
    transform: Affine | None = None,
    crs: object = None,
    bands: str | Mapping[str, int] | Sequence[str] | None = None,
    sensor: str | None = None,
    nodata: float | None = None,
    pixel_m: float | None = None,
) -> Scene:
    """A scene of an xarray.DataArray as rioxarray and odc write it; the options replace what the array declares.

    Its y and x are centres of pixels; `spatial_ref` holds its CRS; its bands have the names of their coordinate, or of
    `long_name`; further dimensions have one entry each. Raises as `open_array` does.
    """
    dims = [str(dim) for dim in array.dims]
    down, across = (next((dim for dim in dims if dim.lower() in known), None) for known in (DOWN, ACROSS))
    if down is None or across is None:
        raise SceneError("the array has the dimensions {names}; expected y and x", names=", ".join(dims))
    sizes = dict(zip(dims, np.shape(array.values), strict=True))
    others = [dim for dim in dims if dim not in (down, across)]
    many = [dim for dim in others if sizes[dim] > 1]
    if len(many) > 1 or set(many) & set(TIMES):
        raise SceneError(
            "the array has the dimensions {names}; expected y, x and bands: choose one entry of the others",
            names=", ".join(f"{dim} ({size})" for dim, size in sizes.items()),
        )
    band = next((dim for dim in many or others if dim not in TIMES), None)
    order = [dims.index(dim) for dim in (*others, down, across)]
    values = np.transpose(array.values, order).reshape(-1, sizes[down], sizes[across])
    return open_array(
        values,
        transform=_transform(array, down, across) if transform is None else transform,
        crs=_crs(array) if crs is None else crs,
        bands=bands,
        labels=_labels(array, band),
        sensor=sensor,
        nodata=_nodata(array, values.dtype) if nodata is None else nodata,
        pixel_m=pixel_m,
        name=sub(r"[^\w.-]+", "_", str(array.name or "array")).strip(".") or "array",
    )


def _labels(array: LabelledArray, band: str | None) -> list[str]:
    names = array.coords[band].values if band in array.coords else ()
    # rioxarray numbers the bands and keeps what describes them apart.
    described = array.attrs.get("long_name", ()) if np.asarray(names).dtype.kind not in "UTSO" else names
    return [str(name) for name in np.atleast_1d(described)]


def _transform(array: LabelledArray, down: str, across: str) -> Affine | None:
    """From the centres of pixels, which hold for a cut array too; None where the array has none."""
    if down not in array.coords or across not in array.coords:
        return None
    (top, step_y), (left, step_x) = (_first_and_step(array.coords[axis].values) for axis in (down, across))
    return Affine(step_x, 0, left - step_x / 2, 0, step_y, top - step_y / 2)


def _first_and_step(centres: np.ndarray) -> tuple[float, float]:
    places = np.asarray(centres, np.float64)
    step = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 0.0
    even = places[0] + step * np.arange(len(places))
    if not step or np.abs(places - even).max() > 0.1 * abs(step):
        raise GridError("the array's coordinates are not at even distances; give transform= (affine)")
    return float(places[0]), float(step)


def _crs(array: LabelledArray) -> object:
    name = array.attrs.get("grid_mapping") or getattr(array, "encoding", {}).get("grid_mapping") or "spatial_ref"
    about = array.coords[name].attrs if name in array.coords else {}
    return about.get("crs_wkt") or about.get("spatial_ref") or array.attrs.get("crs")


def _nodata(array: LabelledArray, dtype: np.dtype[Any]) -> float | None:
    declared = next((array.attrs[key] for key in ("_FillValue", "nodata") if key in array.attrs), None)
    return None if declared is None else representable(float(declared), dtype.name)
