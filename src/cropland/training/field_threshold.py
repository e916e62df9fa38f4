"""From which probability on the output `boundary` parts fields: the one whose fields match those of validation best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import rasterio
from jaxtyping import Int32, UInt8
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.data.boundary import NEAR, STEP
from cropland.data.chips import Chip, ChipFolder
from cropland.data.labels import CROPLAND, UNKNOWN
from cropland.evaluation.judge import at_pixel, chip_probabilities, only_bands, resized
from cropland.geo.area import default_min_area_m2
from cropland.model import ModelFile, WorkingPixel
from cropland.parcels.clean import by_threshold, clean_mask
from cropland.parcels.instances import FieldRule, find_fields
from cropland.probability import NO_DATA
from cropland.training.validate import fits, predictor

__all__ = ["FieldMatches", "matches", "predicted_fields", "reference_fields", "with_boundary_thresholds"]

THRESHOLDS = (0.03, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5)
CELL = 1024
MATCH = 0.5  # intersection over union from which on two fields are one


class FieldMatches(NamedTuple):
    """Fields that match one to one, predicted ones and those of the reference; add by `plus`."""

    matched: int = 0
    predicted: int = 0
    reference: int = 0

    def plus(self, other: FieldMatches) -> FieldMatches:
        """Both together."""
        return FieldMatches(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without fields."""
        return 2 * self.matched / max(1, self.predicted + self.reference)


def with_boundary_thresholds(
    model: ModelFile, chips: ChipFolder, *, kept: Mapping[float, float] | None = None
) -> tuple[WorkingPixel, ...]:
    """The working pixels of a model, each with the threshold of the highest F1 of fields at an IoU of 0.5.

    A chip that knows its fields is averaged to every working pixel of which its edge has 64, as if it were a scene of
    such pixels. Fields are compared pixel by pixel. Two fields that overlap by more than half match no others, so that
    matches are one to one; unknown ground counts for neither. A working pixel without such a chip, or of which no field
    matches, has no threshold. kept: thresholds that are given by working pixel and only scored.
    """
    predict, kept = predictor(model.network()), kept or {}
    tried = {
        pixel.pixel_m: (kept[pixel.pixel_m],) if pixel.pixel_m in kept else THRESHOLDS for pixel in model.working_pixels
    }
    total = {pixel_m: dict.fromkeys(thresholds, FieldMatches()) for pixel_m, thresholds in tried.items()}
    for number in range(len(chips)):
        chip = only_bands(chips.read(number), chips.bands, model.bands)
        reference = reference_fields(chip)
        if reference is None:
            continue
        for pixel in (each for each in model.working_pixels if fits(chip, each.pixel_m)):
            coarse = at_pixel(chip, pixel.pixel_m)
            outputs = chip_probabilities(coarse, predict, pixel_m=pixel.pixel_m, statistics=model.statistics)
            true = resized(reference, coarse.target.shape)
            known = coarse.target != UNKNOWN
            thresholds = tried[pixel.pixel_m]
            for threshold, fields in predicted_fields(
                coarse.pixel_m, *outputs[:2], at=pixel.threshold, thresholds=thresholds
            ):
                matched = matches(fields * known, true * known)
                total[pixel.pixel_m][threshold] = total[pixel.pixel_m][threshold].plus(matched)
    return tuple(_with_best(pixel, total[pixel.pixel_m], kept.get(pixel.pixel_m)) for pixel in model.working_pixels)


def _with_best(pixel: WorkingPixel, total: Mapping[float, FieldMatches], kept: float | None) -> WorkingPixel:
    best = max(total, key=lambda threshold: total[threshold].f1)
    if not total[best].matched:
        return replace(pixel, boundary_threshold=kept)
    return replace(pixel, boundary_threshold=best, field_f1=total[best].f1)


def reference_fields(chip: Chip) -> Int32[np.ndarray, "height width"] | None:
    """The fields of a chip, numbered from 1; None where it has none or knows the edges of a mask only.

    Of a mask no cropland is known that lies further than 2.5 pixels from an edge. What boundaries part is a field; the
    pixels along them go to the nearest.
    """
    if chip.boundary is None:
        return None
    cropland = chip.target == CROPLAND
    known = chip.boundary[cropland & (chip.boundary != UNKNOWN)]
    if len(known) < cropland.sum() / 2 or not (known > NEAR / STEP).any():
        return None
    inside, _ = ndimage.label(cropland & (chip.boundary * STEP > 1))
    rows, columns = ndimage.distance_transform_edt(inside == 0, return_distances=False, return_indices=True)
    fields: np.ndarray = np.where(cropland, inside[rows, columns], 0)
    return fields.astype(np.int32)


def matches(fields: Int32[np.ndarray, "height width"], reference: Int32[np.ndarray, "height width"]) -> FieldMatches:
    """The fields of a reference and of a prediction that match."""
    sizes, of = np.bincount(fields.ravel()), np.bincount(reference.ravel())
    both = (fields > 0) & (reference > 0)
    pairs, shared = np.unique(fields[both].astype(np.int64) * len(of) + reference[both], return_counts=True)
    one, other = np.divmod(pairs, len(of))
    iou = shared / (sizes[one] + of[other] - shared)
    return FieldMatches(int((iou > MATCH).sum()), int((sizes[1:] > 0).sum()), int((of[1:] > 0).sum()))


def predicted_fields(
    pixel_m: float,
    cropland: UInt8[np.ndarray, "height width"],
    boundary: UInt8[np.ndarray, "height width"],
    *,
    at: float,
    thresholds: Sequence[float],
) -> Iterator[tuple[float, Int32[np.ndarray, "height width"]]]:
    """The fields that a map would have, by threshold of the boundary. at: the threshold of cropland."""
    least_m2 = default_min_area_m2(pixel_m)
    with TemporaryDirectory(prefix="cropland-") as name:
        folder = Path(name)
        for layer, values in (("probability", cropland), ("boundary", boundary)):
            _write(folder / f"{layer}.tif", values, pixel_m)
        how: dict[str, Any] = {"unit_m": 1.0}
        classify = by_threshold(at)
        clean_mask(folder / "probability.tif", folder / "mask.tif", classify=classify, min_area_m2=least_m2, **how)
        for threshold in thresholds:
            rule = FieldRule.of(threshold, pixel_m=pixel_m, min_area_m2=least_m2)
            files = (folder / f"{each}.tif" for each in ("mask", "boundary", "fields"))
            find_fields(*files, rule=rule, cell=CELL, spread=map, **how)
            with rasterio.open(folder / "fields.tif") as file:
                yield threshold, file.read(1)


def _write(path: Path, values: UInt8[np.ndarray, "height width"], pixel_m: float) -> None:
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": NO_DATA}
    with rasterio.open(path, "w", **profile, transform=from_origin(0, 0, pixel_m, pixel_m)) as file:
        file.write(values, 1)
