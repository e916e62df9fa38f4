"""Cut chips from scenes and labels into a chip folder, which is written completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from cyclopts import Parameter
from odc.geo.geobox import GeoBox
from shapely.affinity import translate

from cropland.data.boundary import MARGIN, boundary_distance
from cropland.data.chips import ChipFolder, crs_text, open_chips, write_chip, write_index
from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Draw, LabelOptions, Labels, read_labels
from cropland.data.split import parse_split, split
from cropland.errors import BandError, ChipError, LabelError, OutputError
from cropland.geo.imagery import Given
from cropland.geo.reading import ImageFile, Remote, folder_name, image_file
from cropland.geo.scene import Scene, SceneOptions
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.language import _, shown
from cropland.options import COUNT
from cropland.progress import Bar, prefetch, progress_bar

__all__ = ["CutReport", "command", "cut_chips", "windows"]

THREADS = 4  # scenes that are cut at a time
SHARES = {"cropland": CROPLAND, "other": OTHER, "unknown": UNKNOWN}
Row = dict[str, Any]


def command(
    *scenes: Annotated[Path, Parameter(required=True)],
    out: Path,
    labels: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    group: str | None = None,
    split: str = "validation=0.2",
    size: Annotated[int, COUNT] = 256,
    append: Annotated[bool, Parameter(negative="")] = False,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
) -> None:
    """Cut chips for training from scenes and labels.

    The folder is complete in itself: copied alone to another machine, it trains there.
    Labels also keep how far each pixel lies from a boundary of a field, for recipes with the output boundary.
    Polygons, one for each field, know all boundaries; a mask knows its edges only.

    Example: cropland chips scene.tif --labels fields.gpkg --background known --out my_chips

    Example: cropland chips scene.tif --corrections my_map/parcels.gpkg --out my_chips

    Parameters
    ----------
    scenes
        Images, one path for each scene.
    out
        The chip folder to write.
    group
        The group under which figures are reported. Default: the scene's name; with --whole the name of its folder.
    split
        validation=SHARE chooses blocks of ground with a gap around them; train or validation puts all on one side.
    size
        Edge of a chip in pixels: chips are at least this large, or as large as the scene.
    append
        Add to an existing chip folder.
    """
    share = parse_split(split)
    report = cut_chips(scenes, labels, out, group=group, size=size, validation=share, append=append, opening=opening)
    print(*map(shown, report.notes), f"{out}: {report}", sep="\n")


def cut_chips(
    scenes: Given | Scene | Sequence[Given | Scene],
    labels: str | Path | LabelOptions | None,
    out: str | Path,
    *,
    background: Literal["known", "unknown"] | None = None,
    group: str | None = None,
    size: int = 256,
    validation: float = 0.2,
    append: bool = False,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
) -> CutReport:
    """Cut scenes, one path each or already open, into a new chip folder or, with `append`, into one of the same bands.

    Chips also keep the distance to the nearest boundary of a field, for a recipe with the output boundary.

    labels: polygons or rasters by their path, or `LabelOptions`. background: what lies outside the polygons, known (not
    cropland) or unknown. group: a name to report figures by; if not given, the scene's name, for labels of whole scenes
    that of its folder. size: least edge of a chip in pixels. validation: the share of the new chips that validate,
    0..1. opening: how paths of scenes are opened.

    If anything fails, the folder stays as it was. Raises `OutputError` if it exists and `append` is not set,
    `ChipError` if a scene is in it already or the chips cannot be split, `LabelError` if the labels cannot be used or
    label no pixel of any chip.
    """
    if size < 1:
        raise ChipError("--size {size}: expected 1 pixel or more", size=size)
    out, options = Path(out), LabelOptions.of(labels, background=background)
    opener, truth = opening.opener(), read_labels(options, allow_datum_shift=opening.allow_datum_shift)
    if out.exists() and not append:
        raise OutputError("{out} exists: add to it with --append, or choose another --out", out=out)
    earlier = open_chips(out) if out.exists() else None
    if earlier is not None and not earlier.has_boundary:
        raise ChipError("{out} was cut before chips kept the boundaries of fields; cut it again", out=out)
    many = [scenes] if isinstance(scenes, str | os.PathLike | Remote | Scene) else scenes
    given = _named(many, group, whole=options.whole is not None)
    _check_distinct([each.name for each in given], taken=[] if earlier is None else [*earlier.index["source"]])
    first = _opened(given[0].scene, opener)
    given[0] = given[0]._replace(scene=first)
    bands = first.bands if earlier is None else earlier.bands
    with _beside(out) as folder, progress_bar(total=len(given), rate=_rate, counted=True) as advance:
        cutter = _Cutter(opener, truth, size, folder, bands, advance)
        headers, rows = zip(*prefetch(cutter, given, threads=THREADS), strict=True)
        known = _table([row for scene in rows for row in scene], scenes=len(given), earlier=earlier)
        chips = split(known, validation=validation, earlier=None if earlier is None else earlier.index)
        in_gap = known[~known["id"].isin(chips["id"])]
        for path in [*in_gap["image"], *in_gap["label"]]:
            (folder / path).unlink()
        cuts = [_recorded(options, opening, group=group, size=size, validation=validation)]
        _publish(folder, out, chips, {"bands": bands, "scenes": headers, "cuts": cuts}, earlier)
    notes = dict.fromkeys(note for header in headers for note in header["notes"])
    return CutReport(chips, len(in_gap), tuple(notes))


@dataclass(frozen=True, eq=False, repr=False)
class CutReport:
    """The chips that were cut: the new rows of the index, how many more fell into the gap, and notes on assumptions."""

    chips: gpd.GeoDataFrame
    in_gap: int
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        train, validation = ((self.chips["split"] == side).sum() for side in ("train", "validation"))
        area = self.chips["height"] * self.chips["width"]
        shares = [f"{name} {np.average(self.chips[f'share_{name}'], weights=area):.1%}" for name in SHARES]
        return _(
            "{train} chips train, {validation} validate, {in_gap} left out between; {shares}",
            train=train,
            validation=validation,
            in_gap=self.in_gap,
            shares=", ".join(shares),
        )


def _rate(scenes: float) -> str:
    return _("{rate:.3g} scenes/s", rate=scenes)


def _recorded(options: LabelOptions, opening: SceneOptions, *, group: str | None, size: int, validation: float) -> Row:
    """The options of this cut for the header: only those that were given, files by their names."""
    side = "train" if validation == 0 else "validation" if validation == 1 else f"validation={validation:g}"
    used = {**asdict(options), "group": group, "split": side, "size": size}
    used |= {"sensor": opening.sensor, "bands": opening.bands, "crs": opening.crs}
    used |= {"mask": opening.mask and image_file(opening.mask)}
    used |= {"mask_values": opening.mask_values, "mask_bits": opening.mask_bits}
    return {name: getattr(value, "name", value) for name, value in used.items() if value is not None}


class _Given(NamedTuple):
    """A scene, by its file or open, with its name and that of its group."""

    scene: ImageFile | Scene
    name: str
    group: str


def _named(scenes: Sequence[Given | Scene], group: str | None, *, whole: bool) -> list[_Given]:
    """Scenes named by their files, and by their folders too where files of several folders have one name."""
    files = [scene if isinstance(scene, Scene) else image_file(scene) for scene in scenes]
    if not files:
        raise ChipError("there is no scene to cut; give at least one")
    stems = [file.name if isinstance(file, Scene) else file.stem for file in files]
    folders = [folder_name(file.files[0] if isinstance(file, Scene) else file) for file in files]
    counts = Counter(stems)
    groups = [group] * len(files) if group is not None else folders if whole else stems
    names = [stem if counts[stem] == 1 else f"{of}_{stem}" for stem, of in zip(stems, folders, strict=True)]
    return [*map(_Given, files, names, groups)]


def _check_distinct(names: Sequence[str], *, taken: Sequence[str] = ()) -> None:
    # Without regard to case, which the file systems of Windows and macOS do not have either.
    folded = Counter(name.casefold() for name in [*names, *taken])
    if alike := [name for name in names if folded[name.casefold()] > 1]:
        raise ChipError(
            "{alike} is given twice: give every scene once, rename it, or cut into another folder", alike=alike[0]
        )


def _opened(scene: ImageFile | Scene, opener: Callable[[Given], Scene]) -> Scene:
    return scene if isinstance(scene, Scene) else opener(scene)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """An empty chip folder in a temporary one beside the target, so that the finished one appears by renaming."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            folder = Path(temporary) / "chips"
            for part in ("images", "labels"):
                (folder / part).mkdir(parents=True)
            yield folder
    except OSError as error:
        raise OutputError(
            "{out} cannot be written ({value}): choose another --out", out=out, value=error.strerror or error
        ) from error


@dataclass(frozen=True)
class _Cutter:
    """Writes the chips of a scene that have a known label; returns the entry of the header and the rows of the index.

    size: least edge of a chip in pixels. Raises `BandError` if a scene lacks one of the bands.
    """

    opener: Callable[[Given], Scene]
    labels: Labels
    size: int
    folder: Path
    bands: Sequence[str]
    advance: Bar

    def __call__(self, given: _Given) -> tuple[Row, list[Row]]:
        scene = _opened(given.scene, self.opener)
        self._check_bands(scene)
        draw = self.labels.on(scene)
        statistics = scene.statistics(self.bands)
        parts = windows(scene.shape, size=self.size)
        common = {"source": given.name, "group": given.group, "pixel_m": scene.pixel_m}
        rows = []
        for window, footprint in zip(parts, _footprints(scene, parts), strict=True):
            chip = given.name if len(parts) == 1 else f"{given.name}_{window.row}_{window.col}"
            if row := self._cut(scene, window, draw, name=chip, statistics=statistics):
                rows.append(row | common | {"geometry": footprint})
            self.advance(1 / len(parts))
        files, crs = [path.name for path in scene.files], crs_text(scene.grid)
        about = {"name": given.name, "files": files, "crs": crs, "pixel_m": scene.pixel_m}
        return about | {"notes": (*scene.notes, *draw.notes)}, rows

    def _check_bands(self, scene: Scene) -> None:
        if not {*self.bands} <= {*scene.bands}:
            raise BandError(
                "{name} has the bands {bands}, the chips of this folder {bands2}: name the scene's "
                "with --bands, or cut into another folder",
                name=scene.name,
                bands=", ".join(scene.bands),
                bands2=", ".join(self.bands),
            )

    def _cut(self, scene: Scene, window: Window, draw: Draw, *, name: str, statistics: Statistics) -> Row | None:
        """Write one chip; None if no label of it is known."""
        image = scene.read(window, bands=self.bands)
        around = window.widened(MARGIN, shape=scene.shape)
        inner = window.within(around).slices
        label = draw(around)
        field = None if draw.fields is None else draw.fields(around)
        distance = boundary_distance(label, field, is_outlined=draw.is_outlined)
        target, boundary = (np.where(image.valid, each[inner], np.uint8(UNKNOWN)) for each in (label, distance))
        if (target == UNKNOWN).all():
            return None
        dtype = np.result_type(*(layer.dtype for layer in scene.layers))
        grid = _chip_grid(scene, window)
        paths = write_chip(
            self.folder, name, image, target, boundary=boundary, grid=grid, bands=self.bands, dtype=dtype
        )
        row = {f"share_{what}": float(np.mean(target == value)) for what, value in SHARES.items()}
        return row | paths | window._asdict() | {"id": name, "low": statistics.low, "high": statistics.high}


def windows(shape: tuple[int, int], *, size: int) -> list[Window]:
    """Divide a grid evenly into chips of at least `size` pixels, or as large as the grid; each pixel is in one."""
    rows, cols = (np.linspace(0, length, max(1, length // size) + 1).astype(int).tolist() for length in shape)
    return [Window(top, left, low - top, right - left) for top, low in pairwise(rows) for left, right in pairwise(cols)]


def _footprints(scene: Scene, parts: Sequence[Window]) -> list[shapely.Geometry | None]:
    """Outlines in longitude and latitude; None for a scene without a CRS."""
    if scene.grid.crs is None:
        return [None] * len(parts)
    row, col, height, width = (each[:, None] for each in np.array(parts).T)
    corners = scene.grid.affine @ (col + width * [0, 1, 1, 0], row + height * [0, 0, 1, 1])
    outlines = shapely.polygons(np.stack(corners, axis=-1))
    on_earth: list[shapely.Polygon] = gpd.GeoSeries(outlines, crs=str(scene.grid.crs)).to_crs(4326).to_list()
    if scene.grid.crs.geographic:
        return [*on_earth]
    return [_cut_at_180(each) if each.bounds[2] - each.bounds[0] > 180 else each for each in on_earth]


def _cut_at_180(outline: shapely.Polygon) -> shapely.MultiPolygon:
    """The two parts of a polygon whose corners lie on both sides of the 180th meridian (RFC 7946, section 3.1.9)."""
    eastward = shapely.transform(outline, lambda points: np.stack([points[:, 0] % 360, points[:, 1]], axis=1))
    east, west = (shapely.intersection(eastward, shapely.box(left, -90, left + 180, 90)) for left in (0, 180))
    return shapely.MultiPolygon([east, translate(west, xoff=-360)])


def _chip_grid(scene: Scene, window: Window) -> GeoBox:
    """The grid of a chip; without a CRS in metres from the scene's lower left corner."""
    if scene.grid.crs is not None:
        return scene.grid[window.slices]
    edge = scene.pixel_m
    affine = Affine(edge, 0, window.col * edge, 0, -edge, (scene.shape[0] - window.row) * edge)
    return GeoBox(window.shape, affine, None)


def _table(rows: Sequence[Mapping[str, Any]], *, scenes: int, earlier: ChipFolder | None) -> gpd.GeoDataFrame:
    if not rows:
        raise LabelError(
            "nothing is known of any pixel of {scenes} scenes: check --background, --inside, --classes", scenes=scenes
        )
    # The only chip of a scene `a_0_64` has the name of a chip of the scene `a`, and would take the place of its files.
    _check_distinct([row["id"] for row in rows], taken=[] if earlier is None else [*earlier.index["id"]])
    return gpd.GeoDataFrame(rows, geometry="geometry", crs=4326)


def _publish(
    folder: Path, out: Path, chips: gpd.GeoDataFrame, header: Mapping[str, Any], earlier: ChipFolder | None
) -> None:
    if earlier is None:
        write_index(folder, chips, header)
        folder.rename(out)
        return
    for path in [*chips["image"], *chips["label"]]:
        shutil.move(folder / path, out / path)
    more = {key: [*earlier.header.get(key, ()), *header[key]] for key in ("scenes", "cuts")}
    write_index(out, pd.concat([earlier.index, chips], ignore_index=True), {"bands": earlier.bands, **more})
