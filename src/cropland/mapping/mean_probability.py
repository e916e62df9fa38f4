"""The mean probability of each parcel."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import rasterio
from jaxtyping import Float64, Int64
from rasterio.io import DatasetReader

from cropland.errors import GridError
from cropland.language import _
from cropland.mapping.regions import EDGES, Labelled, RasterStrips, Strip, find_regions, label_strips, read_rows

__all__ = ["mean_probability"]

ROWS = 256  # of a strip in memory


def mean_probability(
    mask: DatasetReader, probability: Path, *, first_pixel: Int64[np.ndarray, "parcel 2"]
) -> Float64[np.ndarray, "parcel"]:
    """Mean probability (0..1, nan without data) over the region of the mask that each parcel outlines.

    first_pixel: (row, column) of a pixel of each region, rows ascending. The mask is numbered strip by strip, in one
    pass for all parcels. Raises `GridError` if the rasters are not on one grid.
    """
    with rasterio.open(probability) as source:
        if source.shape != mask.shape or not source.transform.almost_equals(mask.transform, 1e-6):
            raise GridError(
                _(
                    "{name} is not on the grid of the mask; give the one that the mask was made from",
                    name=probability.name,
                )
            )
        strips = RasterStrips(mask, lambda values: values, ROWS)
        labelled = label_strips(strips, lambda classes: classes == 1, structure=EDGES)
        label = np.zeros(len(first_pixel), np.int64)
        regions = find_regions(_noting(labelled, first_pixel, label), lambda strip: _weights(source, strip))
    counts, sums = regions.sums[:, regions.of_label[label]]
    means: np.ndarray = np.divide(sums, counts * 254, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def _noting(parts: Iterable[Labelled], pixels: np.ndarray, label: np.ndarray) -> Iterator[Labelled]:
    """Pass the parts on and write the label of each pixel into `label`."""
    for part in parts:
        window = part.strip.window
        low, high = np.searchsorted(pixels[:, 0], [window.row, window.row + window.height])
        label[low:high] = part.counted_on(part.labels[pixels[low:high, 0] - window.row, pixels[low:high, 1]])
        yield part


def _weights(source: DatasetReader, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
    values = read_rows(source, strip.window)
    known = values != 255
    return known.astype(np.float64), np.where(known, values, 0).astype(np.float64)
