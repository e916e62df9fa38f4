"""What helped: short trainings of the shipped recipe with one thing changed, and with one place left out.

    python recipes/what_helped.py          run what is missing, then print the tables (hours on two cores; resumes)
    python recipes/what_helped.py tables   print the tables of what is there

Needs the chips that recipes/cropland_rgb.py cuts into runs/chips, and the data in ../shared/data or CROPLAND_DATA.
Results and models go to runs/what_helped. The tables in docs/explanation/what_helped.md are what it prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cropland.data.chips import ChipFolder, open_chips
from cropland.files import write_json
from cropland.recipe import Recipe, parse_recipe, read_recipe
from cropland.training import run_folder
from cropland.training.train import train
from figures import has_both, on_chips, on_minnesota

RUNS, OUT = Path("runs"), Path("runs/what_helped")
SHORT = (
    "training.epochs=1",
    "training.chips_per_epoch=2000",
    "sampling.crop=192",
    "validation.working_pixels=[2.0, 10.0, 30.0]",
)
SEEDS = (0, 1, 2)
BLOCKS = ("eurosat-block-other", "eurosat-block-cropland", "ucmerced-block-other", "ucmerced-block-cropland")
POLYGONS = ("naip", "korea", *BLOCKS)  # the data before scenes were labelled
PLACES = ("upper_rhine", "amazon", "delmarva", "kalimantan", "west_virginia")
Values = dict[str, Any]


def scaled(groups: Mapping[str, float], share: float) -> dict[str, float]:
    """The weights of groups with the blocks of patches as this share of all."""
    natural = sum(weight for name, weight in groups.items() if name not in BLOCKS)
    artificial = sum(groups[name] for name in BLOCKS)
    factor = share / (1 - share) * natural / artificial
    return {name: weight * (factor if name in BLOCKS else 1) for name, weight in groups.items()}


def variants(values: Values) -> dict[str, Values]:
    """The recipe as it ships and with one thing changed, by name."""
    groups, sampling, augmentation = values["sampling"]["groups"], values["sampling"], values["augmentation"]
    few = {name: weight for name, weight in groups.items() if name in POLYGONS}
    scales = {name: scale for name, scale in sampling["scales"].items() if name in few or name == "ucmerced-*"}
    pasted = {
        name: weight for name, weight in sampling["paste_groups"].items() if name not in ("water-whole", "kalimantan")
    }
    return {
        "as it ships": {},
        "without the labelled scenes": {
            "sampling": {**sampling, "groups": few, "scales": scales, "paste_groups": pasted}
        },
        "fields with one light": {"augmentation": {**augmentation, "fields": 0.0}},
        "half of it artificial": {"sampling": {**sampling, "groups": scaled(groups, 0.5), "paste": 0.5}},
        "without the boundary": {"outputs": ["cropland"]},
        "boundary weighs 3": {"boundary": {**values["boundary"], "weight": 3.0}},
    }


def run() -> None:
    """Train and score what has no result yet."""
    folder = open_chips(RUNS / "chips")
    held_patches = (folder.index["split"] == "validation") & folder.index["group"].str.match("eurosat|ucmerced")
    folder = replace(folder, index=folder.index[~held_patches].reset_index(drop=True))  # in no table, and long to score
    values = read_recipe(Path("recipes/cropland_rgb.toml"), SHORT).model_dump(mode="json")
    for seed in SEEDS:
        seeded = {**values, "training": {**values["training"], "seed": seed}}
        for name, changed in variants(seeded).items():
            once(f"{name}/{seed}", parse_recipe({**seeded, **changed}), folder)
    for place in PLACES:
        groups = {name: weight for name, weight in values["sampling"]["groups"].items() if name != place}
        pasted = {name: weight for name, weight in values["sampling"]["paste_groups"].items() if name != place}
        scales = {name: scale for name, scale in values["sampling"]["scales"].items() if name != place}
        sampling = {**values["sampling"], "groups": groups, "paste_groups": pasted, "scales": scales}
        # Its water, too, which is cut again under the name of its scenes.
        elsewhere = ~folder.index["source"].str.contains(place)
        without = replace(folder, index=folder.index[elsewhere].reset_index(drop=True))
        if place == "west_virginia":  # its neighbour keeps the weight of the two
            sampling["groups"] = {("virginia" if name == "*virginia" else name): w for name, w in groups.items()}
            sampling["scales"] = {("virginia" if name == "*virginia" else name): s for name, s in scales.items()}
        once(f"left out/{place}", parse_recipe({**values, "sampling": sampling}), without)


def once(name: str, recipe: Recipe, folder: ChipFolder) -> None:
    """Train, unless it was done, and score the fields of `val_MN_north` and the places that may be left out."""
    out = OUT / name.replace(" ", "_")
    if (out / "result.json").exists():
        return
    print(name)
    model, every = train(recipe, folder, out), open_chips(RUNS / "chips")
    validated = run_folder.read(out)[-1]
    found = {"mean": validated["iou"], "boundary_iou": validated.get("boundary_iou"), "held": validated["places"]}
    if name.startswith(("as it ships/", "left out/")):
        of_places = every.index["group"].isin(PLACES) & (every.index["split"] == "train")
        counts, _ = on_chips(model, replace(every, index=every.index[of_places].reset_index(drop=True)))
        found["learnt"] = {place: its.iou if has_both(its) else 1 - its.false_alarm for place, its in counts.items()}
    if not name.startswith("left out/"):
        found["field_f1"] = on_minnesota(out / "model.safetensors").field_f1
    write_json(out / "result.json", found)
    (out / "state.pt").unlink()


def tables() -> None:
    """What stands in docs/explanation/what_helped.md."""
    found = {
        path.parent.relative_to(OUT).as_posix(): json.loads(path.read_text()) for path in OUT.glob("*/*/result.json")
    }
    recipe = read_recipe(Path("recipes/cropland_rgb.toml")).model_dump(mode="json")
    names = [name.replace(" ", "_") for name in variants(recipe)]
    columns = {
        "mean over places": lambda its: its["mean"],
        "val_MN_north": lambda its: its["held"]["naip"],
        "coast, ponds": lambda its: fmean(its["held"][name] for name in ("carolina_coast", "kalimantan")),
        "boundary IoU": lambda its: its["boundary_iou"],
        "field F1@0.5": lambda its: its["field_f1"],
    }
    print(f"| changed | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in names:
        seeds = [its for each, its in found.items() if each.split("/")[0] == name]
        cells = [spread([column(its) for its in seeds]) for column in columns.values()]
        print(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    print("\n| place left out | learnt from | left out |\n|---|---|---|")
    for place in PLACES:
        if without := found.get(f"left_out/{place}"):
            seeds = [its["learnt"][place] for each, its in found.items() if each.startswith("as_it_ships/")]
            print(f"| {place} | {spread(seeds)} | {without['learnt'][place]:.3f} |")


def spread(values: list[Any]) -> str:
    """Mean and standard deviation over the seeds."""
    known = [value for value in values if value is not None and value == value]
    if not known:
        return "-"
    return f"{fmean(known):.3f}" + (f" ± {stdev(known):.3f}" if len(known) > 1 else "")


if __name__ == "__main__":
    if sys.argv[1:] != ["tables"]:
        run()
    tables()
