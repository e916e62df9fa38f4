"""Training: it learns, it survives kill -9 bit by bit, and it says what is wrong."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from chip_folder import write_chips
from cropland.data.batches import Sampler, batches, cumulated, group_probabilities
from cropland.data.chips import ChipFolder
from cropland.demo import TILE
from cropland.errors import ChipError, CroplandError, ModelError, RecipeError
from cropland.model import ModelFile, build_network
from cropland.recipe import Recipe, parse_recipe, read_recipe
from cropland.training.memory import kept_bytes
from cropland.training.optimizer import accumulate, make_objective
from cropland.training.train import _sentence, train
from cropland.training.validate import ValidationScore
from notebooks import write_notebook

SMALL = {
    "name": "tiny",
    "network": {"options": {"width": 4, "encoder_options": {"width": 4, "depth": 2}}},
    "sampling": {"crop": 32, "scale": [1.0, 1.5]},
    "augmentation": {"window_percentiles": 0.2},
    "training": {"epochs": 4, "chips_per_epoch": 48, "batch": 4, "learning_rate": 0.02, "ema": 0.8},
}


def recipe(**training: object) -> Recipe:
    """The small recipe with some values of its training changed."""
    return parse_recipe({**SMALL, "training": {**SMALL["training"], **training}})


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> ChipFolder:
    return write_chips(tmp_path_factory.mktemp("chips") / "folder")


@pytest.fixture(scope="module")
def trained(chips: ChipFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return train(recipe(), chips, tmp_path_factory.mktemp("runs") / "whole")


def test_it_learns_and_leaves_what_a_person_looks_at(trained: ModelFile) -> None:
    (pixel,) = trained.working_pixels
    assert pixel.pixel_m == 2.0 and pixel.iou > 0.8 and 0 < pixel.threshold < 1
    assert trained.path is not None
    run = trained.path.parent
    rows = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3] and rows[-1]["loss"] < rows[0]["loss"]
    for name in ("curves.png", "validation.png", "model.json", "plan.json", "state.pt"):
        assert (run / name).stat().st_size > 0, name


def test_the_model_file_loads_again_and_is_of_half_precision(trained: ModelFile) -> None:
    assert trained.path is not None
    again = ModelFile.load(trained.path)
    assert again.header() == trained.header() and again.radius is not None
    weights = load_file(trained.path)
    assert weights["head.weight"].dtype == "float16" and weights["head.bias"].dtype == "float32"
    assert again.network()(torch.zeros(1, 3, 33, 40)).shape == (1, 1, 33, 40)


def test_the_model_says_how_sure_to_be_and_where_it_was_trained(
    trained: ModelFile, chips: ChipFolder, tmp_path: Path
) -> None:
    assert trained.temperature is not None and 0.1 < trained.temperature < 10
    assert {"validation_ece", "validation_ece_calibrated"} <= trained.metrics.keys()
    again = ModelFile.load(trained.path)
    assert again.trained_on == trained.trained_on and again.temperature == trained.temperature
    learn = chips.index["split"] == "train"
    assert again.trained_on.overlaps(chips.index).tolist() == learn.tolist() and again.trained_on.is_complete
    few = {"training": {"epochs": 1, "chips_per_epoch": 4, "batch": 4}}
    groups = {"sampling": {**SMALL["sampling"], "groups": {"g0": 1.0}}}
    start = {"network": {**SMALL["network"], "start": str(trained.path)}}
    on_g0 = train(parse_recipe({**SMALL, **few, **groups}), chips, tmp_path / "g0")
    drawn = learn & (chips.index["group"] == "g0")
    assert on_g0.trained_on.overlaps(chips.index).tolist() == drawn.tolist()
    after = train(parse_recipe({**SMALL, **few, **groups, **start}), chips, tmp_path / "after")
    assert after.trained_on == trained.trained_on
    older = dataclasses.replace(trained, trained_on=None).save(tmp_path / "older.safetensors", load_weights(trained))
    start["network"]["start"] = str(older.path)
    unknown = train(parse_recipe({**SMALL, **few, **groups, **start}), chips, tmp_path / "unknown")
    assert not unknown.trained_on.is_complete
    assert unknown.trained_on.overlaps(chips.index).tolist() == drawn.tolist()


def load_weights(model: ModelFile) -> dict[str, torch.Tensor]:
    return model.network().state_dict()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_or_the_last_epoch_becomes_the_model(keep: str, chips: ChipFolder, tmp_path: Path) -> None:
    small, run = recipe(epochs=1, chips_per_epoch=4, keep=keep), tmp_path / "run"
    train(small, chips, run)
    state = torch.load(run / "state.pt", weights_only=True)
    state["place"]["best"]["head.weight"].zero_()
    torch.save(state, run / "state.pt")
    weights = load_weights(train(small, chips, run))["head.weight"]
    assert torch.equal(weights == 0, torch.full_like(weights, keep == "best", dtype=torch.bool))


def test_the_boundary_is_learnt_beside_the_cropland(trained: ModelFile, chips: ChipFolder, tmp_path: Path) -> None:
    both = parse_recipe({**recipe().model_dump(), "outputs": ["cropland", "boundary"], "boundary": {"width_m": 8.0}})
    model = train(both, chips, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert model.outputs == ("cropland", "boundary") and model.working_pixels[0].iou > 0.8
    assert rows[-1]["boundary_iou"] > max(0.3, rows[0]["boundary_iou"] - 0.05)
    start = {
        "network": {**SMALL["network"], "start": str(trained.path)},
        "training": {"epochs": 1, "chips_per_epoch": 4},
    }
    after = train(parse_recipe({**both.model_dump(), **start}), chips, tmp_path / "after")
    kept = float(trained.network().state_dict()["head.bias"]), after.network().state_dict()["head.bias"]
    assert kept[1].shape == (2,) and float(kept[1][0]) == pytest.approx(kept[0], abs=0.05)
    (pixel,) = ModelFile.load(model.path).working_pixels
    assert 0 < pixel.boundary_threshold <= 0.5 and pixel.field_f1 > 0.5
    assert trained.working_pixels[0].boundary_threshold is None
    header = json.loads((chips.path / "chips.json").read_text(encoding="utf-8"))
    old = dataclasses.replace(chips, header={**header, "version": 1})
    with pytest.raises(RecipeError, match=r"outputs = \['boundary'\]: chips teach \['cropland'\], "):
        train(both.model_copy(update={"outputs": ("boundary",)}), chips, tmp_path / "swapped")
    with pytest.raises(ChipError, match=r"before chips kept the boundaries .* cut it again"):
        train(both, old, tmp_path / "old")


def test_paths_and_values_laid_over_do_in_a_notebook(
    chips: ChipFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("training.epochs=1", "training.chips_per_epoch=4", "training.batch=4")
    whole = train(recipe(), chips, "here", set=few)
    written = tmp_path / "tiny.toml"
    written.write_text(
        'name = "tiny"\n[network.options]\nwidth = 4\nencoder_options = { width = 4, depth = 2 }\n'
        "[sampling]\ncrop = 32\nscale = [1.0, 1.5]\n[augmentation]\nwindow_percentiles = 0.2\n"
        "[training]\nlearning_rate = 0.02\nema = 0.8\n",
        encoding="utf-8",
    )
    again = train(str(written), str(chips.path), set=few)
    assert again.path == Path("runs") / "tiny" / "model.safetensors" and again.recipe == whole.recipe
    assert again.path.read_bytes() == (tmp_path / "here" / "model.safetensors").read_bytes()
    with pytest.raises(RecipeError, match="epoch"):
        train(recipe(), chips, "there", set=["training.epoch=1"])


RUN = """
import sys
from pathlib import Path
import torch
from cropland.data.chips import open_chips
from cropland.recipe import parse_recipe
from cropland.training import train as module
module.SAVE_EVERY_S = 0.0
torch.set_num_threads(1)
module.train(parse_recipe(eval(sys.argv[3])), open_chips(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_killed_at_any_moment_it_ends_at_the_same_bits(chips: ChipFolder, tmp_path: Path) -> None:
    def start(run: Path) -> subprocess.Popen[bytes]:
        values = recipe(epochs=2).model_dump(mode="json")
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(chips.path), str(run), repr(values)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole, broken = start(tmp_path / "whole"), start(tmp_path / "broken")
    deadline = time.monotonic() + 300
    while not (tmp_path / "broken" / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.05)
    broken.kill()
    broken.wait()
    assert not (tmp_path / "broken" / "model.safetensors").exists(), "killed too late to prove anything"
    assert whole.wait(300) == 0 and start(tmp_path / "broken").wait(300) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all((one[name] == other[name]).all() for name in one) and one.keys() == other.keys()


def test_a_run_begun_with_another_recipe_is_not_continued(trained: ModelFile, chips: ChipFolder) -> None:
    assert trained.path is not None
    with pytest.raises(RecipeError, match="begun with another recipe"):
        train(recipe(batch=2), chips, trained.path.parent)


def test_accumulation_gives_the_gradients_of_the_whole_batch(chips: ChipFolder) -> None:
    """Without batch statistics (channel_norm), micro-batches of 1, 2 and 4 agree."""
    values = {**SMALL, "network": {"options": {"norm": "channel_norm", "width": 4, "encoder_options": {"width": 4}}}}
    small = parse_recipe(values)
    torch.manual_seed(0)
    network = build_network(small).double()
    batch = next(batches(Sampler(chips.where(split="train"), small), 0))
    batch = batch._replace(image=batch.image.double(), target=batch.target.double())
    gradients = []
    for micro in (1, 2, 4):
        network.zero_grad()
        accumulate(network, batch, make_objective(small.loss), micro=micro)
        gradients.append(torch.cat([w.grad.flatten() for w in network.parameters() if w.grad is not None]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-5, atol=1e-7)


def test_crops_depend_on_seed_epoch_and_index_only(chips: ChipFolder) -> None:
    learn = chips.where(split="train")
    whole = list(batches(Sampler(learn, recipe()), 1))
    rest = list(batches(Sampler(learn, recipe()), 1, first=7))
    assert len(whole) == 12 and len(rest) == 5
    assert all(
        torch.equal(a.image, b.image) and torch.equal(a.target, b.target) for a, b in zip(whole[7:], rest, strict=True)
    )
    assert not torch.equal(
        next(batches(Sampler(learn, recipe()), 2)).image, next(batches(Sampler(learn, recipe()), 1)).image
    )


def test_groups_are_drawn_by_their_weights(chips: ChipFolder) -> None:
    learn = chips.where(split="train")
    probability = group_probabilities(learn, {"g0": 3.0, "g*": 1.0})
    assert probability.sum() == pytest.approx(1)
    assert probability[(learn.index["group"] == "g0").to_numpy()].sum() == pytest.approx((3 + 0.5) / 4)
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    drawn = [cumulated(probability).searchsorted(one.random(), side="right") for _ in range(200)]
    assert drawn == [other.choice(len(probability), p=probability) for _ in range(200)]
    with pytest.raises(ChipError, match="no training chip of group 'x'; the folder has: g0, g1"):
        group_probabilities(learn, {"x": 1.0})


def test_activations_are_counted() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8))
    image = torch.zeros(1, 3, 32, 32)
    statistics = network[1].running_var.clone()
    kept = kept_bytes(network, image)
    assert 4 * 32 * 32 * (3 + 8) <= kept <= 4 * 32 * 32 * (3 + 8 + 8) + 4096
    assert torch.equal(network[1].running_var, statistics), "a trial must leave no trace"


def test_fixed_radiometry_is_the_median_of_the_training_chips(chips: ChipFolder, tmp_path: Path) -> None:
    model = train(
        parse_recipe({**SMALL, "radiometry": {"kind": "fixed"}} | {"training": {"epochs": 1}}), chips, tmp_path
    )
    assert model.statistics is not None
    assert (model.statistics.low, model.statistics.high) == ((30.0,) * 3, (160.0,) * 3)


def test_what_is_wrong_is_said(chips: ChipFolder, tmp_path: Path) -> None:
    with pytest.raises(ChipError, match="the recipe also wants nir"):
        train(parse_recipe({**SMALL, "bands": ["nir"]}), chips, tmp_path / "a")
    with pytest.raises(ChipError, match="0 validation chips"):
        train(recipe(), write_chips(tmp_path / "one_side", validation=0), tmp_path / "b")
    with pytest.raises(ModelError, match=r"gave \(2, 3, 32, 64\)"):
        flat = tmp_path / "flat.py"
        flat.write_text(
            "import torch\nclass Net(torch.nn.Module):\n    forward = lambda self, x: x[:, :, ::2]\n", encoding="utf-8"
        )
        train(parse_recipe({**SMALL, "network": {"name": f"{flat}:Net"}}), chips, tmp_path / "c")
    with pytest.raises(CroplandError, match=r"not finite on chip c\d.*learning_rate"):
        train(recipe(learning_rate=1e30), chips, tmp_path / "d")


def test_a_network_of_a_notebook_with_traps_trains_and_maps_elsewhere(chips: ChipFolder, tmp_path: Path) -> None:
    home, away = tmp_path / "其他 folder", tmp_path / "away"
    write_notebook(home / "零件.ipynb", "raise SystemExit", "from torch import nn\nActivation = nn.ReLU")
    notebook = write_notebook(
        home / "实 验.ipynb",
        "%matplotlib inline\n!pip install nothing\nfrom torch import nn",
        "from 零件 import Activation\nwidth = 3",
        "class Net(nn.Module): pass",
        "1 / 0",
        "width = 6\ndef block(a, b):\n    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), Activation())",
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.net = nn.Sequential(nn.MaxPool2d(2), block(3, width), nn.Conv2d(width, 2, 1))\n"
        "        self.up = nn.Upsample(scale_factor=2)\n    def forward(self, x):\n        return self.up(self.net(x))",
        "net = Net()\nfor epoch in range(10**9): print(epoch)\nplt.plot(losses)",
    )
    written = tmp_path / "recipes" / "mine.toml"
    written.parent.mkdir()
    text = (
        '[network]\nname = "../其他 folder/实 验.ipynb:Net"\n[training]\nepochs = 1\nchips_per_epoch = 8\nbatch = 4\n'
    )
    written.write_text(text + "[sampling]\ncrop = 32\n", encoding="utf-8")
    model = train(read_recipe(written), chips, tmp_path / "run")
    assert model.path is not None and model.radius is not None
    shutil.rmtree(home)
    away.mkdir()
    command = [sys.executable, "-m", "cropland", "map", TILE, "--model", model.path, "--out", away / "map"]
    environment = {**os.environ, "CROPLAND_CACHE": str(away / "cache")}
    refused = subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert refused.returncode == 2 and "实 验.py:Net" in refused.stderr and "--trust" in refused.stderr
    shown = subprocess.run(
        [*command[:3], "show", model.path], cwd=away, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert "class Net(nn.Module):" in shown.stdout and "SystemExit" not in shown.stdout
    mapped = subprocess.run(
        [*command, "--trust"], cwd=away, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert mapped.returncode == 0, mapped.stderr
    assert (away / "map" / "mask.tif").exists() and not notebook.exists()


def test_names_of_code_in_options_are_not_run_either(trained: ModelFile, tmp_path: Path) -> None:
    options = {**SMALL["network"]["options"], "norm": "torch.nn:Identity"}
    mine = trained.recipe.network.model_copy(update={"options": options})
    other = dataclasses.replace(trained, recipe=trained.recipe.model_copy(update={"network": mine}))
    saved = other.save(tmp_path / "model.safetensors", {})
    with pytest.raises(ModelError, match=r"torch\.nn:Identity.*trust=True"):
        ModelFile.load(saved.path)


@pytest.mark.parametrize(("share", "said"), [(1.0, "everything"), (0.0, "nothing")])
def test_a_model_that_says_one_thing_only_is_called_out_the_second_time(share: float, said: str) -> None:
    rows = [{"epoch": epoch, "loss": 1.0, "share": share} for epoch in (0, 1)]
    score = ValidationScore((), iou=0.3, share=share)
    assert said in _sentence(rows, score) and "learning_rate" in _sentence(rows, score)
    assert "learning_rate" not in _sentence(rows[:1], score)
    assert "learning_rate" not in _sentence([{**rows[0], "share": 0.5}, rows[1]], score)
