"""What the files of a scene say of their bands."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from cropland.errors import SceneError
from cropland.geo.datasets import dataset, reading
from cropland.geo.remote import ImageFile
from cropland.language import _

__all__ = ["Source", "has_mask", "is_lossy", "representable", "sources"]


@dataclass(frozen=True, eq=False)
class Source:
    """A band as its file describes it.

    label: description, or for a file of one band the file's name, or "". color: GDAL's colour interpretation.
    step: declared offset over declared scale, in numbers of the file. tags: of the file and the band.
    """

    path: ImageFile
    index: int
    dtype: str
    shape: tuple[int, int]
    nodata: float | None
    label: str
    color: str
    step: float
    tags: Mapping[str, str]


def sources(path: ImageFile) -> tuple[Source, ...]:
    """The bands of a file in its own order.

    Raises `SceneError` for a file that is no image of real numbers.
    """
    with reading(path) as file:
        if not file.count:
            raise SceneError(
                _(
                    "{path} holds no bands of its own; give one of {subdatasets}",
                    path=path,
                    subdatasets=" ".join(file.subdatasets[:4]),
                )
            )
        if any("complex" in dtype for dtype in file.dtypes):
            raise SceneError(
                _("{path} holds complex numbers (radar?); give optical imagery of integers or floats", path=path)
            )
        tags = {**file.tags(), **file.tags(ns="IMAGERY")}
        return tuple(_source(path, file, index, tags) for index in file.indexes)


def _source(path: ImageFile, file: DatasetReader, index: int, tags: Mapping[str, str]) -> Source:
    place = index - 1
    scale, offset = file.scales[place], file.offsets[place]
    return Source(
        path=path,
        index=index,
        dtype=file.dtypes[place],
        shape=file.shape,
        nodata=representable(file.nodatavals[place], file.dtypes[place]),
        label=file.descriptions[place] or (path.stem if file.count == 1 else ""),
        color=ColorInterp(file.colorinterp[place]).name,
        step=offset / scale if scale else 0.0,
        tags={**tags, **file.tags(index)},
    )


def has_mask(path: ImageFile) -> bool:
    """Whether the file has a mask band (which an alpha band is not)."""
    flags = dataset(path).mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def is_lossy(path: ImageFile) -> bool:
    """Whether the compression changes values a little."""
    file = dataset(path)
    compression = "" if file.compression is None else file.compression.name
    return file.driver in ("JPEG", "WEBP") or compression in ("jpeg", "webp")


def representable(nodata: float | None, dtype: str) -> float | None:
    """A no-data value, unless no pixel of that type can hold it (-9999 in a uint8 file) or NaN says it anyway."""
    if nodata is None or np.isnan(nodata):
        return None
    if np.issubdtype(np.dtype(dtype), np.integer):
        limits = np.iinfo(dtype)
        return nodata if limits.min <= nodata <= limits.max and nodata == int(nodata) else None
    return nodata
