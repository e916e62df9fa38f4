"""A stratified random sample of the pixels of a mask, to be looked at by people: `cropland area design`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from cyclopts import Parameter
from geopandas import GeoDataFrame, points_from_xy
from jaxtyping import Float64, Int64
from rich.console import Console
from rich.table import Table

from cropland.errors import GridError, InputError, OutputError
from cropland.fact_sheet import fact_sheet
from cropland.files import replacing_folder, write_json
from cropland.geo.map_folder import MapFolder
from cropland.geo.mask import Mask
from cropland.geo.scene import Scene, open_scene
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0, COUNT, NOT_NEGATIVE, SHARE
from cropland.sampling.allocation import Z, allocate, anticipated_error, points_for_margin
from cropland.sampling.strata import (
    BLOCK,
    Census,
    Kind,
    Strata,
    census,
    make_strata,
    open_probability,
    watched,
)
from cropland.writers.vector import write_geopackage

__all__ = ["SampleDesign", "command", "design_sample", "draw"]

FORMAT = 1  # of design.json
LEAST = 50  # points of a stratum. Source: Olofsson et al. (2014), section 5.1.2
ANTICIPATED = {0: 0.05, 1: 0.95, None: 0.5}  # share of cropland by the map class of a stratum
SHUFFLE = 2**64 - 1  # the key of the order, which no block has


def command(
    mask: Path,
    *,
    n: Annotated[int | None, COUNT] = None,
    margin: Annotated[float | None, SHARE] = None,
    strata: Kind = "mask",
    probability: Path | None = None,
    edge_m: Annotated[float | None, ABOVE_0] = None,
    least: Annotated[int, COUNT] = LEAST,
    seed: Annotated[int, NOT_NEGATIVE] = 0,
    imagery: Path | None = None,
    bands: str | None = None,
    out: Path = Path("area_sample"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    crs: str | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Draw a stratified random sample of a mask, to be looked at by people.

    Writes sample.gpkg with an empty column `reference`, design.json, sample.qgs for QGIS, and where imagery is known
    sheet.html, in which a person looks at the points in a browser. None of them shows stratum or map class.

    Example: cropland area design mask.tif --n 300 --imagery scene.tif

    Example: cropland area design my_map/mask.tif --margin 0.02 --strata edge

    Parameters
    ----------
    mask
        A mask: 1 cropland, 0 not cropland, 255 no data; or the folder of a map.
    n
        The number of points.
    margin
        Instead of --n: the wished margin of error of the share of cropland, half the width of its 95 % interval.
    strata
        mask: the two classes; probability: bands of the probability; edge: the ground along edges, and the rest of
        each class.
    probability
        The probability.tif of the map; the one beside the mask if not given.
    edge_m
        With --strata edge: how far the stratum reaches on either side of an edge, in metres; two pixels if not given.
    least
        The least number of points of a stratum.
    seed
        Another seed draws other points.
    imagery
        The scene that the sheet shows; that of the map if not given.
    bands
        Numbers of the bands of the imagery, as in red=3,green=2,blue=1.
    out
        The folder to write to.
    overwrite
        Replace an earlier sample, with all answers in it.
    crs
        The CRS of a mask whose file names none.
    pixel_m
        Pixel size in metres of a mask without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    done = design_sample(
        mask,
        out,
        n=n,
        margin=margin,
        strata=strata,
        probability=probability,
        edge_m=edge_m,
        least=least,
        seed=seed,
        imagery=imagery,
        bands=bands,
        overwrite=overwrite,
        crs=crs,
        pixel_m=pixel_m,
        allow_datum_shift=allow_datum_shift,
    )
    console = Console()
    console.print(done.table())
    for note in done.about["notes"]:
        print(shown(note))
    console.print(out, soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True, eq=False, repr=False)
class SampleDesign:
    """A sample that is drawn.

    about: the content of design.json. points: id, reference (nothing yet), note and the centres of the pixels.
    """

    about: Mapping[str, Any]
    points: GeoDataFrame

    def table(self) -> Table:
        """The strata, for a terminal."""
        table = Table(_("stratum"), _("pixels"), _("share of the area"), _("points"), box=None, header_style="dim")
        some = [each for each in self.about["strata"] if each["pixels"]]
        whole = sum(each["area_m2"] for each in some)
        for each in some:
            share = f"{100 * each['area_m2'] / whole:.1f} %"
            table.add_row(shown(each["name"]), f"{each['pixels']:,}", share, f"{each['points']:,}")
        return table

    def __repr__(self) -> str:
        return _("{count} points of {mask}", count=len(self.points), mask=self.about["mask"]["name"])

    def _repr_html_(self) -> str:
        some = [each for each in self.about["strata"] if each["pixels"]]
        return fact_sheet(repr(self), {shown(each["name"]): f"{each['points']:,}" for each in some})


def design_sample(
    mask: str | Path,
    out: str | Path | None = None,
    *,
    n: int | None = None,
    margin: float | None = None,
    strata: Kind = "mask",
    probability: str | Path | None = None,
    edge_m: float | None = None,
    least: int = LEAST,
    seed: int = 0,
    imagery: Scene | str | Path | None = None,
    bands: str | Mapping[str, int] | Sequence[str] | None = None,
    overwrite: bool = False,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
) -> SampleDesign:
    """Draw a stratified random sample of the pixels of a mask, and write it into the folder `out`, which appears whole.

    n: points. margin: in its place, half the width of the 95 % interval of the share of the mapped ground that is
    cropland, 0..1. strata: the two classes of the mask, bands of the probability, or the ground within `edge_m` metres
    of an edge and the rest of each class. least: points of a stratum. imagery, bands: the scene that the sheet shows.
    out: without it nothing is written. crs, pixel_m, allow_datum_shift: of the mask, as in `open_scene`.
    Raises `InputError` or one of its kinds for what cannot be sampled, `OutputError` where `out` cannot be used.
    """
    if (n is None) == (margin is None):
        raise InputError("give one of the two: --n 300 for so many points, or --margin 0.02 for the margin of error")
    if margin is not None and not 0 < margin < 1:
        raise InputError("--margin {margin:g}: give a share between 0 and 1, such as 0.02", margin=margin)
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    opened = Mask.open(Path(mask), crs=crs, pixel_m=pixel_m, allow_datum_shift=allow_datum_shift)
    levels = _probability(opened, None if probability is None else Path(probability))
    parts = make_strata(opened, strata, probability=levels, edge_m=edge_m)
    scene = imagery if isinstance(imagery, Scene) else _imagery(opened, imagery, bands)
    counted = census(opened, parts, probability=levels)
    counts, notes = _counts(counted, parts, n=n, margin=margin, least=least, has_probability=levels is not None)
    if scene is None:
        notes.append(Message("No imagery is known, so there is no sheet.html; give it with --imagery SCENE."))
    drawn = draw(opened, parts, counts, seed=seed)
    drawn = drawn[_generator(seed, SHUFFLE).permutation(len(drawn))]  # so that an id tells nothing of the stratum
    options = {
        "strata": strata,
        "edge_m": parts.edge_m,
        "probability": None if levels is None else levels.name,
        "n": n,
        "margin": margin,
        "least": least,
        "seed": seed,
    }
    about = _about(opened, parts, counted, drawn, options=options, notes=notes)
    done = SampleDesign(about, _points(opened, drawn))
    if out is not None:
        _save(done, Path(out), mask=opened, imagery=scene)
    return done


def draw(
    mask: Mask, strata: Strata, counts: Int64[np.ndarray, " stratum"], *, seed: int
) -> Int64[np.ndarray, "point 3"]:
    """Row, column and stratum of so many pixels of each stratum, in row order.

    Without replacement, each with a chance in proportion to its area: a pixel gets the key -log(u) / area, and those of
    the smallest keys are taken. u is counter-based, from the seed and the block of the lattice, so the sample does not
    depend on how the raster is stored or read.
    Source: Efraimidis and Spirakis (2006), doi:10.1016/j.ipl.2005.11.003; Salmon et al. (2011),
    doi:10.1145/2063384.2063405, for Philox.
    """
    kept = [(np.zeros(0), np.zeros((0, 2), np.int64)) for _ in counts]
    for number, tile in enumerate(watched(strata.blocks(mask))):
        stratum, _ = strata.read(mask, tile)
        keys = _keys(seed, number, mask.area_m2(tile.core))
        for h, count in enumerate(counts):
            key, place = kept[h]
            # A pixel above the largest key that is kept cannot come in.
            limit = key.max() if len(key) == count and count else np.inf
            rows, cols = np.nonzero((stratum == h) & (keys <= limit))
            key = np.append(key, keys[rows, cols])
            place = np.append(place, np.stack([rows + tile.core.row, cols + tile.core.col], axis=1), axis=0)
            first = np.argsort(key, kind="stable")[:count]
            kept[h] = key[first], place[first]
    drawn = np.concatenate([np.column_stack([place, np.full(len(place), h)]) for h, (_, place) in enumerate(kept)])
    return drawn[np.lexsort(drawn.T[1::-1])]


def _keys(seed: int, block: int, area_m2: Float64[np.ndarray, "height width"]) -> Float64[np.ndarray, "height width"]:
    height, width = area_m2.shape
    uniform = _generator(seed, block).random((height, BLOCK))[:, :width]
    with np.errstate(divide="ignore"):  # a pixel that is not on the Earth has no area, and no chance
        keys: np.ndarray = -np.log1p(-uniform) / area_m2
    return keys


def _generator(seed: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, block], np.uint64)))


def _counts(
    counted: Census, strata: Strata, *, n: int | None, margin: float | None, least: int, has_probability: bool
) -> tuple[Int64[np.ndarray, " stratum"], list[Message]]:
    """The points of each stratum, and what was assumed."""
    pixels, area_m2 = counted.pixels, counted.area_m2.sum(axis=1)
    weights, some = area_m2 / area_m2.sum(), int((counted.pixels > 0).sum())
    notes = []
    if some == 1:
        (only,) = np.flatnonzero(pixels)
        notes.append(Message("The mask has one stratum only: {name}.", name=strata.names[only]))
    by_class = np.array([ANTICIPATED[each] for each in strata.map_classes])
    shares = np.where(np.isnan(counted.probability), by_class, counted.probability)
    if margin is not None:
        n = points_for_margin(margin, weights=weights, shares=shares, pixels=pixels, least=least)
        source = (
            Message("the mean probability of each stratum")
            if has_probability
            else Message("0.95 where cropland is mapped, 0.05 where it is not, 0.5 in strata of both")
        )
        notes.append(
            Message(
                "{n} points for a margin of {margin:g}, if the share of cropland is as anticipated: {source}.",
                n=n,
                margin=margin,
                source=source,
            )
        )
    assert n is not None, "one of the two is given"
    if n > pixels.sum():
        raise InputError(
            "--n {n} is more than the {pixels} pixels that are mapped; give fewer", n=n, pixels=pixels.sum()
        )
    if n < min(2 * some, pixels.sum()):
        raise InputError(
            "--n {n} is too few for {strata} strata, of which each needs two points at least; give {least} or more",
            n=n,
            strata=some,
            least=2 * some,
        )
    counts = allocate(n, weights=weights, pixels=pixels, least=least)
    if margin is None:
        error = anticipated_error(counts, weights=weights, shares=shares, pixels=pixels)
        notes.append(
            Message(
                "The share of cropland will be known to about ±{margin:.1f} percentage points (95 %).",
                margin=100 * Z * error,
            )
        )
    return counts, notes


def _about(
    mask: Mask,
    strata: Strata,
    counted: Census,
    drawn: Int64[np.ndarray, "point 3"],
    *,
    options: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    grid, counts = mask.scene.grid, np.bincount(drawn[:, 2], minlength=len(strata.names))
    columns = (strata.names, strata.map_classes, counted.pixels, counted.area_m2.sum(axis=1), counts)
    pixels = drawn.tolist()
    return {
        "format": FORMAT,
        "sample": sha256(json.dumps([counted.digest, pixels]).encode()).hexdigest()[:12],
        "mask": {
            "name": mask.path.name,
            "sha256": counted.digest,
            "shape": list(mask.shape),
            "transform": list(grid.affine[:6]),
            "crs": None if grid.crs is None else grid.crs.to_wkt(),
        },
        "options": dict(options),
        "strata": [
            {"name": name, "map_class": kind, "pixels": int(size), "area_m2": float(area), "points": int(count)}
            for name, kind, size, area, count in zip(*columns, strict=True)
        ],
        "pixels": pixels,
        "unmapped_m2": counted.unmapped_m2,
        "notes": list(notes),
    }


def _points(mask: Mask, drawn: Int64[np.ndarray, "point 3"]) -> GeoDataFrame:
    columns = {
        "id": np.arange(1, len(drawn) + 1),
        "reference": pd.array([None] * len(drawn), dtype="Int16"),
        "note": pd.Series([""] * len(drawn), dtype="str"),
    }
    crs = mask.scene.grid.crs
    places = points_from_xy(*mask.coordinates(drawn[:, 0], drawn[:, 1]))
    return GeoDataFrame(columns, geometry=places, crs=None if crs is None else crs.to_wkt())


def _save(done: SampleDesign, out: Path, *, mask: Mask, imagery: Scene | None) -> None:
    from cropland.sampling.sheet import write_sheet
    from cropland.writers.qgis import how_drawn, write_sample_project

    title = mask.title
    try:
        with replacing_folder(out) as folder:
            write_geopackage([done.points], folder / "sample.gpkg", layer="sample")
            write_json(folder / "design.json", done.about)
            drawn: dict[str, Any] = {"scene": None, "bands": 1, "limits": ()}
            if imagery is not None:
                points = done.points[["id", "geometry"]]
                which: dict[str, Any] = {"title": title, "sample": done.about["sample"]}
                write_sheet(folder / "sheet.html", points, pixel=mask.scene.grid, imagery=imagery, **which)
                drawn = how_drawn(imagery)
            write_sample_project(folder / "sample.qgs", title=title, sample=folder / "sample.gpkg", **drawn)
    except OSError as error:
        raise OutputError(
            "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
        ) from error


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "design.json").exists():
        raise OutputError("{out} holds files that are not a sample; choose another --out", out=out)
    if not overwrite:
        raise OutputError("{out} holds a sample already; give another --out, or --overwrite", out=out)


def _probability(mask: Mask, given: Path | None) -> Path | None:
    """The probability that is given, or the one beside the mask where it is of the same map."""
    if given is not None:
        open_probability(given, mask)
        return given
    beside = mask.path.with_name("probability.tif")
    if not beside.is_file() or beside == mask.path:
        return None
    try:
        open_probability(beside, mask)
    except InputError:
        return None
    return beside


def _imagery(
    mask: Mask, given: str | Path | None, bands: str | Mapping[str, int] | Sequence[str] | None
) -> Scene | None:
    """The scene that is given, or the one that the map.json beside the mask names.

    A scene without a CRS is taken as that of the mask, which lies over it.
    """
    if given is not None:
        try:
            return open_scene(given, bands=bands)
        except GridError:
            own = mask.scene
            crs = None if own.grid.crs is None else own.grid.crs.to_wkt()
            return open_scene(given, bands=bands, crs=crs, pixel_m=None if crs else own.pixel_m)
    found = MapFolder.find(mask.path)
    return found.imagery() if found else None
