"""Look at data before training on it: scenes with their labels, or a chip folder.

`train` runs `quick_findings` itself. Nothing here needs a network; a map that was made before is a second opinion.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from cyclopts import Parameter
from jaxtyping import UInt8
from pyproj import CRS, Transformer

from cropland.data.boundary import boundary_distance
from cropland.data.chips import INDEX, Chip, ChipFolder, open_chips
from cropland.data.cut import windows
from cropland.data.finding import DataFinding, Diagnosis, Severity
from cropland.data.ground import TrainingGround
from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Draw, LabelOptions, Labels, is_raster, read_labels
from cropland.data.polygons import apart, polygon_findings
from cropland.data.radiometry import Numbers, radiometry_findings
from cropland.data.shift import Patch, Shift, has_edges, label_edges, measured_shift
from cropland.data.suspects import suspects
from cropland.errors import ChipError, CroplandError, GridError, InputError, LabelError, OutputError
from cropland.files import replacing
from cropland.geo.area import pixel_edges_m
from cropland.geo.imagery import Given
from cropland.geo.reading import Remote
from cropland.geo.scene import Image, Scene, SceneOptions
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.language import Message, _
from cropland.progress import progress_bar

__all__ = ["command", "doctor", "quick_findings"]

SIZE = 256  # pixels of a window that is looked at
LOOKS = 256  # windows whose labels are drawn
READ = 1 << 22  # pixels of images that are read
LEAST_SHIFT, LARGE_SHIFT = 1.0, 2.0  # pixels that a shift has at least to be a fault, and a serious one
RARE = 0.01  # share of a class
VOID, MOST_UNKNOWN = 0.5, 0.9  # share of pixels without data; of chips without a label
SIZES_APART = 8.0  # largest over smallest pixel: the default `scale` of a recipe reaches from 0.5 to 4
OPENED = 8  # chips that the quick part reads
ZOOM = 2
MOVED, WHERE = (0, 220, 120), (255, 120, 0)  # colours of the picture of a shift


def command(
    *given: Annotated[Path, Parameter(required=True)],
    labels: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    map: Path | None = None,
    out: Path | None = None,
    fix_shift: Path | None = None,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
) -> None:
    """Look for faults in scenes and labels, or in a chip folder, before training.

    Each finding has its evidence and its remedy: labels in another place or shifted against the image, bands in another
    order, numbers that were cut off or kept an offset, rare classes, no data, duplicates across the split, polygons.
    The exit status is 0 whatever is found; an error is a finding on which training would be wrong.

    Example: cropland doctor scene.tif --labels fields.gpkg --background known --out my_check

    Example: cropland doctor my_chips

    Parameters
    ----------
    given
        Scenes, as for `cropland map`; or one chip folder.
    map
        A map of the scene (its folder, or a raster of probabilities): also look where it is sure and the labels differ.
    out
        A folder for report.html, which has the pictures.
    fix_shift
        Write the labels, moved by the shift that was measured: a .gpkg of polygons, or a .tif of a raster.
    """
    print(doctor(given, labels, map=map, out=out, fix_shift=fix_shift, opening=opening))
    if fix_shift is not None:
        print(_("{out} holds the labels, moved by the shift.", out=fix_shift))


def doctor(
    given: Given | Scene | Sequence[Given | Scene],
    labels: str | Path | LabelOptions | None = None,
    *,
    background: Literal["known", "unknown"] | None = None,
    map: str | Path | None = None,
    out: str | Path | None = None,
    fix_shift: str | Path | None = None,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
) -> Diagnosis:
    """Look for faults in scenes and their labels, or in a chip folder.

    given: scenes, by path or open, or the path of a chip folder. labels: polygons or rasters by their path, or
    `LabelOptions`; without them only the images are looked at. background: what lies outside polygons; if not given,
    the shares of the classes are not judged. map: the folder of a map of the scene, or a raster of probabilities. out:
    a folder for report.html. fix_shift: a file for the labels, moved by the shift of one scene. opening: how paths of
    scenes are opened.
    Raises `InputError` or one of its kinds for what cannot be read, `LabelError` if `fix_shift` is asked for and no
    shift can be measured, `OutputError` where a file cannot be written.
    """
    many = [given] if isinstance(given, str | os.PathLike | Remote | Scene) else list(given)
    options = LabelOptions.of(labels, background=background)
    asked = {"--labels": options.labels, "--whole": options.whole, "--map": map, "--fix-shift": fix_shift}
    folder = _chip_folder(many)
    if folder is not None:
        if useless := [name for name, value in asked.items() if value is not None]:
            raise InputError("{option} is for scenes; {path} is a chip folder", option=useless[0], path=folder)
        found = _of_chips(open_chips(folder))
    else:
        if options.labels is None and (useless := [name for name, value in asked.items() if value is not None]):
            raise InputError("{option} compares labels; give them with --labels FILE", option=useless[0])
        found = _of_scenes(many, options, opening, mapped=None if map is None else Path(map), fixed=fix_shift)
    if out is not None:
        found.save(out)
    return found


def _chip_folder(given: Sequence[Given | Scene]) -> Path | None:
    """The folder, if one is given that holds an index of chips."""
    for each in given:
        if isinstance(each, str | os.PathLike) and (Path(each) / INDEX).exists():
            if len(given) > 1:
                raise InputError("{path} is a chip folder; give it alone", path=each)
            return Path(each)
    return None


def _of_scenes(
    given: Sequence[Given | Scene],
    options: LabelOptions,
    opening: SceneOptions,
    *,
    mapped: Path | None,
    fixed: str | Path | None,
) -> Diagnosis:
    truth = None if options.labels is None else _drawable(options, allow_datum_shift=opening.allow_datum_shift)
    scenes: list[Scene] = []
    for each in given:
        scenes += [each] if isinstance(each, Scene) else opening.open([each])
    if not scenes:
        raise InputError("there is no scene to look at; give at least one")
    if len(scenes) > 1 and (mapped is not None or fixed is not None):
        raise InputError("--map and --fix-shift are for one scene; {count} are given", count=len(scenes))
    looks = []
    with progress_bar(total=len(scenes), rate=_rate, counted=True) as advance:
        for scene in scenes:
            looks.append(_look(scene, options, truth, mapped))
            advance()
    findings = [finding for look in looks for finding in look.findings]
    if options.labels is not None and not is_raster(options.labels) and any(look.draws for look in looks):
        findings += polygon_findings(options, pixel_m=min(scene.pixel_m for scene in scenes))
    if options.labels is not None and (options.background is not None or is_raster(options.labels)):
        counts: Counter[int] = sum((look.counts for look in looks), Counter())
        # A scene without fields has its place among others, so that it alone is no fault.
        findings += [each for look in looks for each in _rare(look.scene.name, look.counts, severity="note")]
        if len(scenes) > 1:
            findings += _rare(options.labels.name, counts, severity="warning")
    shifts = {look.scene.name: look.shift for look in looks if look.shift is not None}
    if fixed is not None:
        assert options.labels is not None, "checked by the caller"
        _move_labels(options, scenes[0], shifts.get(scenes[0].name), Path(fixed))
    notes = tuple(note for look in looks for note in (*look.scene.notes, *look.notes))
    title = scenes[0].name if len(scenes) == 1 else _("{count} scenes", count=len(scenes))
    return Diagnosis.of(title, findings, shifts=shifts, notes=notes)


def _rate(scenes: float) -> str:
    return _("{rate:.3g} scenes/s", rate=scenes)


def _drawable(options: LabelOptions, *, allow_datum_shift: bool) -> Labels:
    """The labels; what lies outside polygons counts as known here, so that their outlines are edges."""
    assert options.labels is not None, "checked by the caller"
    drawn = options if is_raster(options.labels) else replace(options, background="known")
    return read_labels(drawn, allow_datum_shift=allow_datum_shift)


@dataclass(frozen=True, eq=False)
class _Look:
    """What was seen of one scene. counts: pixels of each class. draws: whether the labels meet it."""

    scene: Scene
    findings: tuple[DataFinding, ...]
    shift: Shift | None
    counts: Counter[int]
    notes: tuple[str, ...]
    draws: bool


def _look(scene: Scene, options: LabelOptions, truth: Labels | None, mapped: Path | None) -> _Look:
    findings = [*_void(scene)]
    draw = None
    if truth is not None:
        try:
            draw = truth.on(scene)
        except (LabelError, GridError) as error:
            findings.append(_elsewhere(scene, options, error))
    labels = _drawn(scene, draw)
    counts = Counter[int]()
    for _window, patch_label, _distance in labels:
        values, times = np.unique(patch_label, return_counts=True)
        counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    # Windows with edges first: there the labels can be compared, and there is land.
    labels.sort(key=lambda each: not has_edges(each[1], each[2]))
    patches, numbers = _read(scene, labels)
    findings += radiometry_findings(numbers)
    shift = measured_shift(patches) if draw is not None else None
    if shift is not None:
        findings += _shifted(scene.name, shift, patches, scene.bands, pixel_m=_edges_m(scene))
    if draw is not None and mapped is not None:
        findings += suspects(scene, draw, mapped)
    return _Look(scene, tuple(findings), shift, counts, () if draw is None else draw.notes, draw is not None)


def _void(scene: Scene) -> Iterator[DataFinding]:
    share = float(1 - scene.read_decimated(bands=scene.bands).valid.mean())
    if share >= VOID:
        yield DataFinding(
            "warning",
            "no_data",
            scene.name,
            Message("{share:.0%} of the scene has no data", share=share),
            Message("If that is right, cut it to what has data (gdalwarp -te); else say what is no data with --nodata"),
        )


def _elsewhere(scene: Scene, options: LabelOptions, error: CroplandError) -> DataFinding:
    assert options.labels is not None, "labels were read"
    if scene.grid.crs is not None and not is_raster(options.labels) and isinstance(error, LabelError):
        return apart(scene, options, error)
    remedy = Message(
        "Labels and scene must be placed on the Earth, or be of the same size: write the CRS that is missing"
    )
    if isinstance(error, GridError):
        remedy = Message("Transform the labels with your survey office's parameters, or accept --allow-datum-shift")
    return DataFinding("error", "crs", f"{scene.name}, {options.labels.name}", Message("{why}", why=error), remedy)


Drawn = list[tuple[Window, UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]]


def _drawn(scene: Scene, draw: Draw | None) -> Drawn:
    """The labels of windows all over a scene, and their distances to boundaries; unknown where there are none."""
    parts = windows(scene.shape, size=SIZE)
    order = np.random.default_rng(0).permutation(len(parts))[:LOOKS]
    found = []
    for window in (parts[place] for place in sorted(order.tolist())):
        label = np.full(window.shape, UNKNOWN, np.uint8) if draw is None else draw(window)
        fields = None if draw is None or draw.fields is None else draw.fields(window)
        found.append((window, label, boundary_distance(label, fields)))
    return found


def _read(scene: Scene, labels: Drawn) -> tuple[list[Patch], Numbers]:
    """The images of the first of these windows: stretched, with their labels, and as they are."""
    statistics = scene.statistics()
    patches, seen, pixels = [], [], 0
    for window, label, distance in labels:
        image = scene.read(window)
        patches.append(Patch(statistics.normalise(image.values, image.valid), image.valid, label, distance))
        seen.append((image.values, image.valid))
        pixels += label.size
        if pixels >= READ:
            break
    added = {layer.added for layer in scene.layers}
    says_so = any("Sentinel-2" in note for note in scene.notes)
    dtype = np.result_type(*(layer.dtype for layer in scene.layers))
    return patches, Numbers(scene.name, scene.bands, seen, dtype, scene.pixel_m, min(added), says_so)


def _edges_m(scene: Scene) -> tuple[float, float]:
    return pixel_edges_m(scene.grid, unit_m=scene.unit_m)


def _shifted(
    name: str, shift: Shift, patches: Sequence[Patch], bands: Sequence[str], *, pixel_m: tuple[float, float]
) -> Iterator[DataFinding]:
    """A fault, if the labels certainly lie a pixel or more away. pixel_m: width and height of a pixel."""
    if not shift.is_measured or shift.low < LEAST_SHIFT:
        return
    right, down = shift.right, shift.down
    shown = max(patches, key=lambda patch: int(label_edges(patch.label, patch.boundary).sum()))
    yield DataFinding(
        "error" if shift.length >= LARGE_SHIFT else "warning",
        "shift",
        name,
        Message(
            "the labels lie {right:.1f} pixels ({right_m:.1f} m) {across} and {down:.1f} pixels ({down_m:.1f} m) "
            "{along} the edges in the image (from {blocks} blocks; drawn again, {agreement:.0%} agree)",
            right=abs(right),
            right_m=abs(right) * pixel_m[0],
            across=Message("right of") if right > 0 else Message("left of"),
            down=abs(down),
            down_m=abs(down) * pixel_m[1],
            along=Message("below") if down > 0 else Message("above"),
            agreement=shift.agreement,
            blocks=shift.blocks,
        ),
        Message("Move them: --fix-shift moved.gpkg (moved.tif for a raster), and look at the result"),
        _before_and_after(shown, shift, bands),
    )


def _before_and_after(patch: Patch, shift: Shift, bands: Sequence[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Edges of the labels on the image: where they are (orange), and moved by the shift (green)."""
    ready = (0.0,) * len(bands), (1.0,) * len(bands)  # the values are stretched already
    picture = Image(patch.values, patch.valid, bands=tuple(bands)).rgb(*ready)
    edges = label_edges(patch.label, patch.boundary)
    moved = np.zeros_like(edges)
    rows, cols = np.nonzero(edges)
    rows, cols = rows - round(shift.down), cols - round(shift.right)
    inside = (rows >= 0) & (rows < edges.shape[0]) & (cols >= 0) & (cols < edges.shape[1])
    moved[rows[inside], cols[inside]] = True
    sides = []
    for where, colour in ((edges, WHERE), (moved, MOVED)):
        side = picture.copy()
        side[where] = colour
        sides.append(side.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))
    gap = np.full((sides[0].shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def _rare(name: str, counts: Counter[int], *, severity: Severity) -> Iterator[DataFinding]:
    """A class of which there is nearly nothing."""
    known = counts[CROPLAND] + counts[OTHER]
    if not known:
        return
    share = counts[CROPLAND] / known
    if min(share, 1 - share) >= RARE:
        return
    what = Message("cropland") if share < RARE else Message("other ground")
    yield DataFinding(
        severity,
        "classes",
        name,
        Message("only {share:.2%} of the known pixels are {what}", share=min(share, 1 - share), what=what),
        Message("Add scenes or labels that have it; check --where, --classes and --background if there should be more"),
    )


def _move_labels(options: LabelOptions, scene: Scene, shift: Shift | None, out: Path) -> None:
    """Write the labels, moved onto the edges of the image. Raises `LabelError` if no shift was measured."""
    path = options.labels
    assert path is not None, "checked by the caller"
    if shift is None or not shift.is_measured:
        raise LabelError(
            "the shift of {labels} cannot be measured on {scene}: too few of their edges are edges of the image; "
            "leave --fix-shift out",
            labels=path.name,
            scene=scene.name,
        )
    suffix = ".tif" if is_raster(path) else ".gpkg"
    if out.suffix.lower() != suffix:
        raise OutputError(
            "--fix-shift {out}: moved labels of this kind are written as {suffix}", out=out, suffix=suffix
        )
    if out.exists():
        raise OutputError("{out} exists; give another --fix-shift", out=out)
    affine = scene.grid.affine
    x, y = (-(affine.a * shift.right + affine.b * shift.down), -(affine.d * shift.right + affine.e * shift.down))
    try:
        with replacing(out) as hidden:
            if is_raster(path):
                _move_raster(path, scene, (x, y), hidden)
            else:
                _moved_polygons(options, scene, (x, y)).to_file(hidden, layer=out.stem, driver="GPKG")
    except OSError as error:
        raise OutputError(
            "{out} cannot be written ({strerror}); give another --fix-shift", out=out, strerror=error.strerror or error
        ) from error


def _moved_polygons(options: LabelOptions, scene: Scene, by: tuple[float, float]) -> gpd.GeoDataFrame:
    """All features with all attributes, moved in the CRS of the scene and given back in their own."""
    assert options.labels is not None, "checked by the caller"
    if options.labels.suffix.lower() in (".parquet", ".geoparquet"):
        frame = gpd.read_parquet(options.labels)
    else:
        frame = gpd.read_file(options.labels, layer=options.layer, encoding=options.encoding)
    placed = frame.geometry.to_crs(str(scene.grid.crs))
    moved = gpd.GeoSeries(shapely.transform(placed.to_numpy(), lambda points: points + by), frame.index, placed.crs)
    return frame.set_geometry(moved.to_crs(frame.crs))


def _move_raster(path: Path, scene: Scene, by: tuple[float, float], out: Path) -> None:
    """A raster with the same pixels and a moved transform."""
    from rasterio import shutil

    if path.is_dir():
        path = next(each for each in sorted(path.iterdir()) if each.stem == scene.name)
    with rasterio.open(path) as file:
        if file.crs is None or scene.grid.crs is None:
            raise LabelError(
                "{name} has no coordinate reference system, so it cannot be moved; write one with gdal_edit.py -a_srs",
                name=path.name,
            )
        middle = scene.grid.affine @ (scene.shape[1] / 2, scene.shape[0] / 2)
        there = Transformer.from_crs(
            CRS.from_user_input(str(scene.grid.crs)), CRS.from_wkt(file.crs.to_wkt()), always_xy=True
        )
        before = there.transform(*middle)
        after = there.transform(middle[0] + by[0], middle[1] + by[1])
        affine = Affine.translation(after[0] - before[0], after[1] - before[1]) @ file.transform
    shutil.copy(path, out, driver="GTiff")
    with rasterio.open(out, "r+") as file:
        file.transform = affine


def quick_findings(folder: ChipFolder) -> tuple[DataFinding, ...]:
    """What the index of a chip folder shows at once, with a look at a few chips: fast enough to run before training.

    Missing and damaged files, ground on both sides of the split, rare classes, a lack of labels, and pixels of sizes
    that no recipe's scale bridges.
    """
    return tuple(_quick(folder))


def _quick(folder: ChipFolder) -> Iterator[DataFinding]:
    index, name = folder.index, folder.path.name
    yield from _unreadable(folder)
    train, validation = (index[index["split"] == side] for side in ("train", "validation"))
    if len(train) and len(validation):
        shared = validation[TrainingGround.of(train).overlaps(validation)]
        if len(shared):
            yield DataFinding(
                "error",
                "duplicates",
                name,
                Message(
                    "{count} of {total} validation chips lie on ground of training chips, such as {id}: what is "
                    "measured on them is too good",
                    count=len(shared),
                    total=len(validation),
                    id=shared["id"].iloc[0],
                ),
                Message("Cut the scenes in one call of `cropland chips`, which keeps the two sides apart"),
            )
    area = (index["height"] * index["width"]).to_numpy(float)
    counts = Counter[int]()
    for value, column in ((CROPLAND, "share_cropland"), (OTHER, "share_other"), (UNKNOWN, "share_unknown")):
        counts[value] = round(float((area * index[column]).sum()))
    yield from _rare(name, counts, severity="warning")
    unknown = counts[UNKNOWN] / max(1, sum(counts.values()))
    if unknown > MOST_UNKNOWN:
        yield DataFinding(
            "note",
            "no_data",
            name,
            Message("{share:.0%} of the pixels have no label or no data", share=unknown),
            Message("Training reads them for nothing: limit scenes and labels to the area that was looked at"),
        )
    sizes = index["pixel_m"]
    if len(index) and sizes.max() > SIZES_APART * sizes.min():
        yield DataFinding(
            "note",
            "pixel_size",
            name,
            Message("chips have pixels of {least:.3g} to {most:.3g} m", least=sizes.min(), most=sizes.max()),
            Message("Give each group its range of pixels: `scales` under [sampling] in the recipe"),
        )


def _unreadable(folder: ChipFolder) -> Iterator[DataFinding]:
    """Files that are not there, and of a few chips those that are damaged."""
    index = folder.index
    missing = [path for path in (*index["image"], *index["label"]) if not (folder.path / path).exists()]
    remedy = Message("Copy the folder again, or cut it again")
    if missing:
        evidence = Message("{count} files are missing, such as {path}", count=len(missing), path=missing[0])
        yield DataFinding("error", "files", folder.path.name, evidence, remedy)
        return
    for number in np.unique(np.linspace(0, len(index) - 1, OPENED).astype(int)) if len(index) else ():
        try:
            folder.read(int(number))
        except ChipError as error:
            yield DataFinding("error", "files", folder.path.name, Message("{why}", why=error), remedy)
            return


def _of_chips(folder: ChipFolder) -> Diagnosis:
    """The quick part, and every chip: the same image twice, and by group the numbers and the shift."""
    findings, shifts, every = list(quick_findings(folder)), {}, list[_Seen]()
    if any(finding.kind == "files" for finding in findings):
        return Diagnosis.of(folder.path.name, findings, shifts={})
    with progress_bar(total=len(folder), rate=_chips_rate, counted=True) as advance:
        for group, rows in folder.index.groupby("group", sort=True):
            patches, seen, pixels = [], [], 0
            for number in rows.index:
                chip = folder.read(int(number))
                every.append(_Seen.of(chip, side=rows["split"][number]))
                if pixels < READ:
                    patches.append(_patch(chip, folder.bands))
                    seen.append((chip.image.values, chip.image.valid))
                    pixels += chip.target.size
                advance()
            sizes = rows["pixel_m"]
            with rasterio.open(folder.path / rows["image"].iloc[0]) as file:
                dtype = np.dtype(file.dtypes[0])
            findings += radiometry_findings(Numbers(str(group), folder.bands, seen, dtype, float(sizes.median())))
            if (shift := measured_shift(patches)) is not None:
                shifts[str(group)] = shift
                edge = float(sizes.median())
                findings += _shifted(str(group), shift, patches, folder.bands, pixel_m=(edge, edge))
    findings += _twins(folder.path.name, every)
    return Diagnosis.of(folder.path.name, findings, shifts=shifts)


def _chips_rate(chips: float) -> str:
    return _("{rate:.3g} chips/s", rate=chips)


def _patch(chip: Chip, bands: Sequence[str]) -> Patch:
    statistics = Statistics(tuple(bands), chip.low, chip.high)
    distance = boundary_distance(chip.target, None) if chip.boundary is None else chip.boundary
    return Patch(statistics.normalise(chip.image.values, chip.image.valid), chip.image.valid, chip.target, distance)


class _Seen(NamedTuple):
    """What is kept of a chip: digests of its pixels and its label; whether it has one value, or no known label."""

    id: str
    side: str
    pixels: bytes
    label: bytes
    is_flat: bool
    is_blank: bool

    @staticmethod
    def of(chip: Chip, *, side: str) -> _Seen:
        values = chip.image.values[:, chip.image.valid]
        pixels, label = (hashlib.sha256(each.tobytes()).digest() for each in (chip.image.values, chip.target))
        is_flat = values.shape[1] == 0 or bool((np.ptp(values, axis=1) == 0).all())
        return _Seen(chip.id, side, pixels, label, is_flat, bool((chip.target == UNKNOWN).all()))


def _twins(name: str, seen: Sequence[_Seen]) -> Iterator[DataFinding]:
    """The same image twice, on both sides of the split or on one, labels that contradict, chips that teach nothing."""
    alike: defaultdict[bytes, list[_Seen]] = defaultdict(list)
    for each in sorted(seen):
        if not each.is_flat:
            alike[each.pixels].append(each)
    twins = [each for each in alike.values() if len(each) > 1]
    across = [each for each in twins if len({one.side for one in each}) > 1]
    contradict = [each for each in twins if len({one.label for one in each}) > 1]
    within = [each for each in twins if each not in across]
    out = Message("Take one of the two out, and cut the folder again")
    cases: tuple[tuple[Severity, list[list[_Seen]], Message, Message], ...] = (
        ("error", across, Message("{count} images are in training and in validation, such as {one} and {other}"), out),
        (
            "error",
            contradict,
            Message("{count} images are there twice with different labels, such as {one} and {other}"),
            Message("Keep the label that is right"),
        ),
        (
            "warning",
            within,
            Message("{count} images are there twice, such as {one} and {other}: they count double"),
            out,
        ),
    )
    for severity, found, evidence, remedy in cases:
        if found:
            one, other = found[0][:2]
            said = evidence.filled(count=len(found), one=one.id, other=other.id)
            yield DataFinding(severity, "duplicates", name, said, remedy)
    for ids, evidence in (
        ([each.id for each in seen if each.is_flat], Message("{count} chips are of one value, such as {id}")),
        ([each.id for each in seen if each.is_blank], Message("{count} chips have no known label, such as {id}")),
    ):
        if ids:
            remedy = Message("They teach nothing: cut the folder without them")
            yield DataFinding("warning", "chips", name, evidence.filled(count=len(ids), id=ids[0]), remedy)
