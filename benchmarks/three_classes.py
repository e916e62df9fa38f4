"""Fields by three classes, as Fields of The World finds them, beside cropland's, both trained on the same chips.

    python benchmarks/three_classes.py [RUN] [CHIPS]

RUN is the run folder of a model with a boundary, or its file; CHIPS is the folder it was trained on. The rival is a
U-Net of segmentation-models-pytorch on the same encoder with the same start. It learns the classes background,
interior and boundary from the same crops, as many of them, by the same rates. The training takes hours on two cores,
goes on where it was stopped, and is kept. Then the five tiles of `val_MN_north` are mapped by both, at the same working
pixel, and scored alike. Source: Kerner et al. 2024, Fields of The World, arXiv:2409.16252.
"""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cropland
import environments
from cropland.geo.scene import open_scene
from cropland.model import ModelFile
from cropland.recipe import Recipe, change_recipe
from places import CHILDREN, QUICK, ROOT, ROUNDS, THREADS, WORK
from processes import ChildError, child, in_turn, use_two_cores
from results import save

DATA = Path(os.environ.get("CROPLAND_DATA", ROOT.parent / "shared" / "data")) / "naip_us"
TILES = [DATA / "images" / f"naip_{number}.png" for number in range(35, 40)]
CRS = "EPSG:4326"
OWN = "cropland"
WAYS = {  # as `map_three_classes.py` names them
    "three classes, interiors": "interiors",
    "three classes, watershed": "watershed",
    "three classes, watershed to the likelier side": "likelier side",
}
FIGURES = ("f1", "f1_50_95", "precision", "recall", "over_segmentation", "under_segmentation", "predicted", "reference")
SHORT = ("training.epochs=1", "training.chips_per_epoch=24", "sampling.crop=128")


def measure(run: Path = ROOT / "runs" / "cropland_rgb", chips: Path = ROOT / "runs" / "chips") -> dict[str, Any]:
    """By contender: runs over all tiles, the figures of its fields, and the IoU of its pixels."""
    if missing := [path for path in (run, chips, *TILES) if not path.exists()]:
        sys.exit(f"no {missing[0]}; name a run and its chips, and the folder of the data with CROPLAND_DATA")
    path = run / "model.safetensors" if run.is_dir() else run
    model = ModelFile.read(path)
    if "boundary" not in model.outputs:
        sys.exit(f"{path} has no output boundary; name the run folder of a model that has one")
    recipe = change_recipe(model.recipe, SHORT if QUICK else ())
    crops = recipe.training.epochs * recipe.training.chips_per_epoch
    print(f"Three classes, {crops:,} crops")
    use_two_cores()
    folder = WORK / "three_classes" / (model.digest[:16] + "-quick" * QUICK)
    weights = trained(recipe, chips, folder)
    scenes = [open_scene(tile, crs=CRS) for tile in TILES]
    pixel_m = model.nearest_pixel(scenes[0].pixel_m).pixel_m
    job = {"scenes": [str(tile) for tile in TILES], "crs": CRS, "threads": THREADS}
    theirs = {**job, "bands": recipe.bands, "weights": str(weights), "pixel_m": pixel_m}
    outs = {OWN: folder / OWN, **{name: folder / way.replace(" ", "_") for name, way in WAYS.items()}}
    contenders = {OWN: partial(child, "map_tiles.py", json.dumps({**job, "model": str(path), "out": str(outs[OWN])}))}
    for name, way in WAYS.items():
        words = json.dumps({**theirs, "way": way, "out": str(outs[name])})
        contenders[name] = partial(child, "map_three_classes.py", words, python=str(environments.environment("smp")))
    runs = in_turn(contenders, rounds=ROUNDS)
    return {
        "crops": crops,
        "start": model.recipe.network.start,
        "pixel_m": pixel_m,
        "megapixels": sum(math.prod(scene.shape) for scene in scenes) / 1e6,
        "contenders": {
            name: its.plain if its.missing else {**its.plain, **score(outs[name])} for name, its in runs.items()
        },
        "version": environments.version("smp"),
    }


def trained(recipe: Recipe, chips: Path, folder: Path) -> Path:
    """The weights of the rival, after the hours that its training takes where it is not done."""
    weights = folder / "weights.pt"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        job = {"recipe": recipe.model_dump(mode="json"), "chips": str(chips), "run": str(folder), "threads": THREADS}
        try:
            python = environments.environment("smp")
        except ChildError as error:
            sys.exit(str(error))
        if status := subprocess.run([python, CHILDREN / "train_three_classes.py", json.dumps(job)]).returncode:
            sys.exit(f"the training of three classes ended with status {status}; the same command goes on with it")
    return weights


def score(maps: Path) -> dict[str, Any]:
    """Of the folder of all maps, against the fields that were drawn."""
    found = cropland.evaluate(maps, labels=DATA / "fields.gpkg", background="known")
    fields = found["pooled"]["fields"]
    print(f"  {maps.name:16} field F1 {fields['f1']:.3f}, IoU {found.iou:.3f}", flush=True)
    return {"iou": found.iou, "fields": {name: fields[name] for name in FIGURES}}


if __name__ == "__main__":
    save("three_classes", partial(measure, *map(Path, sys.argv[1:3])))
