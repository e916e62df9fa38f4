"""Cut chips from scenes and labels into a chip folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from cyclopts import Parameter

from cropland.data.chips import ChipFolder, ChipPlace, open_chips, write_chip, write_index
from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Draw, LabelOptions, Labels, read_labels
from cropland.data.split import parse_split, split
from cropland.errors import BandError, ChipError, LabelError, OutputError
from cropland.geo.scene import Scene, open_scene, parse_bands
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.language import _, shown
from cropland.options import ABOVE_0, COUNT
from cropland.progress import progress_bar

__all__ = ["CutReport", "Cutter", "command", "cut_chips", "windows"]


THREADS = 4
SHARES = ("cropland", "other", "unknown")


def command(
    *scenes: Annotated[Path, Parameter(required=True)],
    out: Path,
    labels: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    group: str | None = None,
    split: str = "validation=0.2",
    size: Annotated[int, COUNT] = 256,
    append: Annotated[bool, Parameter(negative="")] = False,
    sensor: str | None = None,
    bands: str | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Cut chips for training from scenes and labels.

    The folder is complete in itself: copied alone to another machine, it trains there.

    Example: cropland chips scene.tif --labels fields.gpkg --background known --out my_chips

    Parameters
    ----------
    scenes
        Images, one path for each scene.
    out
        The chip folder to write.
    group
        A name to report figures by. Default: the scene's name; with --whole the name of its folder.
    split
        validation=SHARE draws blocks of ground with a gap around them; train or validation puts all on one side.
    size
        Edge of a chip in pixels: chips are at least this large, or as large as the scene.
    append
        Add to a chip folder.
    sensor
        The sensor whose bands these are.
    bands
        Numbers of the bands, as in red=3,green=2,blue=1.
    nodata
        The value that stands for no data.
    crs
        The CRS of scenes that do not say it, as EPSG:32650.
    pixel_m
        Pixel size in metres of scenes without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    report = cut_chips(
        scenes,
        labels,
        out,
        group=group,
        split=split,
        size=size,
        append=append,
        sensor=sensor,
        bands=parse_bands(bands) if bands else None,
        nodata=nodata,
        crs=crs,
        pixel_m=pixel_m,
        allow_datum_shift=allow_datum_shift,
    )
    print(*map(shown, report.notes), f"{out}: {report}", sep="\n")


def cut_chips(
    scenes: Sequence[str | Path],
    labels: LabelOptions,
    out: str | Path,
    *,
    group: str | None = None,
    split: str = "validation=0.2",
    size: int = 256,
    append: bool = False,
    sensor: str | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
) -> CutReport:
    """Cut scenes, one path each, and their labels into a chip folder; the options are those of `command`.

    Raises `LabelError`, `SceneError` and their kin for what cannot be used, `OutputError` for a folder that is there.
    """
    paths, out = [Path(scene) for scene in scenes], Path(out)
    placing: dict[str, Any] = {"nodata": nodata, "crs": crs, "pixel_m": pixel_m, "allow_datum_shift": allow_datum_shift}
    opener = partial(open_scene, sensor=sensor, bands=bands, **placing)
    cutter = Cutter(
        opener,
        read_labels(labels, allow_datum_shift=allow_datum_shift),
        size,
        _grouping(group, whole=labels.whole is not None),
    )
    share, named = parse_split(split), ",".join(f"{name}={number}" for name, number in (bands or {}).items()) or None
    used = {
        **asdict(labels),
        "group": group,
        "split": split,
        "size": size,
        "sensor": sensor,
        "bands": named,
        "crs": crs,
    }
    options = {name: getattr(value, "name", value) for name, value in used.items() if value is not None}
    with progress_bar(total=len(paths), rate=_rate, counted=True) as advance:
        return cut(paths, out, cutter=cutter, validation=share, append=append, options=options, advance=advance)


def _rate(scenes: float) -> str:
    return _("{rate:.3g} scenes/s", rate=scenes)


class CutReport(NamedTuple):
    """What was cut: the new rows of the index, how many more fell into the gap, and what was assumed on the way."""

    chips: gpd.GeoDataFrame
    in_gap: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
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


def cut(
    paths: Sequence[Path],
    out: Path,
    *,
    cutter: Cutter,
    validation: float,
    append: bool = False,
    options: Mapping[str, Any] | None = None,
    advance: Callable[[float], None] = lambda scenes: None,
) -> CutReport:
    """Cut scenes, one path each, into a new chip folder or, with `append`, into one of the same bands.

    `validation` is the share of the new chips that validate, 0..1; `options` are kept in the header; `advance` is
    called from several threads with the part of a scene that is done. If anything fails, the folder stays as it was.
    Raises `OutputError` if the folder exists and `append` is not set, `ChipError` if a scene is in it already or the
    chips cannot be split, `LabelError` if nothing is known of any chip.
    """
    earlier = _earlier(out, append=append)
    names = scene_names(paths)
    _check_distinct(names, taken=[] if earlier is None else [*earlier.index["source"]])
    bands = cutter.open(paths[0]).bands if earlier is None else earlier.bands
    with _beside(out) as folder:
        cut = partial(cutter.cut, folder=folder, bands=bands, advance=advance)
        with ThreadPoolExecutor(THREADS) as pool:
            headers, rows = zip(*pool.map(cut, paths, names), strict=True)
        known = _table([row for scene in rows for row in scene], scenes=len(paths))
        chips = split(known, validation=validation, earlier=None if earlier is None else earlier.index)
        _delete(folder, known[~known["id"].isin(chips["id"])])
        _publish(folder, out, chips, {"bands": bands, "scenes": headers, "cuts": [options or {}]}, earlier)
    notes = dict.fromkeys(note for header in headers for note in header["notes"])
    return CutReport(chips, len(known) - len(chips), tuple(notes))


def scene_names(paths: Sequence[Path]) -> list[str]:
    """Name each scene by its file, and by its folder too where files of several folders have one name."""
    counts = Counter(path.stem for path in paths)
    return [path.stem if counts[path.stem] == 1 else f"{_folder(path)}_{path.stem}" for path in paths]


def _check_distinct(names: Sequence[str], *, taken: Sequence[str] = ()) -> None:
    # Without regard to case, which the file systems of Windows and macOS do not have either.
    folded = Counter(name.casefold() for name in [*names, *taken])
    if alike := [name for name in names if folded[name.casefold()] > 1]:
        raise ChipError(
            "{alike} is there twice: give every scene once, rename it, or cut into another folder", alike=alike[0]
        )


def _folder(path: Path) -> str:
    return path.absolute().parent.name


def _grouping(group: str | None, *, whole: bool) -> Callable[[Path], str]:
    if group is not None:
        return lambda path: group
    return _folder if whole else lambda path: path.stem


def _earlier(out: Path, *, append: bool) -> ChipFolder | None:
    if not out.exists():
        return None
    if not append:
        raise OutputError("{out} exists: add to it with --append, or choose another --out", out=out)
    return open_chips(out)


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


def _table(rows: Sequence[Mapping[str, Any]], *, scenes: int) -> gpd.GeoDataFrame:
    if not rows:
        raise LabelError(
            "nothing is known of any pixel of {scenes} scenes: check --background, --inside, --classes", scenes=scenes
        )
    _check_distinct([row["id"] for row in rows])
    return gpd.GeoDataFrame(rows, geometry="geometry", crs=4326)


def _delete(folder: Path, chips: gpd.GeoDataFrame) -> None:
    for path in [*chips["image"], *chips["label"]]:
        (folder / path).unlink()


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


Row = dict[str, Any]


@dataclass(frozen=True)
class Cutter:
    """How a scene becomes chips: how it is opened, its labels, the edge of a chip in pixels, the name of its group."""

    open: Callable[[Path], Scene]
    labels: Labels
    size: int
    group: Callable[[Path], str]

    def cut(
        self, path: Path, name: str, *, folder: Path, bands: Sequence[str], advance: Callable[[float], None]
    ) -> tuple[Row, list[Row]]:
        """Write the chips of which something is known; return what the header and the index say of them.

        `advance` is called with the part of the scene that is done. Raises `BandError` if the scene lacks a band.
        """
        scene = self.open(path)
        _check_bands(scene, bands)
        draw = self.labels.on(scene)
        statistics = scene.statistics(bands)
        parts = windows(scene.shape, size=self.size)
        common = {"source": name, "group": self.group(path), "pixel_m": scene.pixel_m}
        rows = []
        for window, footprint in zip(parts, _footprints(scene, parts), strict=True):
            chip = name if len(parts) == 1 else f"{name}_{window.row}_{window.col}"
            if row := _cut_window(scene, window, draw, folder=folder, name=chip, statistics=statistics):
                rows.append(row | common | {"geometry": footprint})
            advance(1 / len(parts))
        return _describe(scene, name), rows


def windows(shape: tuple[int, int], *, size: int) -> list[Window]:
    """Share a grid evenly among chips of at least `size` pixels, or as large as the grid; each pixel is in one."""
    rows, cols = (np.linspace(0, length, max(1, length // size) + 1).astype(int).tolist() for length in shape)
    return [Window(top, left, low - top, right - left) for top, low in pairwise(rows) for left, right in pairwise(cols)]


def _check_bands(scene: Scene, bands: Sequence[str]) -> None:
    if not {*bands} <= {*scene.bands}:
        raise BandError(
            "{name} has the bands {bands}, the chips of this folder {bands2}: name the scene's "
            "with --bands, or cut into another folder",
            name=scene.name,
            bands=", ".join(scene.bands),
            bands2=", ".join(bands),
        )


def _footprints(scene: Scene, parts: Sequence[Window]) -> list[shapely.Polygon | None]:
    """Outlines in longitude and latitude; None for a scene without a CRS."""
    if scene.grid.crs is None:
        return [None] * len(parts)
    row, col, height, width = (each[:, None] for each in np.array(parts).T)
    corners = scene.grid.affine @ (col + width * [0, 1, 1, 0], row + height * [0, 0, 1, 1])
    outlines = shapely.polygons(np.stack(corners, axis=-1))
    on_earth: list[shapely.Polygon | None] = gpd.GeoSeries(outlines, crs=str(scene.grid.crs)).to_crs(4326).to_list()
    return on_earth


def _cut_window(
    scene: Scene, window: Window, draw: Draw, *, folder: Path, name: str, statistics: Statistics
) -> Row | None:
    """Write one chip; None if nothing is known of it."""
    image = scene.read(window, bands=statistics.bands)
    target = np.where(image.valid, draw(window), np.uint8(UNKNOWN))
    if (target == UNKNOWN).all():
        return None
    dtype = np.result_type(*(layer.dtype for layer in scene.layers))
    paths = write_chip(folder, name, image, target, place=_place(scene, window), bands=statistics.bands, dtype=dtype)
    shares = {"cropland": CROPLAND, "other": OTHER, "unknown": UNKNOWN}
    row = {f"share_{what}": float(np.mean(target == value)) for what, value in shares.items()}
    return row | paths | window._asdict() | {"id": name, "low": statistics.low, "high": statistics.high}


def _place(scene: Scene, window: Window) -> ChipPlace:
    """Without a CRS, metres from the scene's lower left corner."""
    if scene.grid.crs is not None:
        return ChipPlace(scene.grid[window.slices].affine, _crs(scene))
    edge = scene.pixel_m
    return ChipPlace(Affine(edge, 0, window.col * edge, 0, -edge, (scene.shape[0] - window.row) * edge), None)


def _crs(scene: Scene) -> str | None:
    """The short code where there is one."""
    crs = scene.grid.crs
    return None if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else str(crs)


def _describe(scene: Scene, name: str) -> Row:
    files = [path.name for path in scene.files]
    return {
        "name": name,
        "files": files,
        "crs": _crs(scene),
        "pixel_m": scene.pixel_m,
        "notes": scene.notes,
    }
