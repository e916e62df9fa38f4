"""Tuning: a model goes on with a few chips, keeps what is to stay, and is never worse on validation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import cropland
from chip_folder import write_chips
from cropland.cli import main
from cropland.data.batches import Sampler
from cropland.data.chips import ChipFolder
from cropland.demo import TILE
from cropland.errors import ChipError, ModelError, RecipeError
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window
from cropland.model import ModelFile, WorkingPixel, build_network, default_model
from cropland.recipe import parse_recipe
from cropland.training import train as module
from cropland.training.optimizer import mixed, set_frozen
from cropland.training.train import train, tune
from cropland.training.tuning import named_model, replayed, tuning_recipe
from cropland.training.validate import predictor

TINY = {
    "name": "tiny",
    "network": {"options": {"width": 4, "encoder_options": {"width": 4, "depth": 2}}},
    "sampling": {"crop": 32, "scale": [1.0, 1.5], "groups": {"g0": 1.0}, "paste": 0.5, "paste_groups": {"g0": 1.0}},
    "training": {"epochs": 2, "chips_per_epoch": 32, "batch": 4, "learning_rate": 0.02, "ema": 0.8},
    "validation": {"working_pixels": [2.0, 30.0]},
}
FEW = ("training.epochs=2", "training.chips_per_epoch=16", "training.batch=4")


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> ChipFolder:
    return write_chips(tmp_path_factory.mktemp("chips") / "folder")


@pytest.fixture(scope="module")
def start(chips: ChipFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return train(parse_recipe(TINY), chips, tmp_path_factory.mktemp("runs") / "start")


def test_the_recipe_is_the_models_without_what_its_own_chips_decided(start: ModelFile, chips: ChipFolder):
    recipe = tuning_recipe(start, chips, ["training.epochs=7"])
    assert recipe.name == "tiny_tuned" and recipe.network.start == str(start.path) and recipe.training.epochs == 7
    assert recipe.network.options == start.recipe.network.options and recipe.bands == start.bands
    sampling = recipe.sampling
    assert not sampling.groups and not sampling.paste and not sampling.paste_groups and not sampling.scales
    assert recipe.validation.working_pixels == (2.0,), "the one at which such chips are mapped"
    training = recipe.training
    assert training.frozen_norm and training.mix and training.frozen == 1 and 0 < training.replay < 0.5


@pytest.mark.parametrize(("edge", "crop"), [(20, 32), (64, 64), (120, 96), (1024, 256)])
def test_a_crop_is_no_larger_than_the_chips(edge: int, crop: int, chips: ChipFolder):
    resized = dataclasses.replace(chips, index=chips.index.assign(height=edge, width=edge + 5))
    assert tuning_recipe(ModelFile.load(default_model()), resized).sampling.crop == crop


def test_a_band_that_the_chips_lack_is_named(start: ModelFile, chips: ChipFolder):
    fewer = dataclasses.replace(chips, bands=("red", "green"))
    with pytest.raises(ChipError, match=r"has the bands red, green, and the model tiny also wants blue"):
        tuning_recipe(start, fewer)


def test_the_encoder_and_the_statistics_stay_as_long_as_they_are_told(start: ModelFile):
    network = start.network()
    held = start.recipe.training.model_copy(update={"frozen": 0.5, "frozen_norm": False})
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    inside = [module for module in network.encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    network.train()
    set_frozen(network, held, 0.4)
    assert not any(weight.requires_grad for weight in network.encoder.parameters())
    assert all(weight.requires_grad for weight in network.units.parameters())
    assert [norm.training for norm in norms] == [norm not in inside for norm in norms]
    set_frozen(network, held, 0.5)
    assert all(weight.requires_grad for weight in network.parameters()) and all(norm.training for norm in norms)
    set_frozen(network, held.model_copy(update={"frozen_norm": True}), 0.9)
    assert not any(norm.training for norm in norms) and all(weight.requires_grad for weight in network.parameters())


def test_what_a_network_holds_still_itself_stays_so(start: ModelFile):
    network = start.network().train()
    network.encoder.requires_grad_(False)
    set_frozen(network, start.recipe.training, 0.9)
    assert not any(weight.requires_grad for weight in network.encoder.parameters())


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
"""


def test_a_model_with_code_of_its_own_is_tuned_once_it_is_trusted(chips: ChipFolder, tmp_path: Path):
    (tmp_path / "net.py").write_text(OWN, encoding="utf-8")
    own = parse_recipe({**TINY, "name": "own", "network": {"name": str(tmp_path / "net.py") + ":Net"}})
    path = train(own, chips, tmp_path / "own").path
    with pytest.raises(ModelError, match="allow it with"):
        named_model(path)
    tuned = tune(named_model(path, trust=True), chips, tmp_path / "tuned", set=FEW)
    assert tuned.name == "own_tuned" and tuned.working_pixels[0].iou > 0


def test_between_the_start_and_the_end_lie_the_weights_between(start: ModelFile):
    one, other = start.network().state_dict(), build_network(start.recipe).state_dict()
    for name, weight in mixed(one, other, 0.25).items():
        between = one[name] * 0.75 + other[name] * 0.25 if weight.is_floating_point() else other[name]
        torch.testing.assert_close(weight, between)
    whole = mixed(one, other, 0.0)
    assert all(torch.equal(whole[name], weight) for name, weight in one.items() if weight.is_floating_point())


def test_tuning_moves_the_weights_keeps_the_statistics_and_says_what_it_kept(
    start: ModelFile, chips: ChipFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tuned = tune(start, chips, tmp_path / "run", set=FEW)
    assert "validation IoU" in capsys.readouterr().out.splitlines()[-1]
    before, after = start.network().state_dict(), tuned.network().state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    assert tuned.metrics["validation_iou"] >= start.metrics["validation_iou"] - 0.01
    assert tuned.trained_on.overlaps(chips.index).any()
    assert tuned.working_pixels[0].threshold == start.working_pixels[0].threshold, "a few chips say too little of it"


@pytest.mark.parametrize(("key", "value"), [("mix", True), ("replay", 0.2)])
def test_what_keeps_something_of_a_start_wants_one(key: str, value: float, chips: ChipFolder, tmp_path: Path):
    with pytest.raises(RecipeError, match=rf"training\.{key} wants a model to start from"):
        train(parse_recipe({**TINY, "training": {**TINY["training"], key: value}}), chips, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_replayed_are_the_models_own_answers_where_it_is_sure(chips: ChipFolder, tmp_path: Path):
    model = ModelFile.load(default_model())
    known = replayed(model, predictor(model.network()), tmp_path / "replay")
    assert known is not None and {*known.index["source"]} == {"naip_minnesota", "sentinel2_delmarva"}
    told = np.concatenate([known.read(number).target.ravel() for number in range(len(known))])
    assert {*np.unique(told)} == {0, 1, 255} and np.mean(told == 255) < 0.2
    mask, agreeing = cropland.Model(model).map(TILE).mask.values[0], []
    for number, row in enumerate(known.index.itertuples()):
        if row.source == "naip_minnesota":
            part, label = Window(row.row, row.col, row.height, row.width), known.read(number).target
            agreeing.append(mask[part.slices][label != 255] == label[label != 255])
    assert np.mean(np.concatenate(agreeing)) > 0.97  # but for small holes, and the edges of chips

    sampler = Sampler(chips.where(split="train"), tuning_recipe(model, chips, ["training.replay=0.3"]), replay=known)
    names = [sampler.crop(0, index)[1] for index in range(500)]
    replayed_names = [name for name in names if name in {*known.index["id"]}]
    assert 0.25 < len(replayed_names) / len(names) < 0.35 and {*replayed_names} == {*known.index["id"]}


def test_only_samples_that_a_model_would_map_are_replayed(chips: ChipFolder, tmp_path: Path):
    def sources(name: str, **changed) -> set[str]:
        model = dataclasses.replace(ModelFile.load(default_model()), **changed)
        known = replayed(model, lambda values: values[:1], tmp_path / name)
        assert known is None or len(replayed(model, None, tmp_path / name)) == len(known), "it is there"
        return set() if known is None else {*known.index["source"]}

    def of(*bands: str) -> dict[str, object]:
        return {"recipe": parse_recipe({**TINY, "bands": bands})}

    assert sources("nir", **of("nir", "red")) == {"sentinel2_delmarva"} and not sources("swir", **of("swir1"))
    assert sources("fine", working_pixels=(WorkingPixel(0.5, 0.9, 0.5),)) == {"naip_minnesota"}
    assert sources("coarse", working_pixels=(WorkingPixel(10.0, 0.9, 0.5),)) == {"sentinel2_delmarva"}
    assert not sources("fixed", statistics=Statistics(("red", "green", "blue"), (0.0,) * 3, (1.0,) * 3))


def test_a_tuning_that_was_stopped_goes_on_at_the_same_bits(
    start: ModelFile, chips: ChipFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = tune(start, chips, tmp_path / "whole", set=FEW)
    assert (tmp_path / "whole" / "replay" / "chips").is_dir()
    steps, step = iter(range(3)), module.take_step
    monkeypatch.setattr(module, "take_step", lambda *given, **named: (next(steps), step(*given, **named))[1])
    with pytest.raises(StopIteration):
        tune(start, chips, tmp_path / "broken", set=FEW)
    monkeypatch.setattr(module, "take_step", step)
    before, after = (each.network().state_dict() for each in (whole, tune(start, chips, tmp_path / "broken", set=FEW)))
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_a_training_that_goes_wrong_leaves_the_model_as_it_was(start: ModelFile, chips: ChipFolder, tmp_path: Path):
    wild = tune(start, chips, tmp_path / "run", set=[*FEW, "training.learning_rate=3.0", "training.clip=0"])
    before, after = start.network().state_dict(), wild.network().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "no share of the change is kept"


def test_models_are_named_by_their_file_or_as_they_ship(start: ModelFile):
    assert named_model("cropland_rgb").path == default_model() and named_model(start) is start
    with pytest.raises(ModelError, match="no model nowhere"):
        named_model("nowhere")


@pytest.mark.parametrize("given", [[], ["recipe.toml", "--tune", "cropland_rgb"]])
def test_a_recipe_or_a_model_is_given(given: list[str], chips: ChipFolder, capsys: pytest.CaptureFixture[str]):
    assert main(["train", *given, "--chips", str(chips.path)]) == 2
    assert "give a recipe, or --tune MODEL" in capsys.readouterr().err
