"""Train the model that ships, from the data to the file: what `make model` does.

python recipes/cropland_rgb.py    (data in ../shared/data or CROPLAND_DATA; everything goes to runs/, and goes on
after a stop)

1. Cut chips: fields with polygons, scenes with drawn labels, patches and blocks of one class.
2. Train three times on all of them; the encoder learns slower or faster.
3. Take the mean of their weights, which holds on more kinds of ground than each (Wortsman et al. 2022,
   arXiv:2203.05482), and train shortly from there.
4. Take the mean of the weights before and after: what ships.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import prepare
from cropland.data.chips import open_chips
from cropland.data.cut import cut_chips
from cropland.data.labels import LabelOptions
from cropland.geo.scene import SceneOptions
from cropland.model import ModelFile
from cropland.recipe import read_recipe
from cropland.training.run_folder import finish
from cropland.training.train import train

RUNS, RECIPE = Path("runs"), Path("recipes") / "cropland_rgb.toml"
WORK, CHIPS, UNFINISHED = RUNS / "data", RUNS / "chips", RUNS / "chips.unfinished"
TRAININGS = {0.1: 6, 0.2: 10, 0.5: 3}  # epochs by encoder_rate; at half of the rate, longer is worse
LAST = (
    "training.epochs=1",
    "training.chips_per_epoch=6400",
    "training.learning_rate=4e-4",
    "training.encoder_rate=0.15",
    "training.ema=0.99",
)
NO_CRS = {"ohio_drone": 0.6, "west_virginia": 1.0, "neon_forest": 0.1}  # metres of a pixel, from the data's README


def main() -> None:
    """Every step; chips that are there are not cut again, and a training goes on where it stopped."""
    cut()
    out = RUNS / "cropland_rgb"
    models = []
    for rate, epochs in TRAININGS.items():
        changed = [f"training.encoder_rate={rate}", f"training.epochs={epochs}"]
        models.append(train(RECIPE, CHIPS, out / f"encoder_rate_{rate}", set=changed))
    middle = mean(models, out / "mean")
    last = train(RECIPE, CHIPS, out / "last", set=[f"network.start={middle.path}", *LAST])
    mean([middle, last], out)


def mean(models: Sequence[ModelFile], out: Path) -> ModelFile:
    """The model whose weights are the mean of those of several trainings, with thresholds of its own."""
    states = [model.network().state_dict() for model in models]
    network = models[0].network()
    network.load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[0]})
    out.mkdir(parents=True, exist_ok=True)
    check = open_chips(CHIPS).where(split="validation")
    return finish(network, read_recipe(RECIPE), check, None, out, trained_on=models[0].trained_on)


def cut() -> None:
    """All chips, unless they are there."""
    data = Path(os.environ.get("CROPLAND_DATA", "../shared/data"))
    if not data.is_dir():
        sys.exit(f"no data in {data}: name the folder with CROPLAND_DATA")
    if not CHIPS.exists():
        shutil.rmtree(UNFINISHED, ignore_errors=True)
        prepare.main(data, WORK)
        cut_fields(data)
        cut_scenes()
        cut_patches()
        UNFINISHED.rename(CHIPS)


def chips(scenes: list[Path], labels: LabelOptions, *, group: str, side: str, size: int, **opening: Any) -> None:
    """Add the chips of some scenes, all to one side of the split."""
    how: dict[str, Any] = {"group": group, "validation": float(side == "validation"), "size": size}
    how |= {"append": UNFINISHED.exists(), "opening": SceneOptions(**opening)}
    print(group, cut_chips(scenes, labels, UNFINISHED, **how))


def cut_fields(data: Path) -> None:
    """NAIP with its polygons, by its own split; Korea's paddies, of whose unnamed ground nothing is known, to learn."""
    naip, korea = data / "naip_us", data / "s2_korea"
    with (naip / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for side in ("train", "validation"):
        scenes = [naip / "images" / f"{row['id']}.png" for row in rows if row["split"].startswith(side[:3])]
        polygons = LabelOptions(naip / "fields.gpkg", background="known")
        chips(scenes, polygons, group="naip", side=side, size=1024, crs="EPSG:4326")
    masks = LabelOptions(korea / "masks", classes="50=1,100=255,*=0")
    chips(sorted((korea / "images").glob("*.tif")), masks, group="korea", side="train", size=512)


def cut_scenes() -> None:
    """The labelled scenes, each place on one side, and water; several dates of a place share its weight.

    Those that validate come first: what lies beside them is left out of what is learnt from.
    """
    for side in ("validation", "train"):
        for place in sorted((WORK / "labelled" / side).iterdir()):
            labels, size = LabelOptions(place / "labels"), 256 if place.name == "parana_1" else 512
            scenes, pixel_m = sorted(place.glob("*.tif")), NO_CRS.get(place.name)
            chips(scenes, labels, group=place.name, side=side, size=size, pixel_m=pixel_m)
    for kind, size in (("whole", 2048), ("patch", 128)):
        water, labels = WORK / "water" / kind, LabelOptions(WORK / "water" / kind / "labels")
        chips(sorted(water.glob("*.tif")), labels, group=f"water-{kind}", side="train", size=size)


def cut_patches() -> None:
    """Single patches to paste; blocks of one class to learn from and, of patches held back, to validate on."""
    for collection in (prepare.EUROSAT, prepare.UCMERCED):
        for kind, classes in (("cropland", collection.crop), ("other", collection.other)):
            whole = LabelOptions(whole=kind)  # type: ignore[arg-type]
            how: dict[str, Any] = {"size": 1024, "pixel_m": collection.pixel_m}
            for name in classes:
                learn, _held_back = prepare.patches(collection, name, WORK)
                chips(learn, whole, group=f"{collection.name}-{name}", side="train", **how)
            for folder in sorted((WORK / "blocks").glob(f"*/{collection.name}-{kind}/*")):
                side = folder.parts[-3]
                group = f"{collection.name}-block-{kind}" if side == "train" else f"{collection.name}-{folder.name}"
                chips(sorted(folder.glob("*.tif")), whole, group=group, side=side, **how)


if __name__ == "__main__":
    main()
