"""Chips by a model: who is counted where, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from cropland.data.chips import ChipFolder, open_chips
from cropland.errors import ChipError
from cropland.evaluation.counts import Counts
from cropland.evaluation.judge import Judge
from cropland.evaluation.model_on_chips import choose_chips, on_chips
from cropland.model import WorkingPixel
from evaluation import small_evaluation


@pytest.fixture
def folder(tmp_path: Path) -> ChipFolder:
    return open_chips(small_evaluation.write_chips(tmp_path / "chips"))


def judge(**changes: object) -> Judge:
    model = small_evaluation.model(**changes)
    return Judge(model, lambda values: logit(values[:1].clip(0.01, 0.99)), (10.0, 20.0))


def test_every_chip_is_counted_in_its_group(folder: ChipFolder):
    parts = {part.name: part for part in on_chips(folder, judge())}
    assert parts["fields_0"].total.counts == Counts(tp=512, tn=512)
    assert parts["fields_1"].total.counts == Counts(tp=384, tn=384)
    assert parts["sea_0"].total.counts == Counts(fp=256, tn=768)
    assert parts["sea_0"].groups.keys() == {"sea"} and parts["sea_0"].groups["sea"].counts.false_alarm == 0.25
    assert parts["fields_0"].total.levels.sum() == 1024


def test_the_threshold_is_that_of_the_working_pixel(folder: ChipFolder):
    strict = judge(working_pixels=(WorkingPixel(10.0, 0.9, 0.95), WorkingPixel(200.0, 0.9, 0.5)))
    part = next(on_chips(folder, strict))
    assert part.total.counts == Counts(fn=512, tn=512)
    blurred = next(on_chips(folder, replace(strict, working_pixel_m=200.0)))
    assert blurred.total.counts.tp == 512


def test_groups_by_any_column(folder: ChipFolder):
    assert [set(part.groups) for part in on_chips(folder, judge(), by="source")] == [{"s"}] * 3


def test_a_picture_shows_bright_cropland(folder: ChipFolder):
    picture = next(on_chips(folder, judge())).draw()
    assert picture.rgb is not None and picture.rgb.shape == (32, 32, 3)
    assert (picture.prediction == picture.reference).all()


def test_chips_that_do_not_suit_are_refused(folder: ChipFolder):
    model = small_evaluation.model()
    assert len(choose_chips(folder, model, split="all", by="group")) == 3
    with pytest.raises(ChipError, match=r"no chip of split 'train' \(3 validation\)"):
        choose_chips(folder, model, split="train", by="group")
    with pytest.raises(ChipError, match="no column 'state'; it has id,"):
        choose_chips(folder, model, split="all", by="state")
    with pytest.raises(ChipError, match="has bands blue, nir; the model also wants red"):
        choose_chips(replace(folder, bands=("blue", "nir")), model, split="all", by="group")


def test_no_data_in_a_chip_counts_nowhere(folder: ChipFolder, monkeypatch: pytest.MonkeyPatch):
    read = ChipFolder.read

    def holed(self: ChipFolder, number: int):
        chip = read(self, number)
        valid = np.ones_like(chip.image.valid)
        valid[:16] = False
        return replace(chip, image=replace(chip.image, valid=valid))

    monkeypatch.setattr(ChipFolder, "read", holed)
    assert next(on_chips(folder, judge())).total.counts == Counts(tp=256, tn=256)
