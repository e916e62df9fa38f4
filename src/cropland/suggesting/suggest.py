"""The windows of a scene that are worth labelling next: `cropland suggest`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import isqrt, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import rasterio
from cyclopts import Parameter
from geopandas import GeoDataFrame
from jaxtyping import Float64, Int64
from rich.console import Console
from rich.table import Table
from scipy.spatial.distance import cdist

from cropland.data.chips import ChipFolder, open_chips
from cropland.data.cut import windows
from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.evaluation.judge import at_pixel, only_bands
from cropland.evaluation.model_on_chips import choose_chips
from cropland.fact_sheet import fact_sheet
from cropland.files import replacing_folder
from cropland.geo.scene import Image, Scene, SceneOptions
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.language import Message, _, shown
from cropland.mapping.plan import SAME_PIXEL
from cropland.model import ModelFile, default_model
from cropland.options import COUNT
from cropland.probability import DESCRIPTION, NO_DATA, to_levels
from cropland.progress import prefetch, progress_bar
from cropland.suggesting.pictures import PANEL, draw
from cropland.writers import replacing
from cropland.writers.qgis import how_drawn, write_suggestions_project
from cropland.writers.vector import write_geopackage

if TYPE_CHECKING:  # it imports torch, which a map does without
    from cropland.suggesting.look import Look

__all__ = ["Suggestions", "Taken", "choose", "command", "suggest"]

SIZE = 256  # working pixels of the edge of a window
MOST = 144  # windows that are looked at, and as many labelled chips: one or two minutes on two cores
LEAST_VALID = 0.5  # share of a window that has data
APART = 2  # cells from one window to the next, so that they do not even touch at a corner
STRIKING = 0.75  # share of the windows that are less so, from which on a reason is named
Cell = tuple[int, int]


def command(
    scene: str,
    *,
    out: Path = Path("suggestions"),
    n: Annotated[int, COUNT] = 10,
    model: Path | None = None,
    size: Annotated[int | None, COUNT] = None,
    labelled: Path | None = None,
    trust: bool = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
) -> None:
    """Choose the windows of a scene that are worth labelling next.

    Windows are worth it where the model is unsure, where its answer changes if they are mirrored, turned, darkened or
    brightened, and where they look unlike what was labelled before. They do not touch each other.

    Writes windows.gpkg in the order of worth, the empty labels.gpkg to draw in, windows.png with a picture of each,
    probability.tif, and suggest.qgs, in which QGIS shows all of them. Tick `done` of each window that you labelled.

    Example: cropland suggest scene.tif --n 10 --out suggestions

    Parameters
    ----------
    scene
        An image, a folder with one file per band, a STAC item, or an address.
    out
        The folder to write.
    n
        The number of windows.
    model
        A model file; the one that ships if not given.
    size
        Edge of a window in pixels of the scene; 256 of the model's working pixels if not given.
    labelled
        A folder of chips that are labelled already.
    trust
        Run the code that the model file names.
    overwrite
        Replace earlier suggestions, with all labels in the folder.
    """
    trained = ModelFile.load(model or default_model(), trust=trust)
    found = suggest(opening.opener()(scene), trained, out, n=n, size=size, labelled=labelled, overwrite=overwrite)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(found.table())
    for note in found.notes:
        console.print(shown(note))
    files = ["--labels", out / "labels.gpkg", "--background", "known", "--inside", out / "windows.gpkg"]
    words = ["cropland", "chips", scene, *files, "--size", found.size, "--out", "my_chips"]
    console.print(
        out / "suggest.qgs",
        out / "windows.png",
        _("Draw the fields of a window in labels.gpkg and tick `done` of the window; then cut chips of all that are:"),
        shlex.join(map(str, words)),
        sep="\n",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Suggestions:
    """Windows of a scene that are worth labelling next.

    windows: a row each in the scene's CRS, that of the most worth first. Columns: rank, from 1; score, 0..1, the square
    of `unlike` times the mean of `unsure` and `disagree`, both as shares of the largest of all windows; unsure, 0..1,
    how near the probability is to the threshold (0 at a probability of 0 or 1, 1 at the threshold), the mean over the
    pixels; disagree, 0..1, the standard deviation of the probability over the views as a share of the largest that
    there is, the mean over the pixels; unlike, 0..1, the distance of the window's feature from the nearest that was
    labelled or chosen before, as a share of the largest distance, 1 of the first where nothing was; reason, a sentence;
    done, whether it is labelled, which a person ticks.
    size: edge of a window in pixels of the scene, by which `cut_chips` makes one chip of each.
    """

    windows: GeoDataFrame
    scene: Scene
    model: ModelFile
    size: int
    chosen: tuple[Window, ...]  # on the scene's own grid, in the order of `windows`
    looks: tuple[Look, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """The windows, for a terminal."""
        heads = (_("rank"), _("score"), _("unsure"), _("disagree"), _("unlike"), _("reason"))
        table = Table(*heads, box=None, header_style="dim")
        for row in self.windows.itertuples():
            figures = (row.score, row.unsure, row.disagree, row.unlike)
            table.add_row(str(row.rank), *(f"{each:.2f}" for each in figures), row.reason)
        return table

    def picture(self) -> bytes:
        """A PNG with a picture of each window: the image, the probability, and the disagreement of the views."""
        bands, statistics = self.model.bands, _statistics(self.scene, self.model)
        rows = []
        for row, window, look in zip(self.windows.itertuples(), self.chosen, self.looks, strict=True):
            image = _read(self.scene, window, bands=bands, ratio=max(1.0, max(window.shape) / PANEL))
            rows.append((f"{row.rank}. {row.reason}", image.rgb(statistics.low, statistics.high), look))
        return draw(self.scene.name, rows)

    def save(self, out: str | Path, *, overwrite: bool = False) -> Suggestions:
        """Write them into the folder `out`, which appears whole, with an empty file of labels and a project of QGIS.

        Raises `OutputError` if the folder holds something and may not be replaced, or cannot be written.
        """
        out = Path(out)
        _check_free(out, overwrite=overwrite)
        try:
            with replacing_folder(out) as folder:
                files: dict[str, Any] = {name: folder / f"{name}.gpkg" for name in ("windows", "labels")}
                labels = GeoDataFrame({"note": pd.Series([], dtype="str")}, geometry=[], crs=self.windows.crs)
                write_geopackage([self.windows], files["windows"], layer="windows")
                write_geopackage([labels], files["labels"], layer="labels", geometry_type="MultiPolygon")
                (folder / "windows.png").write_bytes(self.picture())
                files["probability"] = folder / "probability.tif"
                self._write_probability(files["probability"])
                about: dict[str, Any] = {"title": self.scene.name, "home": out.absolute(), **how_drawn(self.scene)}
                write_suggestions_project(folder / "suggest.qgs", **files, **about)
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
            ) from error
        return self

    def _write_probability(self, out: Path) -> None:
        """The probability in the windows, on the working grid; the blocks of other ground take no room in the file."""
        ratio = _ratio(self.scene, self.model)
        grid = self.scene.working_grid(ratio)
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "sparse_ok": True}
        profile |= {"height": grid.height, "width": grid.width, "transform": grid.affine, "crs": str(grid.crs)}
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
        with replacing(out) as hidden, rasterio.open(hidden, "w", **profile) as file:
            file.descriptions = (DESCRIPTION,)
            for window, look in zip(self.chosen, self.looks, strict=True):
                levels = to_levels(look.probability, look.valid)
                file.write(levels, 1, window=_at(window, ratio, self.scene).in_file)

    def __repr__(self) -> str:
        return _("{count} windows of {scene}", count=len(self.windows), scene=self.scene.name)

    def _repr_html_(self) -> str:
        return fact_sheet(repr(self), {str(row.rank): row.reason for row in self.windows.itertuples()}, self.picture())


def suggest(
    scene: Scene,
    model: ModelFile,
    out: str | Path | None = None,
    *,
    n: int = 10,
    size: int | None = None,
    labelled: ChipFolder | str | Path | None = None,
    overwrite: bool = False,
) -> Suggestions:
    """Choose the `n` windows of a scene that are worth labelling next, and write them into the folder `out`, if wanted.

    Windows are those that `cut_chips` makes chips of, on a large scene some at even distances. Each is predicted as it
    lies, mirrored, turned, darker and brighter. The same scene, model and labelled chips give the same windows.

    size: edge of a window in pixels of the scene; 256 of the model's working pixels if not given. labelled: chips that
    are labelled already. Raises `InputError` or one of its kinds for a scene without a CRS, without the model's bands
    or without data, for chips of other bands, and for a folder `out` that cannot be used.
    """
    from cropland.suggesting.look import Looker

    if n < 1 or (size is not None and size < 1):
        raise InputError("{n} windows of {size} pixels: expected 1 or more of both", n=n, size=size or SIZE)
    if scene.grid.crs is None:
        raise GridError("{name} has no CRS, so no labels can be drawn over its windows; give --crs", name=scene.name)
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    ratio, threshold = _ratio(scene, model), model.nearest_pixel(scene.pixel_m).threshold
    size = max(1, round(SIZE * ratio)) if size is None else size
    lattice, statistics, looker = _Lattice.of(scene.shape, size=size), _statistics(scene, model), Looker(model)
    read = partial(_read, scene, bands=model.bands, ratio=ratio)
    chips, candidates = None if labelled is None else _some(labelled, model), lattice.evenly(MOST)
    cells, found, known = list[Cell](), list[_Found](), list[np.ndarray]()
    total = len(candidates) + (0 if chips is None else len(chips))
    with progress_bar(scene.name, total=total, rate=_rate, counted=True) as bar:
        for image, stretch in () if chips is None else _chip_images(chips, model):
            known.append(looker.feature(image, stretch))
            bar()
        for cell, image in zip(candidates, prefetch(read, map(lattice.window, candidates)), strict=True):
            if image.valid.mean() >= LEAST_VALID:
                cells.append(cell)
                found.append(_Found.of(looker.look(image, statistics), threshold=threshold))
            bar()
    if not found:
        raise SceneError(
            "no window of {size} x {size} pixels of {name} has data on half of its ground; give a smaller --size",
            size=size,
            name=scene.name,
        )
    uncertain, features = np.array([each[:2] for each in found]), np.array([each.feature for each in found])
    largest = uncertain.max(axis=0)
    worth = (uncertain / np.where(largest > 0, largest, 1)).mean(axis=1)
    before = np.array(known).reshape(-1, features.shape[1])
    taken = choose(features, worth, np.array(cells), known=before, n=n, apart=lattice.apart(n))
    chosen = tuple(lattice.window(cells[each.number]) for each in taken)
    looks = tuple(looker.look(image, statistics) for image in map(read, chosen))
    frame = _frame(scene, chosen, taken, uncertain)
    notes = (*scene.notes, *_too_few(len(taken), n, size))
    suggestions = Suggestions(frame, scene, model, size, chosen, looks, notes)
    return suggestions if out is None else suggestions.save(out, overwrite=overwrite)


class Taken(NamedTuple):
    """A window that was taken: its number, and what it was worth when it was.

    striking: the share of all windows that were less unlike what was labelled or taken before.
    """

    number: int
    score: float
    unlike: float
    striking: float


def choose(
    features: Float64[np.ndarray, "window channel"],
    worth: Float64[np.ndarray, " window"],
    cells: Int64[np.ndarray, "window 2"],
    *,
    known: Float64[np.ndarray, "chip channel"],
    n: int,
    apart: int,
) -> list[Taken]:
    """Windows one after the other, each the one with the largest `worth` times the squared distance to all before it.

    Distances are those of features, each channel in its standard deviations over the windows, as a share of the
    largest. known: features of what is labelled already. cells: row and column in a lattice. apart: cells from one
    window to the next, in rows or in columns; fewer where `n` do not fit, but two at least. Gives fewer than `n` where
    no more fit.
    Source: the farthest first is the core set of Sener and Savarese (2018), arXiv:1708.00489; the weight by uncertainty
    is the idea of Ash et al. (2020), arXiv:1906.03671, the square that of k-means++: with the plain distance much of a
    kind, such as open water that a model does not know, would be chosen again and again.
    """
    middle, spread = features.mean(axis=0), features.std(axis=0)
    here, before = ((each - middle) / np.where(spread > 0, spread, 1) for each in (features, known))
    largest = cdist(here, np.concatenate([here, before])).max() or 1.0
    unlike = cdist(here, before).min(axis=1) / largest if len(before) else np.ones(len(here))
    taken: list[Taken] = []
    gap = np.full(len(cells), np.inf)  # to the nearest window that was taken, in cells
    while len(taken) < n and (gap >= APART).any():
        free = gap >= apart
        if not free.any():
            apart -= 1
            continue
        score = worth * unlike**2
        number = int(np.argmax(np.where(free, score, -1)))
        striking = float(np.mean(unlike < unlike[number]))
        taken.append(Taken(number, float(score[number]), float(unlike[number]), striking))
        unlike = np.minimum(unlike, cdist(here, here[[number]])[:, 0] / largest)
        gap = np.minimum(gap, np.abs(cells - cells[number]).max(axis=1))
    return taken


class _Found(NamedTuple):
    """What decides of a window."""

    unsure: float
    disagree: float
    feature: Float64[np.ndarray, " channel"]

    @staticmethod
    def of(look: Look, *, threshold: float) -> _Found:
        """Means over the pixels with data."""
        p = look.probability[look.valid].astype(float)
        certain = np.where(p < threshold, threshold, 1 - threshold)  # from the threshold to 0 or 1
        near = 1 - np.abs(p - threshold) / np.maximum(certain, 1e-6)
        return _Found(near.mean(), look.disagreement[look.valid].mean(), look.feature)


@dataclass(frozen=True)
class _Lattice:
    """The windows of a scene as rows and columns of cells."""

    parts: list[Window]
    rows: int
    columns: int

    @staticmethod
    def of(shape: tuple[int, int], *, size: int) -> _Lattice:
        """Divided as `cut_chips` divides a scene into chips of that size, so that a window becomes one chip."""
        parts = windows(shape, size=size)
        return _Lattice(parts, len({part.row for part in parts}), len({part.col for part in parts}))

    def window(self, cell: Cell) -> Window:
        """The window in a row and column."""
        return self.parts[cell[0] * self.columns + cell[1]]

    def evenly(self, most: int) -> list[Cell]:
        """All cells, or at most so many at even distances."""
        rows = min(self.rows, max(1, most // self.columns, round(sqrt(most * self.rows / self.columns))), most)
        columns = min(self.columns, max(1, most // rows))
        axes = ((np.arange(count) + 0.5) * of / count for count, of in ((rows, self.rows), (columns, self.columns)))
        return [*product(*(axis.astype(int).tolist() for axis in axes))]

    def apart(self, n: int) -> int:
        """Half of the cells from one to the next of `n` windows that are spread evenly."""
        return max(APART, isqrt(self.rows * self.columns // n) // 2)


def _some(labelled: ChipFolder | str | Path, model: ModelFile) -> ChipFolder:
    """The chips of a folder, where there are many some at even distances in its index."""
    folder = labelled if isinstance(labelled, ChipFolder) else open_chips(labelled)
    folder = choose_chips(folder, model, split="all", by="group")
    numbers = np.unique(np.linspace(0, len(folder) - 1, MOST).astype(int))
    return replace(folder, index=folder.index.iloc[numbers].reset_index(drop=True))


def _chip_images(chips: ChipFolder, model: ModelFile) -> Iterator[tuple[Image, Statistics]]:
    """The images of chips, each at the working pixel nearest to its own, and how they are normalised."""
    for number in range(len(chips)):
        chip = only_bands(chips.read(number), chips.bands, model.bands)
        image = at_pixel(chip, model.nearest_pixel(chip.pixel_m).pixel_m).image
        yield image, model.statistics or Statistics(model.bands, chip.low, chip.high)


def _frame(
    scene: Scene, chosen: Sequence[Window], taken: Sequence[Taken], uncertain: Float64[np.ndarray, "window 2"]
) -> GeoDataFrame:
    numbers = [each.number for each in taken]
    # Of each window that was taken the share of all windows that are less unsure, and that disagree less.
    less = (uncertain[None] < uncertain[numbers][:, None]).mean(axis=1)
    reasons = [_reason((*shares, each.striking)) for shares, each in zip(less, taken, strict=True)]
    columns = {
        "rank": np.arange(1, len(taken) + 1),
        "score": [each.score for each in taken],
        "unsure": uncertain[numbers, 0],
        "disagree": uncertain[numbers, 1],
        "unlike": [each.unlike for each in taken],
        "reason": pd.Series(reasons, dtype="str"),
        "done": np.zeros(len(taken), bool),
    }
    outlines = [scene.grid[window.slices].extent.geom for window in chosen]
    return GeoDataFrame(columns, geometry=outlines, crs=str(scene.grid.crs))


def _reason(striking: Sequence[float]) -> str:
    """What sets a window apart: by the shares of windows that are less unsure, disagree less and are less unlike."""
    sentences = (
        _("The model is unsure here."),
        _("Its answer changes when the window is mirrored, turned, darkened or brightened."),
        _("The window looks unlike what was labelled or chosen before."),
    )
    least = min(STRIKING, max(striking))
    return " ".join(sentence for sentence, share in zip(sentences, striking, strict=True) if share >= least)


def _too_few(count: int, n: int, size: int) -> tuple[Message, ...]:
    if count == n:
        return ()
    return (
        Message(
            "Only {count} windows of {size} pixels lie apart from each other here; give a smaller --size for more.",
            count=count,
            size=size,
        ),
    )


def _rate(speed: float) -> str:
    return _("{rate:.1f} windows/s", rate=speed)


def _statistics(scene: Scene, model: ModelFile) -> Statistics:
    return model.statistics or scene.statistics(model.bands)


def _ratio(scene: Scene, model: ModelFile) -> float:
    """The working pixel over the scene's."""
    ratio = model.nearest_pixel(scene.pixel_m).pixel_m / scene.pixel_m
    return 1.0 if abs(ratio - 1) < SAME_PIXEL else ratio


def _at(window: Window, ratio: float, scene: Scene) -> Window:
    """A window of the scene's own grid on the working grid of a ratio, to a pixel."""
    edges = []
    for start, length, whole in zip(window[:2], window[2:], scene.working_grid(ratio).shape, strict=True):
        first = min(round(start / ratio), whole - 1)
        edges.append((first, max(1, min(round((start + length) / ratio), whole) - first)))
    (row, height), (col, width) = edges
    return Window(row, col, height, width)


def _read(scene: Scene, window: Window, *, bands: Sequence[str], ratio: float) -> Image:
    """A window of the scene's own grid, read with pixels `ratio` times as large."""
    return scene.read(_at(window, ratio, scene), bands=bands, ratio=ratio)


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.suffix.lower() == ".gpkg":
        raise OutputError(
            "{out}: give a folder as --out; windows.gpkg is written in it with all that goes with it", out=out
        )
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "suggest.qgs").exists():
        raise OutputError("{out} holds files that are not suggestions; choose another --out", out=out)
    if not overwrite:
        raise OutputError(
            "{out} holds suggestions already, and perhaps labels; give another --out, or --overwrite", out=out
        )
