"""Chips that a model was trained on are refused in one line, or counted where they are wanted."""

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

import chip_folder
from cropland.data.ground import TrainingGround
from cropland.errors import ChipError
from cropland.evaluation.training_chips import refuse_training_chips
from cropland.language import shown
from evaluation import small_evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return chip_folder.write_chips(tmp_path_factory.mktemp("chips") / "folder", train=3, validation=2)


def test_training_chips_are_refused_and_validation_chips_are_not(folder):
    model = small_evaluation.model(trained_on=TrainingGround.of(folder.where(split="train").index))
    with pytest.raises(ChipError) as caught:
        refuse_training_chips(folder, model, allow=False)
    line = shown(caught.value, "en")
    assert "3 of 5 chips" in line and "such as c0:" in line and "\n" not in line
    assert "--split" in line and "--allow-training-chips" in line and str(folder.path) in line
    assert refuse_training_chips(folder.where(split="validation"), model, allow=False) == []
    (note,) = refuse_training_chips(folder, model, allow=True)
    assert note == "3 of 5 chips lie on ground that the model was trained on"


def test_a_model_that_does_not_say_gives_a_note(folder):
    (note,) = refuse_training_chips(folder, small_evaluation.model(), allow=False)
    assert "does not say what it was trained on" in note
    elsewhere = TrainingGround(shapely.box(100, 20, 101, 21), {}, is_complete=False)
    (note,) = refuse_training_chips(folder, small_evaluation.model(trained_on=elsewhere), allow=False)
    assert "weights that the model started from" in note


def test_a_place_is_recognised_under_another_name(tmp_path: Path):
    from cropland.data.chips import open_chips

    placed = open_chips(small_evaluation.write_chips(tmp_path / "placed"))
    ground = TrainingGround.of(gpd.GeoDataFrame(placed.index.iloc[:1].assign(source="another name")))
    with pytest.raises(ChipError, match="3 of 3 chips"):  # all of this folder lie on one square
        refuse_training_chips(placed, small_evaluation.model(trained_on=ground), allow=False)
