"""Train the model that ships, from the data to the file: what `make model` does.

python recipes/cropland_rgb.py    (data in ../shared/data or CROPLAND_DATA; everything goes to runs/, and goes on
after a stop)

1. Cut chips: fields with polygons, scenes with drawn labels, patches and blocks of one class.
2. Train the model on all of them.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import prepare
from cropland.data.cut import cut_chips
from cropland.data.labels import LabelOptions
from cropland.geo.scene import SceneOptions
from cropland.training.train import train

RUNS = Path("runs")
WORK, CHIPS, UNFINISHED = RUNS / "data", RUNS / "chips", RUNS / "chips.unfinished"
NO_CRS = {"ohio_drone": 0.6, "west_virginia": 1.0, "neon_forest": 0.1}  # metres of a pixel, from the data's README


def main() -> None:
    """Every step; chips that are there are not cut again, and a training goes on where it stopped."""
    cut()
    train(Path("recipes") / "cropland_rgb.toml", CHIPS, RUNS / "cropland_rgb")


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
