"""A map against labels: pixels and boundaries block by block, and its fields."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import rasterio.features
import shapely
from jaxtyping import UInt8
from shapely.geometry import shape

from cropland.data.labels import Draw, LabelOptions, PolygonLabels, cropland_polygons, read_labels
from cropland.errors import InputError, LabelError
from cropland.evaluation.counts import UNKNOWN, Counts
from cropland.evaluation.fields import (
    FieldCounts,
    FieldTable,
    count_fields,
    lattice,
    match,
    overlaps,
    size_keys,
    value_names,
)
from cropland.evaluation.findings import Findings, hashed, watched, worst_first
from cropland.evaluation.score import Part, Picture, Score, score
from cropland.evaluation.subject import (
    BLOCK,
    NamedGrid,
    Subject,
    SubjectOptions,
    connected_regions,
    decimated,
    imagery_on,
    known_where,
    laid_on,
    open_subjects,
)
from cropland.evaluation.viewer import Sheet
from cropland.geo.area import pixel_edge_m
from cropland.geo.features import Bounds
from cropland.geo.vectors import Polygons, read_polygons
from cropland.geo.window import Tile, Window, tiles
from cropland.language import Message

__all__ = ["blocks", "fields_on", "maps_on_labels", "on_subject", "read_regions", "with_fields"]

OUTLINES = 20_000  # fields of a side that are drawn in the report, at most: all are in memory then
PLACE, WORST = 128, 4  # pixels along the edge of a place to look at, and how many are kept of a block
TRAINED = 0.005  # share of the ground from which on it is told
Regions = tuple[tuple[str, ...], PolygonLabels]


def maps_on_labels(
    paths: Sequence[Path],
    labels: LabelOptions,
    *,
    by: str | None,
    tolerances_m: Sequence[float],
    reading: SubjectOptions,
) -> Findings:
    """Maps, or pairs of maps of the same ground, measured against labels; the options are those of `evaluate`."""
    shift = reading.allow_datum_shift
    subjects, *others = (open_subjects(path, reading, labels=labels) for path in paths)
    truth = read_labels(labels, allow_datum_shift=shift)
    regions = read_regions(labels, by, allow_datum_shift=shift) if by else None
    column = by if by and not labels.inside else None
    sides: list[list[Part]] = [[] for _ in paths]
    sheets, notes, measured, read = list[Sheet](), list[str](), list[Subject](), list[Path]()
    for pair in _pairs(subjects, *others):
        subject, *rest = pair
        try:
            draw = truth.on(subject.ground)
        except LabelError as error:
            if len(subjects) == 1:
                raise
            notes.append(Message("{name} is left out: {error}", name=subject.ground.name, error=error))
            continue
        if rest:  # all are measured on the same ground
            draw = known_where(draw, [each.mask for each in pair])
        notes += [*draw.notes, *(note for each in pair for note in each.notes)]
        read += [path for each in pair for path in each.files]
        for side, each in zip(sides, pair, strict=True):
            how: dict[str, Any] = {"regions": regions, "column": column, "tolerances_m": tolerances_m, "by": by}
            found = _map_parts(each, draw, labels, **how, allow_datum_shift=shift, is_one=len(subjects) == 1)
            side += found.parts
            notes += found.notes
            if each is subject:
                sheets.append(_map_sheet(subject, draw, found.outlines))
        measured.append(subject)
    if not measured:
        raise LabelError("{why}; no map of {name} is left", why=notes[0], name=paths[0].name)
    if not sides[0]:
        raise InputError(
            "{name} and its labels have no known pixel in common; check no data and --inside", name=paths[0].name
        )
    used = {name: getattr(value, "name", value) for name, value in asdict(labels).items() if value is not None}
    shapes = [each.ground.shape for each in measured]
    (height, width), count = shapes[0], len(shapes)
    one = Message(
        "{height:,} × {width:,} pixels of {pixel_m:.3g} m",
        height=height,
        width=width,
        pixel_m=pixel_edge_m(measured[0].ground.grid, unit_m=measured[0].ground.unit_m),
    )
    about = {
        "kind": "map",
        "part": "block",
        "title": Message("{mask} against {labels}", mask=paths[0].name, labels=used.get("labels", labels.whole)),
        "subtitle": one if count == 1 else Message("{count} maps", count=count),
        "subject": {"file": paths[0].name, "model": measured[0].model},
        "reference": used | {"by": by},
        "computed_on": {
            "files": [
                hashed(file, folders=[*paths, *([labels.labels] if labels.labels else [])])
                for file in dict.fromkeys([*read, *_label_files(labels, [each.ground.name for each in measured])])
            ]
        },
        "threshold": measured[0].threshold,
        "temperature": None,
        "second": paths[-1].name,
        "notes": list(dict.fromkeys([*notes, *_on_trained_ground(measured)])),
    }
    complete, pixels = labels.background != "unknown", sum(rows * columns for rows, columns in shapes)
    whole_groups = complete and column is None  # a mapped field has no value of a column of the labels
    order = worst_first(sides[0])
    shown = sorted((sheet for sheet in sheets if sheet.name in order), key=lambda sheet: order.index(sheet.name))
    return Findings(about, sides, complete, whole_groups, pixels, tuple(shown))


def _label_files(labels: LabelOptions, scenes: Sequence[str]) -> list[Path]:
    """The files of labels and of the area that was looked at: of a folder of rasters, those of the scenes."""
    found: list[Path] = []
    for path in filter(None, (labels.labels, labels.inside)):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [each for each in inside if not path.is_dir() or path.suffix.lower() == ".gdb" or each.stem in scenes]
    return [path for path in found if path.is_file()]


def _on_trained_ground(subjects: Sequence[Subject]) -> list[Message]:
    """A note if maps of the model that ships lie on ground that it was trained on."""
    from cropland.model import ModelFile, default_model

    model = ModelFile.read(default_model())
    known = [each for each in subjects if each.model == model.digest and each.ground.grid.crs]
    if model.trained_on is None or not known:
        return []
    shares = [model.trained_on.share_of(each.ground.grid.extent.to_crs(4326).geom) for each in known]
    share = sum(shares) / len(subjects)
    return (
        [Message("the model was trained on {share:.0%} of the mapped ground", share=share)] if share >= TRAINED else []
    )


def _pairs(subjects: Sequence[Subject], others: Sequence[Subject] | None = None) -> list[list[Subject]]:
    """Each map alone, or with the one that it is compared with, laid on its grid: by name, where there are several."""
    if others is None:
        return [[subject] for subject in subjects]
    by_name = {other.ground.name: other for other in others}
    if len(subjects) == len(others) == 1:
        by_name[subjects[0].ground.name] = others[0]
    missing = [subject.ground.name for subject in subjects if subject.ground.name not in by_name]
    if missing:
        raise InputError("--against has no map of {names}; give maps of the same scenes", names=", ".join(missing))
    return [[subject, laid_on(subject.ground, by_name[subject.ground.name])] for subject in subjects]


class MapParts(NamedTuple):
    """The blocks of a map, notes, and the predicted and the reference fields in pixels."""

    parts: list[Part]
    notes: tuple[str, ...]
    outlines: tuple[np.ndarray, np.ndarray]


def _map_parts(
    subject: Subject,
    draw: Draw,
    labels: LabelOptions,
    *,
    regions: Regions | None,
    column: str | None,
    by: str | None,
    tolerances_m: Sequence[float],
    allow_datum_shift: bool,
    is_one: bool,
) -> MapParts:
    """The blocks of a map with their fields; grouped by map if it is one of several and nothing else groups them."""
    parts = watched(on_subject(subject, draw, tolerances_m=tolerances_m, regions=regions), total=blocks(subject.ground))
    notes, outlines = tuple[str, ...](), (np.empty(0, object), np.empty(0, object))
    if parts and not labels.whole:
        with TemporaryDirectory(prefix="cropland-") as folder:
            ours = subject.fields or connected_regions(subject.mask, subject.ground, Path(folder))
            drawn = cropland_polygons(labels, columns=[column] if column else [])
            theirs = drawn or connected_regions(draw, subject.ground, Path(folder))
            how: dict[str, Any] = {"column": column, "regions": None if column else regions}
            sums = fields_on(subject, draw, (ours, theirs), **how, allow_datum_shift=allow_datum_shift)
            if max(sums.fields) <= OUTLINES:
                outlines = _outlines(ours, subject.ground), _outlines(theirs, subject.ground)
        parts, notes = with_fields(parts, sums), sums.notes
    if by is None and not is_one:
        parts = [replace(part, groups={part.source: part.total}) for part in parts]
    return MapParts(parts, notes, outlines)


def _outlines(polygons: Polygons, ground: NamedGrid) -> np.ndarray:
    """The polygons in columns and rows of the grid."""
    found = polygons.meeting(ground.grid.extent, allow_datum_shift=True)[0].geometry.to_numpy()
    inverse = ~ground.grid.affine
    moved: np.ndarray = shapely.transform(found, lambda points: np.column_stack(inverse @ tuple(points.T)))
    return moved


def _map_sheet(subject: Subject, draw: Draw, outlines: tuple[np.ndarray, np.ndarray]) -> Sheet:
    """The picture of a map on its imagery."""
    ours, theirs = outlines
    shown = None if subject.imagery is None else imagery_on(subject.imagery, subject.ground)

    def read(window: Window, step: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        rgb = None if shown is None else shown(window, step)
        return rgb, decimated(subject.mask, window, step), decimated(draw, window, step)

    return Sheet(
        subject.ground.name, subject.ground.shape, subject.ground.pixel_sides_m, read, list(ours), list(theirs)
    )


def blocks(ground: NamedGrid) -> int:
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
        prediction, known = subject.mask(tile.padded), reference(tile.padded)
        number = numbers(tile.padded) if numbers else np.full(known.shape, UNKNOWN, np.uint8)
        its = _scores(subject, prediction, known, number, tile, tolerances_m=tolerances_m)
        total = its.pop(UNKNOWN)
        if total.counts.total:
            yield Part(
                Message("row {row}, column {col}", row=tile.core.row, col=tile.core.col),
                total,
                {values[each]: score for each, score in its.items()},
                f"{ground.name} {tile.core.row} {tile.core.col}",
                partial(picture, tile.core),
                source=ground.name,
                window=tile.core,
                worst=_worst(prediction, known, tile),
            )


def _worst(
    prediction: UInt8[np.ndarray, "height width"], reference: UInt8[np.ndarray, "height width"], tile: Tile
) -> tuple[tuple[Window, int], ...]:
    """The places of a block, as many as `WORST`, where most pixels are wrong."""
    said, known = (each[tile.inner.slices] for each in (prediction, reference))
    wrong = (said != known) & (said != UNKNOWN) & (known != UNKNOWN)
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
    prediction: UInt8[np.ndarray, "height width"],
    reference: UInt8[np.ndarray, "height width"],
    number: UInt8[np.ndarray, "height width"],
    tile: Tile,
    *,
    tolerances_m: Sequence[float],
) -> dict[int, Score]:
    """The score of a tile within each region by its number, and of the whole tile under the number of no region."""
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
    """Sums over the fields of a map: by block and group ("" for all), and by block and size class.

    fields: how many of either side have an area on the grid.
    """

    groups: Mapping[tuple[str, str], FieldCounts]
    sizes: Mapping[tuple[str, int], FieldCounts]
    notes: tuple[str, ...]
    fields: tuple[int, int]


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
    by_size = [list(zip(block, sizes, strict=True)) for block, sizes in zip(blocks, size_keys(matches), strict=True)]
    ambiguous = Message(
        "fields of one side overlap each other: {count} more would be matched if the best pairs did not come first",
        count=matches.optimal - matches.matched,
    )
    notes = (*found.notes, *([ambiguous] if matches.optimal > matches.matched else []))
    return FieldSums(groups, count_fields(matches, *by_size), notes, (len(found.predicted), len(found.reference)))


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


def _block_names(ground: NamedGrid, table: FieldTable) -> list[str]:
    """The block of each field by its centroid, as `on_subject` names blocks."""
    col, row = ~ground.grid.affine @ tuple(table.centroid.T)
    at = [
        np.clip(np.nan_to_num(each), 0, n - 1) // BLOCK * BLOCK
        for each, n in zip((row, col), ground.shape, strict=True)
    ]
    return [f"{ground.name} {row:.0f} {col:.0f}" for row, col in zip(*at, strict=True)]


def _region_names(ground: NamedGrid, regions: Regions, table: FieldTable) -> np.ndarray:
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

    The polygons are those of the --inside area, else those of the labels; those without a value are left out.

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
    names = value_names(frame[column])
    values = tuple(sorted(set(names) - {""}))
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
