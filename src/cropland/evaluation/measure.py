"""Parts of what is measured with a score each: a model on chips, chip by chip, and a map, block by block."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from geopandas import GeoDataFrame
from jaxtyping import Bool, Float32, UInt8
from scipy.special import expit
from shapely.geometry import shape

from cropland.data.chips import Chip, ChipFolder
from cropland.data.labels import Draw, LabelOptions, PolygonLabels
from cropland.errors import ChipError, LabelError
from cropland.evaluation.counts import UNKNOWN, Counts
from cropland.evaluation.fields import (
    FieldCounts,
    FieldTable,
    Matches,
    count_fields,
    lattice,
    match,
    overlaps,
    size_classes,
)
from cropland.evaluation.score import Part, Picture, Score, score
from cropland.evaluation.subject import BLOCK, Ground, Subject, imagery_on
from cropland.geo.area import default_min_area_m2
from cropland.geo.features import Bounds
from cropland.geo.resample import resample, resampled_length, taps
from cropland.geo.scene import Image
from cropland.geo.statistics import Statistics
from cropland.geo.vectors import Polygons, read_polygons
from cropland.geo.window import Tile, Window, tiles
from cropland.language import Message
from cropland.parcels.clean import SLACK
from cropland.probability import classes, to_levels

if TYPE_CHECKING:
    from cropland.model import ModelFile

__all__ = [
    "FieldSums",
    "Judge",
    "Predict",
    "blocks",
    "chip_probability",
    "choose_chips",
    "fields_on",
    "on_chips",
    "on_subject",
    "only_bands",
    "read_regions",
    "with_fields",
]

PLACE, WORST = 128, 4  # pixels along the edge of a place to look at, and how many are kept of a block
Regions = tuple[tuple[str, ...], PolygonLabels]
Predict = Callable[[Float32[np.ndarray, "band height width"]], Float32[np.ndarray, "output height width"]]


@dataclass(frozen=True)
class Judge:
    """A model that predicts chips at its working pixel nearest to `working_pixel_m`, or else to each chip's own."""

    model: ModelFile
    predict: Predict
    tolerances_m: Sequence[float]
    working_pixel_m: float | None = None

    def probability(self, chip: Chip) -> tuple[UInt8[np.ndarray, "height width"], float]:
        """The probability on the chip's own grid, and the threshold that goes with it."""
        pixel = self.model.nearest_pixel(self.working_pixel_m or chip.pixel_m)
        statistics = self.model.statistics
        return chip_probability(chip, self.predict, pixel_m=pixel.pixel_m, statistics=statistics), pixel.threshold


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
        sizes=count_fields(matches, *_sizes(matches)),
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


def chip_probability(
    chip: Chip, predict: Predict, *, pixel_m: float, statistics: Statistics | None = None
) -> UInt8[np.ndarray, "height width"]:
    """The probability of cropland on the chip's own grid: 0..254 is p x 254, 255 where the chip has no data.

    The chip is predicted whole. `predict` gives the logits of a normalised image, channel 0 cropland; `pixel_m` is the
    model's working pixel. Without `statistics` those of the scene that the chip was cut from are used.
    """
    ratio, shape = pixel_m / chip.pixel_m, chip.image.valid.shape
    image = _at(chip.image, ratio, tuple(resampled_length(length, ratio) for length in shape))
    stretch = statistics or Statistics((), chip.low, chip.high)
    logits = predict(stretch.normalise(image.values, image.valid))[:1]
    probability = _at(Image(expit(logits), np.ones(logits.shape[1:], bool)), 1 / ratio, shape).values[0]
    return to_levels(probability, chip.image.valid)


def only_bands(chip: Chip, has: Sequence[str], wants: Sequence[str]) -> Chip:
    """The chip with the bands `wants`, in that order; `has` names its own."""
    order = [list(has).index(band) for band in wants]
    low, high = (tuple(limits[band] for band in order) for limits in (chip.low, chip.high))
    image = Image(chip.image.values[order], chip.image.valid, chip.image.grid, tuple(wants))
    return replace(chip, image=image, low=low, high=high)


def _at(image: Image, ratio: float, shape: tuple[int, ...]) -> Image:
    """The image at pixels `ratio` times as large, resampled as `Scene.read` does a whole scene."""
    if ratio == 1:
        return image
    rows, cols = (
        taps(ratio, start=0, count=count, length=length) for count, length in zip(shape, image.valid.shape, strict=True)
    )
    values, valid = resample(image.values, None if image.valid.all() else image.valid, rows=rows, cols=cols)
    return Image(values, np.ones(values.shape[1:], bool) if valid is None else valid)


def blocks(ground: Ground) -> int:
    """The number of blocks of a grid."""
    return math.prod(-(-length // BLOCK) for length in ground.shape)


def on_subject(
    subject: Subject,
    reference: Draw,
    *,
    tolerances_m: Sequence[float],
    regions: Regions | None = None,
) -> Iterator[Part]:
    """The score of every block of a map that has known pixels; `reference` is that of the labels on the map's grid.

    Raises `SceneError` for a mask that holds other values than 0, 1 and no data, `LabelError` if no region meets it.
    """
    ground = subject.ground
    halo = math.ceil(max(tolerances_m) / min(ground.pixel_sides_m)) + 1
    values, numbers = (regions[0], regions[1].on(ground)) if regions else ((), None)
    picture = _picture_of(subject, reference)
    for tile in tiles(ground.shape, size=BLOCK, halo=halo, stride=1):
        known = reference(tile.padded)
        number = numbers(tile.padded) if numbers else np.full(known.shape, UNKNOWN, np.uint8)
        its = _scores(subject, known, number, tile, tolerances_m=tolerances_m)
        total = its.pop(UNKNOWN)
        if total.counts.total:
            name = Message("row {row}, column {col}", row=tile.core.row, col=tile.core.col)
            block = f"{ground.name} {tile.core.row} {tile.core.col}"
            groups = {values[each]: score for each, score in its.items()}
            where: dict[str, Any] = {"source": ground.name, "window": tile.core, "worst": _worst(subject, known, tile)}
            yield Part(name, total, groups, block, partial(picture, tile.core), **where)


def _worst(
    subject: Subject, reference: UInt8[np.ndarray, "height width"], tile: Tile
) -> tuple[tuple[Window, int], ...]:
    """The places of a block, as many as `WORST`, where most pixels are wrong."""
    prediction, known = subject.mask(tile.core), reference[tile.inner.slices]
    wrong = (prediction != known) & (prediction != UNKNOWN) & (known != UNKNOWN)
    rows, cols = (range(0, length, PLACE) for length in wrong.shape)
    sums = np.add.reduceat(np.add.reduceat(wrong, rows, axis=0, dtype=np.int64), cols, axis=1)
    found = []
    for place in np.argsort(-sums, axis=None)[:WORST].tolist():
        row, col = rows[place // len(cols)], cols[place % len(cols)]
        height, width = (min(PLACE, length - start) for length, start in zip(wrong.shape, (row, col), strict=True))
        window = Window(tile.core.row + row, tile.core.col + col, height, width)
        found.append((window, int(sums.flat[place])))
    return tuple(found)


def _scores(
    subject: Subject,
    reference: UInt8[np.ndarray, "height width"],
    number: UInt8[np.ndarray, "height width"],
    tile: Tile,
    *,
    tolerances_m: Sequence[float],
) -> dict[int, Score]:
    """The score of a tile within each region by its number, and of the whole tile under the number of no region."""
    prediction = subject.mask(tile.padded)
    probability = None if subject.probability is None else subject.probability(tile.padded)
    if probability is not None:  # known on the same pixels as the mask
        probability = np.where(prediction == UNKNOWN, np.uint8(UNKNOWN), probability)
    core, found = tile.inner.slices, {}
    for each in {UNKNOWN, *np.unique(number[core]).tolist()}:
        known = reference if each == UNKNOWN else np.where(number == each, reference, np.uint8(UNKNOWN))
        how: dict[str, Any] = {"pixel_m": subject.ground.pixel_sides_m, "tolerances_m": tolerances_m, "core": core}
        found[int(each)] = score(prediction, known, probability=probability, **how)
    return found


def _picture_of(subject: Subject, reference: Draw) -> Callable[[Window], Picture]:
    """What a window looks like, on the imagery where there is some."""
    shown = cache(lambda: None if subject.imagery is None else imagery_on(subject.imagery, subject.ground))

    def picture(window: Window) -> Picture:
        rgb = shown()
        return Picture(None if rgb is None else rgb(window, 1), subject.mask(window), reference(window))

    return picture


@dataclass(frozen=True, eq=False)
class FieldSums:
    """Sums over the fields of a map: by block and group ("" for all), and by block and size class."""

    groups: Mapping[tuple[str, str], FieldCounts]
    sizes: Mapping[tuple[str, int], FieldCounts]
    notes: tuple[str, ...]


def fields_on(
    subject: Subject,
    reference: Draw,
    fields: tuple[Polygons, Polygons],
    *,
    column: str | None = None,
    regions: Regions | None = None,
    allow_datum_shift: bool = False,
) -> FieldSums:
    """The predicted and the reference fields of a map, compared on the ground that `reference` and the map know.

    column: of the reference fields, to group by; a predicted field has no value of it, and belongs to no such group.
    regions: to group by instead.
    """
    ground = subject.ground
    extent = ground.grid.extent.geom.bounds
    side = BLOCK * math.sqrt(abs(ground.grid.affine.determinant))
    found = overlaps(
        *fields,
        crs=None if ground.grid.crs is None else ground.grid.crs.proj,
        unit_m=ground.unit_m,
        cells=lattice(extent, size=side),
        unknown=partial(_unknown_ground, subject, reference),
        column=column,
        allow_datum_shift=allow_datum_shift,
        threads=2,
    )
    matches = match(found)
    blocks = [_block_names(ground, table) for table in (found.predicted, found.reference)]
    groups = {(block, ""): counts for block, counts in count_fields(matches, *blocks).items()}
    if column or regions:
        nowhere = np.full(len(found.predicted), "", object)
        values = (
            [_region_names(ground, regions, table) for table in (found.predicted, found.reference)]
            if regions
            else [nowhere, found.reference.value]
        )
        keys = (list(zip(block, value, strict=True)) for block, value in zip(blocks, values, strict=True))
        groups |= {key: counts for key, counts in count_fields(matches, *keys).items() if key[1]}
    by_size = [list(zip(block, sizes, strict=True)) for block, sizes in zip(blocks, _sizes(matches), strict=True)]
    ambiguous = Message(
        "{count} more fields could be matched if not the best pair came first: fields of one side overlap each other",
        count=matches.optimal - matches.matched,
    )
    notes = (*found.notes, *([ambiguous] if matches.optimal > matches.matched else []))
    return FieldSums(groups, count_fields(matches, *by_size), notes)


def _sizes(matches: Matches) -> list[list[int]]:
    return [size_classes(table).tolist() for table in (matches.overlaps.predicted, matches.overlaps.reference)]


def _unknown_ground(subject: Subject, reference: Draw, box: Bounds) -> shapely.Geometry | None:
    """The ground in a box that is beyond the grid, or that map or labels do not know."""
    grid, area = subject.ground.grid, shapely.box(*box)
    corners = np.array(~grid.affine @ tuple(shapely.get_coordinates(area).T))
    (left, top), (right, bottom) = (np.floor(corners.min(axis=1) + 1e-6), np.ceil(corners.max(axis=1) - 1e-6))
    rows, cols = (
        (int(np.clip(low, 0, length)), int(np.clip(high, 0, length)))
        for low, high, length in ((top, bottom, grid.shape[0]), (left, right, grid.shape[1]))
    )
    window = Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])
    hidden = np.zeros(window.shape, bool)
    for read in (subject.mask, reference):
        hidden |= read(window) == UNKNOWN
    shapes = [area.difference(grid.extent.geom)]
    if hidden.any():
        affine = grid[window.slices].affine
        shapes += [
            shape(each) for each, _ in rasterio.features.shapes(hidden.astype(np.uint8), hidden, transform=affine)
        ]
    parts = shapely.get_parts([each for each in shapes if each.area > 0])
    return shapely.multipolygons(parts) if len(parts) else None


def _block_names(ground: Ground, table: FieldTable) -> list[str]:
    """The block of each field by its centroid, as `on_subject` names blocks."""
    col, row = ~ground.grid.affine @ tuple(table.centroid.T)
    at = [
        np.clip(np.nan_to_num(each), 0, n - 1) // BLOCK * BLOCK
        for each, n in zip((row, col), ground.shape, strict=True)
    ]
    return [f"{ground.name} {row:.0f} {col:.0f}" for row, col in zip(*at, strict=True)]


def _region_names(ground: Ground, regions: Regions, table: FieldTable) -> np.ndarray:
    """The region of each field by its centroid, "" for none."""
    names, labels = regions
    found = [
        polygons.meeting(ground.grid.extent, allow_datum_shift=labels.allow_datum_shift)[0]
        for _, polygons in labels.layers
    ]
    shapes = np.concatenate([frame.geometry.to_numpy() for frame in found])
    of = np.repeat(np.array(names, object), [len(frame) for frame in found])
    centroids = shapely.points(np.nan_to_num(table.centroid, nan=np.inf))
    field, shape_ = shapely.STRtree(shapes).query(centroids, predicate="within")
    value = np.full(len(table), "", object)
    value[field] = of[shape_]
    return value


def with_fields(parts: Sequence[Part], sums: FieldSums) -> list[Part]:
    """The parts of a map with their fields; those of a block that has no part go to the first."""
    known = {part.block for part in parts}

    def by_block(of: Mapping[tuple[str, Any], FieldCounts]) -> dict[str, dict[Any, FieldCounts]]:
        found: dict[str, dict[Any, FieldCounts]] = defaultdict(lambda: defaultdict(FieldCounts))
        for (block, key), counts in of.items():
            found[block if block in known else parts[0].block][key] += counts
        return found

    groups, sizes = by_block(sums.groups), by_block(sums.sizes)
    return [_with_fields(part, groups[part.block], sizes[part.block]) for part in parts]


def _with_fields(part: Part, fields: Mapping[str, FieldCounts], sizes: Mapping[int, FieldCounts]) -> Part:
    empty = replace(part.total, counts=Counts(), edges=part.total.edges * 0, levels=part.total.levels * 0)
    groups = {name: part.groups.get(name, empty) for name in {*part.groups, *fields} - {""}}
    return replace(
        part,
        total=replace(part.total, fields=fields.get("", FieldCounts())),
        groups={name: replace(its, fields=fields.get(name, FieldCounts())) for name, its in groups.items()},
        sizes=sizes,
    )


def read_regions(labels: LabelOptions, column: str, *, allow_datum_shift: bool = False) -> Regions:
    """The values of a column of polygons, and the polygons as labels of the numbers of these values.

    The polygons are those of the --inside area, else those of the labels.

    Raises `LabelError` if the column is missing, or has more than 254 values.
    """
    if labels.inside:
        path, frame = labels.inside, read_polygons(labels.inside)
    elif labels.labels and not labels.classes:
        path, selection = labels.labels, {"layer": labels.layer, "where": labels.where, "encoding": labels.encoding}
        frame = read_polygons(path, **selection)
    else:
        raise LabelError("--by needs polygons that have the column: give them as --inside AREA")
    if column not in frame:
        raise LabelError(
            "{name} has no column '{column}'; it has {columns}",
            name=path.name,
            column=column,
            columns=", ".join(map(str, frame.columns)),
        )
    names = frame[column].astype(str)
    values = tuple(sorted(set(names)))
    if len(values) > UNKNOWN:
        raise LabelError(
            "{name}: column '{column}' has {count} values; take one with at most {unknown}",
            name=path.name,
            column=column,
            count=len(values),
            unknown=UNKNOWN,
        )
    layers = tuple((number, Polygons.of(frame[names == value])) for number, value in enumerate(values))
    return values, PolygonLabels(layers, UNKNOWN, path.name, allow_datum_shift)
