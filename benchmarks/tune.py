"""Tuning against training anew and against a public library, by how many tiles are labelled.

    python benchmarks/tune.py           run what is missing, then print the tables and draw the curves (hours; resumes)
    python benchmarks/tune.py choices   the settings of tuning against others, on other places (an hour; resumes)
    python benchmarks/tune.py tables    print and draw what is there

Three places that the start model has never seen: NAIP tiles of the Midwest (a model trained without NAIP), a scene of
Sentinel-2 on the upper Rhine (a model trained without it), and a Chinese scene of about 1 m (the model that ships).
1, 2, 5, 10 and 20 tiles are drawn at random, three times; a part of each draw validates. Each way trains for as many
steps, the library for as many minutes as tuning took. All are measured on ground that no draw holds.

Needs the chips that recipes/cropland_rgb.py cuts into runs/chips, and the data in ../shared/data or CROPLAND_DATA. Runs
go to runs/tune, and are not run again until it is deleted; figures go to benchmarks/results. What stands in
docs/how_to/tune.md is what it prints and draws.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import geopandas as gpd
import matplotlib
import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rasterio.features import shapes
from rasterio.windows import Window
from scipy import ndimage
from shapely.geometry import shape

import environments
from cropland.data.chips import ChipFolder, open_chips
from cropland.data.cut import cut_chips
from cropland.data.labels import UNKNOWN, LabelOptions
from cropland.data.split import split
from cropland.errors import ChipError
from cropland.evaluation.counts import Counts, count
from cropland.evaluation.judge import Judge, at_pixel, chip_probabilities, only_bands, resized
from cropland.files import write_json
from cropland.geo.scene import SceneOptions
from cropland.lab.draw import COLOURS
from cropland.mapping.picture import INK
from cropland.model import ModelFile, default_model
from cropland.probability import classes
from cropland.recipe import parse_recipe, read_recipe
from cropland.training.field_threshold import FieldMatches, matches, predicted_fields, reference_fields
from cropland.training.train import train, tune
from cropland.training.tuning import tuning_recipe
from cropland.training.validate import predictor
from pictures import STYLE
from places import CHILDREN, ROOT, THREADS
from results import load, save

DATA = Path(os.environ.get("CROPLAND_DATA", ROOT.parent / "shared" / "data"))
OUT, CHIPS = ROOT / "runs" / "tune", ROOT / "runs" / "chips"
TILES, SEEDS = (1, 2, 5, 10, 20), (0, 1, 2)
FIGURES = {"iou": "IoU", "field_f1": "F1 of fields"}
PICTURE = ROOT / "docs" / "how_to" / "tuning_curves.svg"
WAYS = ("tuned", "trained anew", "segmentation-models-pytorch")
# Of the training without a place: as the model that ships begins, for as long as two cores take a quarter of an hour.
START = ("training.epochs=2", "training.chips_per_epoch=3600", "boundary.weight=3.0", "training.encoder_rate=0.3")
# What starts from ImageNet instead of a model has high rates, and nothing to keep.
ANEW = (
    *("network.start=imagenet", "training.learning_rate=1.2e-3", "training.encoder_rate=0.3"),
    *("training.frozen=0", "training.frozen_norm=false", "training.mix=false", "training.replay=0"),
)
SAMPLE = "naip_38"  # of validation: it ships, and tuning replays it
CHINA, TILE_PX = "EPSG:32650", 360  # any CRS in metres: the scene has none
# How the settings of tuning were chosen: on ground that no curve measures, and that no model was trained on.
OWN = (  # augmentation of the model that ships
    *("augmentation.gamma=0.8", "augmentation.band_gain=0.2", "augmentation.haze=0.3", "augmentation.blur=1.0"),
    *("augmentation.window_percentiles=0.6", "augmentation.fields=0.5", "augmentation.colour=0.4"),
    "augmentation.swap=0.05",
)
CHOICES = {
    "as it is": (),
    "the encoder learns from 0.3 on": ("training.frozen=0.3", "training.encoder_rate=0.3"),
    "the model's own augmentation": OWN,
    "the model's own augmentation, replay of 0.2": (*OWN, "training.replay=0.2"),
    "the model's own augmentation, no replay": (*OWN, "training.replay=0"),
    "the model's own augmentation, neither replay nor mix": (
        *(*OWN, "training.replay=0"),
        *("training.mix=false", "training.keep=last"),
    ),
}
CHOICE_TILES, CHOICE_SEEDS = (2, 8), (0, 1)


@dataclass(frozen=True)
class Place:
    """Labelled tiles, each some chips; ground to measure on; and the model to start from."""

    name: str
    pool: ChipFolder
    tile: pd.Series  # of each chip of the pool
    test: ChipFolder
    start: ModelFile


def naip() -> Place:
    """The tiles of naip_us, by its own split."""
    index = pd.read_csv(DATA / "naip_us" / "index.csv")
    folders = []
    for side in ("train", "val"):
        names = index["id"][index["split"].str.startswith(side) & (index["id"] != SAMPLE)]
        scenes = [DATA / "naip_us" / "images" / f"{name}.png" for name in names]
        labels = LabelOptions(DATA / "naip_us" / "fields.gpkg", background="known")
        size = 256 if side == "train" else 1024
        folders.append(cut(f"naip_{side}", scenes, labels, size=size, crs="EPSG:4326"))
    pool, test = folders
    return Place("naip_us", pool, pool.index["source"], test, without_naip())


def without_naip() -> ModelFile:
    """A model that has never seen NAIP."""
    return model_without("naip", ("naip", "virginia", "west_virginia", "north_dakota"))


def rhine() -> Place:
    """April on the upper Rhine: columns up to 864 to learn from, the others to measure on."""
    folder = DATA / "labelled" / "upper_rhine"
    folders = []
    for side, columns in {"west": (0, 864), "east": (900, None)}.items():
        scene, label = (
            part(folder / f"{name}.tif", OUT / "rhine" / side / f"{name}.tif", columns)
            for name in ("image_20210415", "label")
        )
        options = LabelOptions(label)
        folders.append(cut(f"rhine_{side}", [scene], options, size=72 if side == "west" else 396))
    pool, test = folders
    start = model_without("upper_rhine", ("upper_rhine",))
    return Place("upper_rhine", pool, by_lattice(pool, 216), test, start)


def china() -> Place:
    """Columns up to 1800 to learn from, those from 1856 on to measure on."""
    return _china("gf_china", {"west": (0, 1800), "east": (1856, None)}, test_px=480)


def _china(name: str, sides: Mapping[str, tuple[int, int | None]], *, test_px: int) -> Place:
    """Columns of the Chinese scene; its fields are the parts of the cropland that the drawn boundaries divide."""
    folders = []
    for side, columns in sides.items():
        place = OUT / name / side
        scene, cropland, boundary = (
            part(DATA / "gf_china" / f"{name}.tif", place / f"{name}.tif", columns, crs=CHINA)
            for name in ("scene_int16", "label_cropland", "label_boundary")
        )
        fields = LabelOptions(polygons(cropland, boundary, place / "fields.gpkg"), background="known")
        size = TILE_PX // 3 if side == "west" else test_px
        folders.append(cut(f"{name}_{side}", [scene], fields, size=size, bands="blue=1,green=2,red=3,nir=4"))
    pool, test = folders
    return Place(name, pool, by_lattice(pool, TILE_PX), test, ModelFile.load(default_model()))


def choice_places() -> list[Place]:
    """Halves of places that validated the model that ships, and of the part of gf_china that no curve measures."""
    labelled, start = DATA / "labelled", ModelFile.load(default_model())
    halves = {
        "cambodia": ("image_dry", "label", 264, 120),
        "parana_2": ("image_20200518", "label", 340, 168),
        "north_dakota": ("image_20190904", "label_20190904", 440, 216),
    }
    places = [_china("gf_china_west", {"west": (0, 900), "east": (956, 1800)}, test_px=420)]
    for name, (image, label, middle, tile) in halves.items():
        folders = []
        for side, columns in {"west": (0, middle), "east": (middle + tile // 6, None)}.items():
            scene, labels = (
                part(labelled / name / f"{file}.tif", OUT / name / side / f"{file}.tif", columns)
                for file in (image, label)
            )
            size = tile // 3 if side == "west" else 300
            folders.append(cut(f"{name}_{side}", [scene], LabelOptions(labels), size=size))
        pool, test = folders
        places.append(Place(name, pool, by_lattice(pool, tile), test, start))
    return places


def choices() -> dict[str, Any]:
    """Tunings of every choice on the same draws: by choice what each gains over the start, and what it does to the map
    of another place."""
    gains: dict[str, list[tuple[float, float]]] = {}
    places = choice_places()
    for place in places:
        path = OUT / "choices" / f"{place.name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, scored(place.start, place.test) | {"elsewhere": _elsewhere(place.start, place, places)})
        start = json.loads(path.read_text(encoding="utf-8"))
        for choice, changed in CHOICES.items():
            for tiles, seed in product(CHOICE_TILES, CHOICE_SEEDS):
                out = OUT / "choices" / choice.replace(" ", "_") / f"{place.name}_{tiles}_{seed}"
                done = out / "scored.json"
                if not done.exists():
                    setting = [f"training.seed={seed}", *changed]
                    model = tune(place.start, drawn(place, tiles, seed), out, set=setting)
                    write_json(done, scored(model, place.test) | {"elsewhere": _elsewhere(model, place, places)})
                found = json.loads(done.read_text(encoding="utf-8"))
                gain = found["iou"] - start["iou"], found["elsewhere"] - start["elsewhere"]
                gains.setdefault(choice, []).append(gain)
    return gains


def choice_table(gains: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """What stands in docs/how_to/tune.md on the settings."""
    print("| setting | gain of IoU, mean | worst | on another place, mean | worst |\n|---|---|---|---|---|")
    for choice, each in gains.items():
        here, elsewhere = zip(*each, strict=True)
        cells = (f"{value:+.3f}" for side in (here, elsewhere) for value in (fmean(side), min(side)))
        print(f"| {choice} | {' | '.join(cells)} |")


def _elsewhere(model: ModelFile, place: Place, places: Sequence[Place]) -> float:
    """IoU on another of the places, as the start would map it."""
    other = next(each for each in places[1:] if each.name != place.name)
    return scored(replace(model, working_pixels=place.start.working_pixels), other.test)["iou"]


def cut(name: str, scenes: list[Path], labels: LabelOptions, *, size: int, **opening: Any) -> ChipFolder:
    """A chip folder of some scenes, unless it is there."""
    out = OUT / "chips" / name
    if not out.exists():
        print(name, cut_chips(scenes, labels, out, size=size, validation=0.0, opening=SceneOptions(**opening)))
    return open_chips(out)


def part(source: Path, out: Path, columns: tuple[int, int | None], *, crs: str | None = None) -> Path:
    """Some columns of a raster; with a CRS, at a pixel of one metre in it."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(source) as file:
            window = Window(columns[0], 0, (columns[1] or file.width) - columns[0], file.height)
            transform = Affine(1, 0, 5e5 + columns[0], 0, -1, 4e6) if crs else file.window_transform(window)
            placed = {"crs": crs or file.crs, "transform": transform}
            profile = {**file.profile, "driver": "GTiff", "width": window.width, **placed}
            with rasterio.open(out, "w", **profile) as target:
                target.write(file.read(window=window))
                target.descriptions = file.descriptions
    return out


def polygons(cropland: Path, boundary: Path, out: Path) -> Path:
    """The fields of two rasters: what the boundary divides, each grown to the middle of the lines around it."""
    if not out.exists():
        with rasterio.open(cropland) as one, rasterio.open(boundary) as other:
            is_crop, inside, transform = one.read(1) == 1, (one.read(1) == 1) & (other.read(1) == 0), one.transform
        numbers, _count = ndimage.label(inside)
        rows, columns = ndimage.distance_transform_edt(numbers == 0, return_distances=False, return_indices=True)
        fields = np.where(is_crop, numbers[rows, columns], 0).astype(np.int32)
        outlines = [shape(outline) for outline, _value in shapes(fields, fields > 0, transform=transform)]
        gpd.GeoDataFrame(geometry=outlines, crs=CHINA).to_file(out)
    return out


def by_lattice(pool: ChipFolder, edge: int) -> pd.Series:
    """The tile of each chip: squares of some pixels."""
    return (pool.index["row"] // edge).astype(str) + "/" + (pool.index["col"] // edge).astype(str)


def model_without(name: str, places: tuple[str, ...]) -> ModelFile:
    """The shipped recipe, trained shortly on all but some places."""
    values = read_recipe(ROOT / "recipes" / "cropland_rgb.toml", START).model_dump(mode="json")
    values["name"] = f"without_{name}"
    folder = open_chips(CHIPS)
    index = folder.index
    there = index["group"].isin(places) | index["source"].str.contains("|".join(places))
    patches = (index["split"] == "validation") & index["group"].str.match("eurosat|ucmerced")  # long to score
    kept = replace(folder, index=index[~there & ~patches].reset_index(drop=True))
    learnt = set(kept.index["group"][kept.index["split"] == "train"])
    for key in ("groups", "paste_groups", "scales"):
        matched = {pattern: value for pattern, value in values["sampling"][key].items() if _matches(pattern, learnt)}
        values["sampling"][key] = matched
    return train(parse_recipe(values), kept, OUT / "starts" / values["name"])


def _matches(pattern: str, groups: set[str]) -> bool:
    return any(fnmatchcase(group, pattern) for group in groups)


def drawn(place: Place, tiles: int, seed: int) -> ChipFolder:
    """The chips of some tiles at random, a quarter of their ground to validate; more tiles hold the fewer ones."""
    names = np.random.default_rng(seed).permutation(sorted(set(place.tile)))[:tiles]
    chosen = place.pool.index[place.tile.isin(names)].reset_index(drop=True)
    return replace(place.pool, index=split(chosen, validation=0.25).reset_index(drop=True))


def once(place: Place, tiles: int, seed: int) -> None:
    """Every way on one draw, unless it was done."""
    out = OUT / "runs" / place.name / f"{tiles}_{seed}"
    try:
        chips = drawn(place, tiles, seed)
    except ChipError as error:
        print(place.name, tiles, seed, error)
        return
    recipe = tuning_recipe(place.start, chips, [f"training.seed={seed}"])
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "tuned": lambda: scored(tune(place.start, chips, out / "tuned", set=[f"training.seed={seed}"]), place.test),
        "trained anew": lambda: scored(train(recipe, chips, out / "anew", set=ANEW), place.test),
        "segmentation-models-pytorch": lambda: library(chips, place, seconds_of(out), seed, out / "smp"),
    }
    for way, run in ways.items():
        path = result(place.name, tiles, seed, way)
        if not path.exists():
            begun = time.monotonic()
            figures = run()
            write(path, {**figures, "seconds": time.monotonic() - begun})
            print(place.name, tiles, seed, way, json.dumps(figures), flush=True)


def seconds_of(out: Path) -> float:
    """The seconds of tuning on the same draw."""
    return float(json.loads((out / "tuned.json").read_text(encoding="utf-8"))["seconds"])


def scored(model: ModelFile, test: ChipFolder) -> dict[str, float]:
    """IoU of the pixels and F1 of the fields on the test chips."""
    predict, total, fields = predictor(model.network()), Counts(), FieldMatches()
    judge = Judge(model, predict, ())
    for number in range(len(test)):
        chip = only_bands(test.read(number), test.bands, model.bands)
        levels, threshold = judge.probability(chip)
        total += count(classes(threshold)[levels], chip.target)
        pixel, reference = model.nearest_pixel(chip.pixel_m), reference_fields(chip)
        if reference is None or pixel.boundary_threshold is None:
            continue
        coarse = at_pixel(chip, pixel.pixel_m)
        outputs = chip_probabilities(coarse, predict, pixel_m=pixel.pixel_m, statistics=model.statistics)
        known, true = coarse.target != UNKNOWN, resized(reference, coarse.target.shape)
        at = (pixel.boundary_threshold,)
        ((_at, found),) = predicted_fields(coarse.pixel_m, *outputs[:2], at=pixel.threshold, thresholds=at)
        fields = fields.plus(matches(found * known, true * known))
    return {"iou": total.iou} | ({"field_f1": fields.f1} if fields.reference else {})


def library(chips: ChipFolder, place: Place, seconds: float, seed: int, out: Path) -> dict[str, float]:
    """The U-Net of a public library in a plain loop, in an environment of its own, for as many seconds."""
    out.mkdir(parents=True, exist_ok=True)
    learn, bands = chips.where(split="train"), ("red", "green", "blue")

    def listed(folder: ChipFolder) -> dict[str, Any]:
        order = [folder.bands.index(band) for band in bands]
        limits = {
            side: [[float(row[band]) for band in order] for row in folder.index[side]] for side in ("low", "high")
        }
        paths = {kind: [str(folder.path / path) for path in folder.index[kind]] for kind in ("image", "label")}
        return {**paths, **limits, "bands": [number + 1 for number in order]}

    crop = tuning_recipe(place.start, chips).sampling.crop
    job = {"learn": listed(learn), "test": listed(place.test), "seconds": seconds, "seed": seed, "size": crop}
    (out / "job.json").write_text(json.dumps({**job, "threads": THREADS, "out": str(out / "p.npz")}), encoding="utf-8")
    python = environments.environment("smp")
    subprocess.run([python, CHILDREN / "with_smp_labels.py", out / "job.json"], check=True)
    total = Counts()
    with np.load(out / "p.npz") as predicted:
        for number in range(len(place.test)):
            mask = (predicted[str(number)] >= 0.5).astype(np.uint8)
            total += count(mask, place.test.read(number).target)
    return {"iou": total.iou}


def found() -> dict[str, Any]:
    """What the runs gave: by place the start's figures and, by way, number of tiles and seed, those of every draw."""
    places = {}
    for start in sorted((OUT / "runs").glob("*/start.json")):
        ways: dict[str, Any] = {}
        for way, tiles, seed in product(WAYS, TILES, SEEDS):
            path = result(start.parent.name, tiles, seed, way)
            draws = ways.setdefault(way, {}).setdefault(str(tiles), {})
            if path.exists():
                draws[str(seed)] = json.loads(path.read_text(encoding="utf-8"))
        places[start.parent.name] = {"start": json.loads(start.read_text(encoding="utf-8")), "ways": ways}
    return places


def restore(places: Mapping[str, Any]) -> None:
    """The files of runs that were made elsewhere, from what was kept of them."""
    for name, place in places.items():
        write(OUT / "runs" / name / "start.json", place["start"])
        for way, draws in place["ways"].items():
            for tiles, seeds in draws.items():
                for seed, figures in seeds.items():
                    write(result(name, int(tiles), int(seed), way), figures)


def result(place: str, tiles: int, seed: int, way: str) -> Path:
    """The file with the figures of one run."""
    return OUT / "runs" / place / f"{tiles}_{seed}" / f"{way.replace(' ', '_')}.json"


def write(path: Path, figures: Mapping[str, float]) -> None:
    """Write figures, unless they are there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(figures))


def tables(places: Mapping[str, Any]) -> None:
    """What stands in docs/how_to/tune.md."""
    for (name, place), (figure, shown) in product(places.items(), FIGURES.items()):
        if not is_known(place, figure):
            continue
        before = f"{place['start'][figure]:.3f}" if figure in place["start"] else "none are told apart"
        print(f"\n{name}, {shown}; before tuning {before}")
        print(f"| way | {' | '.join(map(str, TILES))} |\n|---|{'---|' * len(TILES)}")
        for way, draws in place["ways"].items():
            cells = [spread(values(each, figure)) for each in draws.values()]
            if {*cells} != {"-"}:
                print(f"| {way} | {' | '.join(cells)} |")


def is_known(place: Mapping[str, Any], figure: str) -> bool:
    """Whether any run of a place has a figure."""
    return any(values(draws, figure) for ways in place["ways"].values() for draws in ways.values())


def values(draws: Mapping[str, Mapping[str, float]], figure: str) -> list[float]:
    """One figure of every draw that has it."""
    return [draw[figure] for draw in draws.values() if figure in draw]


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if not values:
        return "-"
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def draw(places: Mapping[str, Any], out: Path) -> None:
    """The curves: a row of IoU and one of the F1 of fields, a column per place; bars of one standard deviation."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 6), layout="constrained")
        every = figure.subplots(len(FIGURES), len(places), squeeze=False)
        for axes, ((kind, shown), (name, place)) in zip(
            every.flat, product(FIGURES.items(), places.items()), strict=True
        ):
            if kind in place["start"]:
                axes.axhline(place["start"][kind], color=INK, linestyle="--", linewidth=1, label="before tuning")
            for colour, (way, draws) in zip(COLOURS, place["ways"].items(), strict=False):
                each = {int(tiles): values(its, kind) for tiles, its in draws.items() if len(values(its, kind)) > 1}
                means, bars = [fmean(its) for its in each.values()], [stdev(its) for its in each.values()]
                axes.errorbar([*each], means, bars, marker="o", capsize=3, color=colour, label=way)
            axes.set_visible(is_known(place, kind))
            axes.set_xscale("log")
            axes.set_xticks(TILES, [*map(str, TILES)])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set(title=name if kind == "iou" else "", ylabel=shown, xlabel="labelled tiles")
        handles, labels = every[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(out, metadata={"Date": None})


def measure() -> dict[str, Any]:
    """Every draw, the smallest first, so that the curves are whole early; those that were kept are not run again."""
    restore(load().get("tune", {}).get("figures", {}))
    for make in (china, rhine, naip):
        place = make()
        start = OUT / "runs" / place.name / "start.json"
        if not start.exists():
            write(start, scored(place.start, place.test))
        for seed in SEEDS:
            for tiles in TILES:
                once(place, tiles, seed)
    return found()


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit(f"no data in {DATA}: name the folder with CROPLAND_DATA")
    if sys.argv[1:] == ["choices"]:
        save("tune_choices", choices)
    elif sys.argv[1:] != ["tables"]:
        save("tune", measure)
    kept = load()
    if "tune_choices" in kept:
        choice_table(kept["tune_choices"]["figures"])
    if "tune" in kept:
        tables(kept["tune"]["figures"])
        draw(kept["tune"]["figures"], PICTURE)
