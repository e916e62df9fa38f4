"""A model on chips: its probability on the grid of each, and pixels, boundaries and fields against the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from geopandas import GeoDataFrame
from jaxtyping import Bool, UInt8
from shapely.geometry import shape

from cropland.data.chips import INDEX, ChipFolder, open_chips
from cropland.errors import ChipError
from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.fields import FieldCounts, Matches, count_fields, match, overlaps, size_keys
from cropland.evaluation.findings import Findings, hashed, watched, worst_first
from cropland.evaluation.judge import Judge, only_bands
from cropland.evaluation.score import Part, Picture, score
from cropland.evaluation.training_chips import refuse_training_chips
from cropland.evaluation.viewer import Sheet, assembled
from cropland.geo.area import default_min_area_m2
from cropland.geo.vectors import Polygons
from cropland.geo.window import Window
from cropland.language import Message
from cropland.parcels.clean import SLACK
from cropland.probability import classes

if TYPE_CHECKING:
    from cropland.model import ModelFile

__all__ = ["choose_chips", "model_on_chips", "on_chips"]

CUT = Message(
    "fields on chips are connected regions of the labels, cut off at the edges of the chips; their figures cannot be "
    "compared with those of a map and polygons"
)
SHEETS = 24  # scenes in the report, at most


def model_on_chips(
    sides: Sequence[Path | ModelFile],
    chips: str | Path | ChipFolder,
    *,
    split: str,
    by: str,
    tolerances_m: Sequence[float],
    working_pixel_m: float | None,
    trust: bool,
    allow_training_chips: bool,
    robustness: bool,
) -> Findings:
    """A model, or two, measured on the chips of a folder; the options are those of `evaluate`."""
    from cropland.engines.openvino import open_engine
    from cropland.evaluation.robustness import robustness as changed_by
    from cropland.model import ModelFile

    whole = open_chips(chips) if isinstance(chips, str | Path) else chips
    models = [ModelFile.load(side, trust=trust) if isinstance(side, Path) else side for side in sides]
    parts, changed, notes = [], [], [CUT]
    for model in models:
        folder = choose_chips(whole, model, split=split, by=by)
        said = refuse_training_chips(folder, model, allow=allow_training_chips)
        notes += (
            said if len(models) == 1 else [Message("{name}: {note}", name=_file(model), note=note) for note in said]
        )
        judge = Judge(model, partial(_logits, open_engine(model)), tolerances_m, working_pixel_m)
        parts.append(watched(on_chips(folder, judge, by=by), total=len(folder)))
        if robustness:
            changed.append(replace(changed_by(folder, judge), model=_file(model)))
    model, *_ = models
    about = {
        "kind": "model",
        "part": "chip",
        "title": Message("{model} on {chips}", model=model.name, chips=folder.path.name),
        "subtitle": Message("{model}, {count:,} chips ({split})", model=_file(model), count=len(folder), split=split),
        "subject": {"name": model.name, "file": _file(model), "sha256": model.digest, "version": model.version},
        "reference": {"chips": folder.path.name, "split": split, "by": by, "working_pixel_m": working_pixel_m},
        "computed_on": {
            "files": [hashed(path) for path in (*(each.path for each in models if each.path), folder.path / INDEX)]
        },
        "threshold": model.nearest_pixel(working_pixel_m or float(folder.index["pixel_m"].median())).threshold,
        "temperature": model.temperature,
        "second": _file(models[-1]),
        "notes": notes,
    }
    pixels = int((folder.index["height"] * folder.index["width"]).sum())
    sheets = tuple(_chip_sheets(parts[0], float(folder.index["pixel_m"].median())))
    return Findings(about, parts, True, True, pixels, sheets, tuple(changed))


def _file(model: ModelFile) -> str:
    assert model.path is not None, "a model is measured once it is saved"
    return model.path.name


def _logits(engine: Any, values: np.ndarray) -> np.ndarray:
    logits: np.ndarray = engine(values[None])[0]
    return logits


def _chip_sheets(parts: Sequence[Part], pixel_m: float) -> Iterator[Sheet]:
    """A picture of every scene that gave chips, the chips where they lie in it; first those with most wrong pixels."""
    for name in worst_first(parts)[:SHEETS]:
        own = [(part.window, part.draw) for part in parts if part.source == name]
        yield assembled(name, own, pixel_m=(pixel_m, pixel_m))


def choose_chips(folder: ChipFolder, model: ModelFile, *, split: str, by: str) -> ChipFolder:
    """The chips of a side of the split (or `all`), checked to suit the model.

    Raises `ChipError` if a band or the column `by` is missing, or no chip is left.
    """
    missing = [band for band in model.bands if band not in folder.bands]
    if missing:
        raise ChipError(
            "{path} has bands {bands}; the model also wants {missing}",
            path=folder.path,
            bands=", ".join(folder.bands),
            missing=", ".join(missing),
        )
    if by not in folder.index:
        raise ChipError(
            "{path} has no column '{by}'; it has {columns}",
            path=folder.path,
            by=by,
            columns=", ".join(map(str, folder.index.columns)),
        )
    chosen = folder if split == "all" else folder.where(split=split)
    if not len(chosen):
        sides = ", ".join(f"{count} {side}" for side, count in folder.index["split"].value_counts().items())
        raise ChipError(
            "{path} has no chip of split '{split}' ({sides}); choose with --split",
            path=folder.path,
            split=split,
            sides=sides or Message("it is empty"),
        )
    return chosen


def on_chips(folder: ChipFolder, judge: Judge, *, by: str = "group") -> Iterator[Part]:
    """The score of every chip, in the order of the folder; groups are the values of a column of its index."""
    for number in range(len(folder)):
        row = folder.index.iloc[number]
        yield _chip_part(folder, number, judge, group=str(row[by]), block=f"{row['source']} {row['block']}")


def _chip_part(folder: ChipFolder, number: int, judge: Judge, *, group: str, block: str) -> Part:
    chip = only_bands(folder.read(number), folder.bands, judge.model.bands)
    probability, threshold = judge.probability(chip)
    mask, pixel_m = classes(threshold)[probability], (chip.pixel_m, chip.pixel_m)
    its = score(mask, chip.target, pixel_m=pixel_m, tolerances_m=judge.tolerances_m, probability=probability)
    matches = chip_fields(mask, chip.target, pixel_m=chip.pixel_m)
    its = replace(its, fields=count_fields(matches).get(None, FieldCounts()))
    row = folder.index.iloc[number]
    window = Window(*(int(row[name]) for name in ("row", "col", "height", "width")))
    return Part(
        chip.id,
        its,
        {group: its},
        block,
        lambda: _picture(folder, number, judge),
        source=str(row["source"]),
        window=window,
        sizes=count_fields(matches, *size_keys(matches)),
        worst=((window, its.counts.fp + its.counts.fn),),
    )


def chip_fields(
    mask: UInt8[np.ndarray, "height width"], target: UInt8[np.ndarray, "height width"], *, pixel_m: float
) -> Matches:
    """The connected regions of a chip's mask against those of its label, as its edge cuts both.

    Regions below the least area of a mapped field (`default_min_area_m2`) are left out on both sides, as in a map.
    """
    hidden = (mask == UNKNOWN) | (target == UNKNOWN)
    height, width = (length * pixel_m for length in mask.shape)
    sides = (_region_polygons(each == 1, pixel_m=pixel_m) for each in (mask, target))
    unknown = shapely.multipolygons(_outlines(hidden, pixel_m=pixel_m)) if hidden.any() else None
    found = overlaps(*sides, crs=None, unit_m=1.0, cells=[(0.0, 0.0, width, height)], unknown=lambda _: unknown)
    return match(found)


def _region_polygons(regions: Bool[np.ndarray, "height width"], *, pixel_m: float) -> Polygons:
    shapes = _outlines(regions, pixel_m=pixel_m)
    return Polygons.of(
        GeoDataFrame(geometry=shapes[shapely.area(shapes) >= default_min_area_m2(pixel_m) * (1 - SLACK)])
    )


def _outlines(regions: Bool[np.ndarray, "height width"], *, pixel_m: float) -> np.ndarray:
    """Polygons of the pixels that are connected by edges, in metres from the corner."""
    found = rasterio.features.shapes(regions.astype(np.uint8), regions, transform=Affine.scale(pixel_m))
    return np.array([shape(each) for each, _ in found], object)


def _picture(folder: ChipFolder, number: int, judge: Judge) -> Picture:
    chip = folder.read(number)
    probability, threshold = judge.probability(only_bands(chip, folder.bands, judge.model.bands))
    return Picture(chip.image.rgb(chip.low, chip.high), classes(threshold)[probability], chip.target)
