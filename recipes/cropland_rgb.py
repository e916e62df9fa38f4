"""Train the model that ships, from the data to the file: what `make model` does.

python recipes/cropland_rgb.py    (data in ../shared/data or CROPLAND_DATA; everything goes to runs/, and goes on
after a stop)
python recipes/cropland_rgb.py describe    (fit the temperature of the model that ships, and record the ground of its
training chips, without training: its weights stay as they are)

1. Cut chips: fields with polygons, patches and blocks of one class, water.
2. Train a teacher. It maps the scenes of which only the water is known; where it is sure, its map becomes a label.
3. Train the model from the teacher's weights on all of it.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import rasterio

import prepare
from cropland.cli import main as cropland
from cropland.data.chips import open_chips
from cropland.data.ground import TrainingGround
from cropland.model import ModelFile, default_model, read_header, read_weights, write
from cropland.training.validate import validate
from cropland.writers.stac import write_model_item

RUNS = Path("runs")
WORK, CHIPS = RUNS / "data", RUNS / "chips"
SURE_CROP, SURE_OTHER = 0.9 * 254, 0.1 * 254


def main() -> None:
    """Every step in order; a step whose result is there is passed over."""
    cut()
    train("teacher")
    if not (WORK / "sure").exists():
        label_scenes()
    train("cropland_rgb", "--set", f"network.start={RUNS / 'teacher' / 'model.safetensors'}")


def cut() -> None:
    """All chips but those that a teacher labels, unless they are there."""
    data = Path(os.environ.get("CROPLAND_DATA", "../shared/data"))
    if not data.is_dir():
        sys.exit(f"no data in {data}: name the folder with CROPLAND_DATA")
    if not CHIPS.exists():
        prepare.main(data, WORK)
        cut_fields(data)
        cut_patches()
        cut_water()


def describe() -> None:
    """Write the header of the model that ships anew: its temperature by the validation chips, and its training ground.

    The scenes that a teacher labels are those whose water is known, so their ground is among these chips.
    """
    cut()
    folder, path = open_chips(CHIPS), default_model()
    model = ModelFile.load(path)
    score = validate(model.network(), model.recipe, folder.where(split="validation"), model.statistics)
    header = read_header(path) | {
        "temperature": score.temperature,
        "metrics": {**model.metrics, **score.calibration_errors},
        "trained_on": TrainingGround.of(folder.where(split="train").index).to_json(),
    }
    write(path, read_weights(path), header)
    write_model_item(header, path, path.with_suffix(".json"))
    run("show", path)


def run(*words: str | Path) -> None:
    """One command line of cropland; the script ends where it fails."""
    print("cropland", *words)
    if status := cropland([str(word) for word in words]):
        sys.exit(status)


def chips(scenes: list[Path], *words: str | Path) -> None:
    """Add the chips of some scenes."""
    run("chips", *scenes, "--out", CHIPS, *(["--append"] if CHIPS.exists() else []), *words)


def cut_fields(data: Path) -> None:
    """NAIP by its own split; Korea's paddies, of whose unnamed ground nothing is known, all to learn from."""
    naip, korea = data / "naip_us", data / "s2_korea"
    with (naip / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for side, start in (("train", "train"), ("validation", "val")):
        scenes = [naip / "images" / f"{row['id']}.png" for row in rows if row["split"].startswith(start)]
        options = ("--crs", "EPSG:4326", "--labels", naip / "masks", "--size", "1024")
        chips(scenes, *options, "--group", "naip", "--split", side)
    options = ("--labels", korea / "masks", "--classes", "50=1,100=255,*=0", "--size", "512")
    chips(sorted((korea / "images").glob("*.tif")), *options, "--group", "korea", "--split", "train")


def cut_patches() -> None:
    """Single patches to learn from; blocks of one class to learn from and, of patches held back, to validate on."""
    for collection in (prepare.EUROSAT, prepare.UCMERCED):
        pixel = ("--pixel-m", str(collection.pixel_m), "--size", "1024")
        for kind, classes in (("crop", collection.crop), ("other", collection.other)):
            whole = ("--whole", "cropland" if kind == "crop" else "other")
            group = f"{collection.name}-{kind}"
            learn = [path for name in classes for path in prepare.patches(collection, name, WORK)[0]]
            chips(learn, *whole, *pixel, "--group", group, "--split", "train")
            blocks = WORK / "blocks"
            train_group = ("--group", f"{collection.name}-block-{kind}", "--split", "train")
            chips(sorted((blocks / "train" / group).glob("*/*.tif")), *whole, *pixel, *train_group)
            chips(sorted((blocks / "validation" / group).glob("*/*.tif")), *whole, *pixel, "--split", "validation")


def cut_water() -> None:
    """The scenes with near infrared, whole for their water to be pasted, and in patches for open water alone."""
    learn, patches = WORK / "water" / "learn", WORK / "water" / "patches"
    for scene in [*learn.glob("*.tif"), *learn.glob("labels/*.tif")]:
        # A chip folder wants every scene under a name of its own.
        copy = patches / scene.relative_to(learn).parent / f"patch_{scene.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(scene.read_bytes())
    for folder, group, size in ((learn, "water", "4096"), (patches, "water-patch", "64")):
        scenes, labels = sorted(folder.glob("*.tif")), folder / "labels"
        chips(scenes, "--labels", labels, "--size", size, "--group", group, "--split", "train")


def label_scenes() -> None:
    """Where the teacher is sure its map becomes the label; water stays water; the rest stays unknown.

    In North Dakota only its cropland is taken: what it does not call cropland there is hay and pasture as often as not.
    """
    learn, maps = WORK / "water" / "learn", WORK / "maps"
    scenes = sorted(learn.glob("*.tif"))
    run("map", *scenes, "--model", RUNS / "teacher" / "model.safetensors", "--out", maps, "--overwrite")
    hidden = WORK / ".sure"
    (hidden / "labels").mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        with rasterio.open(learn / "labels" / scene.name) as file:
            water, profile = file.read(1), file.profile
        with rasterio.open(maps / scene.stem / "probability.tif") as file:
            probability = file.read(1)
        label = np.where((probability >= SURE_CROP) & (probability != 255), 1, 255)
        if "m_47" not in scene.name:
            label[probability <= SURE_OTHER] = 0
        label[water == 0] = 0
        with rasterio.open(hidden / "labels" / f"sure_{scene.name}", "w", **profile) as file:
            file.write(label.astype(np.uint8), 1)
        (hidden / f"sure_{scene.name}").write_bytes(scene.read_bytes())
    hidden.rename(WORK / "sure")
    scenes = sorted((WORK / "sure").glob("*.tif"))
    options = ("--size", "4096", "--group", "scenes", "--split", "train")
    chips(scenes, "--labels", WORK / "sure" / "labels", *options)


def train(name: str, *words: str | Path) -> None:
    """Train a recipe into runs/NAME, or go on with it."""
    run("train", Path("recipes") / f"{name}.toml", "--chips", CHIPS, "--out", RUNS / name, *words)


if __name__ == "__main__":
    describe() if sys.argv[1:] == ["describe"] else main()
