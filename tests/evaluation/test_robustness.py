"""What each perturbation does to an image, and how much of a map it changes: laws, and figures worked out by hand."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rich.console import Console
from rich.table import Table
from scipy.ndimage import uniform_filter
from scipy.special import logit

from cropland.data.chips import Chip, ChipFolder, open_chips
from cropland.errors import InputError
from cropland.evaluation import robustness as module
from cropland.evaluation.counts import Counts
from cropland.evaluation.judge import Judge
from cropland.evaluation.model_on_chips import on_chips
from cropland.evaluation.robustness import (
    Effect,
    Perturbation,
    Robustness,
    Stretched,
    blur,
    brightness,
    compared,
    contrast,
    effect,
    gamma,
    haze,
    missing_band,
    noise,
    perturbations,
    quantise,
    resize,
    resize_back,
    robustness,
    saturate,
    shift,
    shift_back,
    signed,
    stretch,
    turn,
    turn_back,
    wavelength_um,
)
from cropland.evaluation.score import add_up
from cropland.geo.scene import Image
from cropland.geo.statistics import Statistics, percentiles
from evaluation import small_evaluation

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.sampled_from([0, 1, 255]))


def stretched(values: np.ndarray, valid: np.ndarray | None = None, *, name: str = "a") -> Stretched:
    values = np.asarray(values, np.float64)
    valid = np.ones(values.shape[1:], bool) if valid is None else valid
    return Stretched(values, valid, ("red", "green", "blue")[: len(values)], 1.0, name)


def chip(values: np.ndarray, target: np.ndarray | None = None, *, name: str = "a", valid: np.ndarray | None = None):
    shape = values.shape[1:]
    target = (values[0] >= 128).astype(np.uint8) if target is None else target
    image = Image(values.astype(np.float32), np.ones(shape, bool) if valid is None else valid)
    return Chip(image, target, name, "g", 10.0, (0.0,) * len(values), (255.0,) * len(values))


@dataclass(frozen=True, eq=False)
class InMemory(ChipFolder):
    chips: dict[str, Chip] = field(default_factory=dict)

    def read(self, number: int) -> Chip:
        return self.chips[self.index["id"].iloc[number]]


def folder_of(*chips: Chip) -> InMemory:
    rows = [{"id": each.id, "group": each.group, "source": "s", "block": n // 2} for n, each in enumerate(chips)]
    return InMemory(Path(), ("red",), gpd.GeoDataFrame(rows), {}, {each.id: each for each in chips})


def pointwise(values: np.ndarray) -> np.ndarray:
    """A network that takes the first band for the probability."""
    return logit(values[:1].clip(0.001, 0.999))


def judge(predict: Any = pointwise, **changes: object) -> Judge:
    return Judge(small_evaluation.model(**changes), predict, (10.0,))


def bytes_of(seed: int, height: int = 24, width: int = 31) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width))


def only(monkeypatch: pytest.MonkeyPatch, *table: Perturbation[Any]) -> None:
    monkeypatch.setattr(module, "perturbations", lambda _bands, *, seed: table)


# What each does to an image.


@given(masks, st.integers(-2, 2), st.integers(-2, 2))
def test_a_shifted_mask_comes_back_except_where_it_has_moved_out(mask: np.ndarray, rows: int, cols: int):
    moved = shift(stretched(mask[None]), (rows, cols)).values[0].astype(np.uint8)
    back = shift_back(moved, (rows, cols), shape=mask.shape)
    height, width = mask.shape
    stays = np.zeros(mask.shape, bool)
    stays[max(0, -rows) : max(0, height - max(0, rows)), max(0, -cols) : max(0, width - max(0, cols))] = True
    np.testing.assert_array_equal(back, np.where(stays, mask, 255))


def test_a_shift_moves_down_and_right():
    moved = shift(stretched([[[1, 2, 3], [4, 5, 6]]]), (1, 1)).values[0]
    np.testing.assert_array_equal(moved, [[1, 1, 2], [1, 1, 2]])


@given(masks, st.integers(0, 3), st.booleans())
def test_a_turned_mask_comes_back(mask: np.ndarray, quarters: int, mirrored: bool):
    turned = turn(stretched(mask[None], mask != 255), (quarters, mirrored))
    np.testing.assert_array_equal(turned.valid, turned.values[0] != 255)
    back = turn_back(turned.values[0].astype(np.uint8), (quarters, mirrored), shape=mask.shape)
    np.testing.assert_array_equal(back, mask)


def test_the_named_turns_are_what_they_say():
    image = np.arange(6.0).reshape(1, 2, 3)
    steps = {
        str(name): amount
        for perturbation in perturbations(["red"])
        if perturbation.change is turn
        for name, amount in perturbation.steps.items()
    }
    for name, expected in (("left to right", np.fliplr), ("top to bottom", np.flipud), ("90°", np.rot90)):
        np.testing.assert_array_equal(turn(stretched(image), steps[name]).values[0], expected(image[0]))
    assert len(set(steps.values())) == 5


def test_light():
    """Golden: by the formulas."""
    values = stretched([[[-0.25, 0.0, 0.25, 0.5, 1.0, 1.44]]])
    for found, expected in (
        (brightness(values, 1.2), [-0.3, 0, 0.3, 0.6, 1.2, 1.728]),
        (contrast(values, 0.8), [-0.1, 0.1, 0.3, 0.5, 0.9, 1.252]),
        (gamma(values, 0.5), [-0.5, 0, 0.5, 0.5**0.5, 1, 1.2]),
        (saturate(values, (0.0, 1.0)), [0, 0, 0.25, 0.5, 1, 1]),
        (quantise(values, 3), [0, 0, 0, 0.5, 1, 1.5]),
    ):
        np.testing.assert_allclose(found.values[0, 0], expected, atol=1e-12)


def test_haze_is_a_white_veil_that_is_thinner_in_red_than_in_blue():
    """Golden: 20 % at 0.48 um; in red, at 0.65 um, 0.2 (0.65 / 0.48)^-0.7 = 0.162; a band of no sensor has the 20 %."""
    assert wavelength_um("red") == pytest.approx(0.655, abs=0.02) and wavelength_um("lidar") is None
    dark = replace(stretched(np.zeros((3, 1, 1))), bands=("red", "blue", "lidar"))
    red, blue, unknown = haze(dark, 0.2).values[:, 0, 0]
    assert red == pytest.approx(0.162, abs=0.004) and blue == pytest.approx(0.2, abs=0.003) and unknown == 0.2
    assert haze(stretched(np.ones((3, 1, 1))), 0.2).values == pytest.approx(1)


def test_blur_keeps_a_flat_image_and_no_data_never_bleeds_in():
    valid = np.random.default_rng(0).random((20, 20)) > 0.4
    values = np.where(valid, 0.7, 1e9)[None]
    np.testing.assert_allclose(blur(stretched(values, valid), 1.5).values[0][valid], 0.7)


def test_blur_of_a_point_is_a_gaussian():
    point = np.zeros((1, 21, 21))
    point[0, 10, 10] = 1
    found = blur(stretched(point), 2.0).values[0]
    offset = np.arange(-10, 11)
    expected = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 2.0**2))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-4)


def test_noise_has_its_deviation_and_follows_from_seed_and_name_alone():
    flat = stretched(np.zeros((2, 100, 100)))
    first = noise(flat, (0.05, 3)).values
    assert first.std() == pytest.approx(0.05, rel=0.02) and abs(np.corrcoef(first[0].flat, first[1].flat)[0, 1]) < 0.05
    np.testing.assert_array_equal(first, noise(flat, (0.05, 3)).values)
    np.testing.assert_allclose(first, 5 * noise(flat, (0.01, 3)).values)
    assert not np.array_equal(first, noise(flat, (0.05, 4)).values)
    assert not np.array_equal(first, noise(replace(flat, id="b"), (0.05, 3)).values)


def test_the_stretch_of_a_window_is_that_of_its_own_percentiles():
    raw, valid = bytes_of(1).astype(np.float32), np.random.default_rng(2).random((24, 31)) > 0.2
    own = percentiles(raw, valid, ["red"])
    expected = (raw - own.low[0]) / (own.high[0] - own.low[0])
    found = stretch(stretched((raw.astype(np.float64) - 40) / 130, valid), (2, 98)).values
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_window_without_contrast_or_data_has_a_stretch_too():
    flat = np.full((1, 10, 10), 0.3)
    flat[0, 0, 0] = 0.9
    found = stretch(stretched(flat), (2, 98)).values
    assert found[0, 0, 0] == pytest.approx(0.6) and (found[0, 1:] == 0).all()
    empty = stretched(np.full((1, 3, 3), 0.3), np.zeros((3, 3), bool))
    assert (stretch(empty, (2, 98)).values == 0.3).all()


def test_pixels_of_another_size():
    """Golden: the means of blocks, and each class on all the pixels that it came from."""
    larger = resize(stretched(np.arange(16.0).reshape(1, 4, 4)), 2.0)
    np.testing.assert_allclose(larger.values[0], [[2.5, 4.5], [10.5, 12.5]])
    assert larger.pixel_m == 2.0
    classes = np.array([[0, 1], [255, 0]], np.uint8)
    np.testing.assert_array_equal(resize_back(classes, 2.0, shape=(4, 4)), np.kron(classes, np.ones((2, 2), np.uint8)))
    for ratio, pixels in ((0.5, [1, 3, 5, 7]), (1.4, [0, 1, 1, 2, 3, 3, 4])):
        line = np.arange(10 if ratio < 1 else 5, dtype=np.uint8)[None]
        assert resize_back(line, ratio, shape=(1, len(pixels)))[0].tolist() == pixels
    for ratio in (0.5, 0.7, 1.0, 1.4, 2.0):
        flat = resize(stretched(np.full((1, 9, 14), 0.4)), ratio)
        np.testing.assert_allclose(flat.values, 0.4, atol=1e-6)
        assert resize_back(flat.valid.astype(np.uint8), ratio, shape=(9, 14)).shape == (9, 14)


def test_a_missing_band_is_what_an_empty_one_is_normalised_to():
    raw = np.stack([bytes_of(0)[0], np.zeros((24, 31)), bytes_of(1)[0]]).astype(np.float32)
    valid = np.ones((24, 31), bool)
    file = percentiles(raw, valid, ["red", "green", "blue"]).normalise(raw, valid)
    found = missing_band(stretched(np.ones((3, 24, 31))), "green").values
    assert (found[1] == file[1]).all() and (found[[0, 2]] == 1).all()


# How much of a map changes.


NOTHING = (
    Perturbation("shift", shift, {"": (0, 0)}, shift_back),
    Perturbation("turn", turn, {"": (0, False)}, turn_back),
    Perturbation("brightness", brightness, {"": 1.0}),
    Perturbation("contrast", contrast, {"": 1.0}),
    Perturbation("gamma", gamma, {"": 1.0}),
    Perturbation("haze", haze, {"": 0.0}),
    Perturbation("blur", blur, {"": 0.0}),
    Perturbation("noise", noise, {"": (0.0, 0)}),
    Perturbation("resize", resize, {"": 1.0}, resize_back),
    Perturbation("missing", missing_band, {"": "nir"}),
)


@pytest.mark.parametrize("perturbation", NOTHING, ids=lambda perturbation: perturbation.name)
@pytest.mark.parametrize("statistics", [None, Statistics(("red",), (13.0,), (190.0,))], ids=["scene", "fixed"])
def test_no_amount_of_a_perturbation_changes_nothing(
    perturbation: Perturbation[Any], statistics: Statistics | None, monkeypatch: pytest.MonkeyPatch
):
    only(monkeypatch, perturbation)
    seen = []

    def predict(values: np.ndarray) -> np.ndarray:
        seen.append(values)
        return pointwise(values)

    found = robustness(folder_of(chip(bytes_of(0))), judge(predict, statistics=statistics))
    assert found.figures["perturbations"][perturbation.name]["changed"] == 0.0
    assert found.pooled(perturbation.name, "").before.total == 24 * 31
    if perturbation.name != "resize":  # which computes in single precision
        np.testing.assert_array_equal(*seen)


def test_shifts_and_flips_change_nothing_for_a_model_that_looks_at_single_pixels():
    found = robustness(folder_of(chip(bytes_of(0))), judge())
    for name, known in (("shift by one pixel", {23 * 31, 24 * 30}), ("flips and turns", {24 * 31})):
        perturbation = next(perturbation for perturbation in found.perturbations if perturbation.name == name)
        assert found.changed(perturbation) == 0
        assert {found.pooled(name, step).before.total for step in perturbation.steps} == known


def test_a_shift_of_a_constant_image_changes_nothing_and_one_of_an_edge_does():
    def mean(values: np.ndarray) -> np.ndarray:
        return pointwise(uniform_filter(values, (1, 3, 3), mode="nearest"))

    images = np.full((1, 9, 9), 200), bytes_of(0, 9, 9)
    flat, edges = (robustness(folder_of(chip(image)), judge(mean)) for image in images)
    for name in ("shift by one pixel", "blur"):
        assert flat.figures["perturbations"][name]["changed"] == 0 < edges.figures["perturbations"][name]["changed"]


def test_brightness_changes_the_pixels_that_cross_the_threshold():
    """Golden, in the 254 levels of a probability: 0.8 takes 127 to 158 below one half, 1.2 takes 106 to 126 above."""
    values = np.arange(256).reshape(1, 16, 16)
    found = robustness(folder_of(replace(chip(values, (values[0] >= 127).astype(np.uint8)), high=(254.0,))), judge())
    darker, brighter = (found.pooled("brightness", step) for step in ("-20 %", "+20 %"))
    assert darker == Effect(32, Counts(tp=129, tn=127), Counts(tp=97, fn=32, tn=127))
    assert brighter == Effect(21, Counts(tp=129, tn=127), Counts(tp=129, fp=21, tn=106))
    its = found.figures["perturbations"]["brightness"]
    assert its["changed"] == pytest.approx((32 + 21) / 2 / 256)
    assert its["steps"]["-20 %"]["iou_difference"] == pytest.approx(97 / 129 - 1)
    assert its["steps"]["+20 %"]["area_change"] == pytest.approx(21 / 129)
    assert found.worst("brightness")[0] == "-20 %"


def test_brightness_of_a_model_with_fixed_radiometry_is_in_its_own_stretch():
    """Golden: from 100 to 200, 0.8 takes 150 to 162 (of 0.5 to 0.62) below one half."""
    values = np.arange(256).reshape(1, 16, 16)
    fixed = judge(statistics=Statistics(("red",), (100.0,), (200.0,)))
    assert robustness(folder_of(chip(values)), fixed).pooled("brightness", "-20 %").changed == 13


def test_256_levels_of_an_image_of_8_bits_change_nothing():
    values = stretched(bytes_of(5) / 255)
    np.testing.assert_array_equal(quantise(values, 256).values, values.values)
    levels = robustness(folder_of(chip(bytes_of(5))), judge()).figures["perturbations"]["fewer levels"]["steps"]
    assert levels["256"]["changed"] == 0 < levels["64"]["changed"]


def test_the_order_of_chips_changes_nothing():
    chips = [chip(bytes_of(n), name=f"c{n}") for n in range(4)]
    first, second = (robustness(folder_of(*order), judge(), seed=7) for order in (chips, chips[::-1]))
    by_id = {part.id: part.effects for part in second.parts}
    assert all(part.effects == by_id[part.id] for part in first.parts)
    other = robustness(folder_of(*chips), judge(), seed=8)
    assert other.pooled("noise", "5 %") != first.pooled("noise", "5 %")
    assert other.pooled("haze", "30 %") == first.pooled("haze", "30 %")


@given(st.data(), array_shapes(min_dims=2, max_dims=2, max_side=5))
def test_unknown_pixels_never_count(data: st.DataObject, shape: tuple[int, int]):
    three = st.sampled_from([0, 1, 255])
    perturbed, mask, reference = (data.draw(arrays(np.uint8, shape, elements=three)) for _ in range(3))
    known = [each for each in zip(perturbed.flat, mask.flat, reference.flat, strict=True) if 255 not in each]
    found = effect(perturbed, mask, reference)
    assert found.changed == sum(a != b for a, b, _ in known)
    for counts, which in ((found.before, 1), (found.after, 0)):
        pairs = [(each[which], each[2]) for each in known]
        assert counts == Counts(*map(pairs.count, ((1, 1), (1, 0), (0, 1), (0, 0))))


def test_no_data_and_unknown_labels_of_a_chip_count_nowhere():
    target, valid = np.ones((24, 31), np.uint8), np.ones((24, 31), bool)
    target[:5], valid[:, :3] = 255, False
    found = robustness(folder_of(chip(bytes_of(0), target, valid=valid)), judge())
    step = found.pooled("brightness", "-20 %")
    assert step.before.total == step.after.total == found.figures["unchanged"]["known"] == 19 * 28


@pytest.fixture
def folder(tmp_path: Path) -> ChipFolder:
    return open_chips(small_evaluation.write_chips(tmp_path / "chips"))


def test_without_a_perturbation_the_counts_are_those_of_the_evaluation(folder: ChipFolder):
    found = robustness(folder, judge())
    whole = add_up(part.total for part in on_chips(folder, judge())).counts
    assert sum((part.unchanged for part in found.parts), Counts()) == whole
    assert found.figures["unchanged"]["iou"] == whole.iou


def test_sums_over_chips_are_the_pooled_figures(folder: ChipFolder):
    found = robustness(folder, judge())
    for perturbation in found.perturbations:
        for step, its in found.figures["perturbations"][perturbation.name]["steps"].items():
            each = [part.effects[perturbation.name, step] for part in found.parts]
            known = sum(one.after.total for one in each)
            assert its["changed"] == sum(one.changed for one in each) / known and its["known"] == known
            assert its["tp"] == sum(one.after.tp for one in each)


# The choice of chips, and what a person sees.


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 40))
def test_chips_are_spread_evenly_over_groups(groups: list[str], most: int):
    chosen = module._spread(groups, most)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(most, len(groups))
    taken = {group: sum(groups[number] == group for number in chosen) for group in set(groups)}
    short = [group for group in taken if taken[group] < max(taken.values()) - 1]
    assert all(taken[group] == groups.count(group) for group in short)


def test_chips_of_a_group_are_spread_over_the_folder():
    assert module._spread(["a"] * 100, 4) == [12, 37, 62, 87]


def test_at_most_so_many_chips_and_it_is_said(folder: ChipFolder):
    found = robustness(folder, judge(), most=2)
    assert [part.group for part in found.parts] == ["fields", "sea"]
    assert found.note == "Measured on 2 of 3 chips, spread evenly over the groups."
    assert (found.figures["chips"], found.figures["of_chips"]) == (2, 3)


def test_the_interval_is_over_blocks_and_holds_the_number():
    chips = [chip(bytes_of(n), name=f"c{n}") for n in range(8)]
    found = robustness(folder_of(*chips), judge())
    low, high = found.figures["perturbations"]["brightness"]["interval"]
    assert low < found.figures["perturbations"]["brightness"]["changed"] < high
    alone = robustness(folder_of(*chips[:2]), judge())
    assert alone.figures["perturbations"]["brightness"]["interval"] is None


def test_the_interval_of_two_blocks():
    """Golden: of two blocks with shares of 0 and 1 one draws 0, 1/2, 1/2 or 1; the interval is the whole range."""
    steps = {True: Effect(10, Counts(tp=10), Counts(fn=10)), False: Effect(0, Counts(tp=10), Counts(tp=10))}
    parts = [
        module.ChipEffects(f"{worst}", "g", f"{worst}", Counts(tp=10), {("a", "s"): steps[worst]}) for worst in steps
    ]
    perturbation = Perturbation("a", brightness, {"s": 1.0})
    found = Robustness("m", 0, 2, tuple(parts), (perturbation,))
    assert found.sums(perturbation).tolist() == [[0, 10], [10, 10]]
    assert found.figures["perturbations"]["a"]["interval"] == [0, 1]


def printed(table: Table) -> str:
    text = io.StringIO()
    Console(width=200, file=text).print(table)
    return text.getvalue()


def test_the_table_has_a_row_for_each_perturbation(folder: ChipFolder):
    found = robustness(folder, judge())
    lines = printed(found.table()).splitlines()
    assert len(lines) == 2 + len(found.perturbations)
    row = next(line for line in lines if "missing band" in line)
    # Without red nothing is cropland: 1152 of 2816 known pixels change, a quarter to a half in each chip, a block each.
    assert row.split() == ["missing", "band", "40.9", "25.0", "to", "50.0", "red", "40.9", "0.0", "-77.8"]


def test_a_reference_of_one_class_has_no_iou_and_still_a_share_that_changes():
    found = robustness(folder_of(chip(bytes_of(0), np.ones((24, 31), np.uint8))), judge())
    its = found.figures["perturbations"]["brightness"]["steps"]["-20 %"]
    assert its["iou"] is its["iou_difference"] is None and its["changed"] > 0
    assert "–" in printed(found.table()) and "nan" not in found.section()


def test_chips_without_a_known_pixel_have_no_figures():
    found = robustness(folder_of(chip(bytes_of(0), np.full((24, 31), 255, np.uint8))), judge())
    assert found.figures["perturbations"]["haze"]["changed"] is None and found.worst("haze") is None
    assert "–" in printed(found.table())
    ElementTree.fromstring(found.svg())


def test_the_figure_has_a_row_for_each_perturbation_the_most_sensitive_first(folder: ChipFolder):
    found = robustness(folder, judge())
    picture = ElementTree.fromstring(found.svg())
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    rows = [text for text in texts if text in found.figures["perturbations"]]
    assert rows == sorted(
        found.figures["perturbations"], key=lambda name: -found.figures["perturbations"][name]["changed"]
    )
    dots = list(picture.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == sum(len(perturbation.steps) for perturbation in found.perturbations)
    assert all(165 <= float(dot.get("cx")) <= 495 for dot in dots)


def test_the_part_of_the_report_shows_every_step_and_escapes_names():
    table = perturbations(["<b>"])
    effects = {
        (perturbation.name, step): Effect(1, Counts(tp=9, tn=1), Counts(tp=8, fn=1, tn=1))
        for perturbation in table
        for step in perturbation.steps
    }
    part = module.ChipEffects("c", "g", "b", Counts(tp=9, tn=1), effects)
    text = Robustness("m", 0, 1, (part,), table).section()
    assert text.count("<tr>") == 1 + len(table) + len(effects)
    assert "&lt;b&gt;</td>" in text and "<b></td>" not in text
    assert "None" not in text and "nan" not in text
    assert text.count(">10.0</td>") == len(effects) and text.count(">-11.1</td>") == 2 * len(effects)


def test_two_models_are_compared_on_the_same_chips():
    chips = [chip(bytes_of(n), name=f"c{n}") for n in range(6)]
    first = robustness(folder_of(*chips), judge())

    def smooth(values: np.ndarray) -> np.ndarray:
        return pointwise(uniform_filter(values, (1, 3, 3), mode="nearest"))

    second = robustness(folder_of(*chips), judge(smooth))
    row = next(line for line in printed(compared(first, second)).splitlines() if "shift" in line)
    assert row.split()[4] == "0.0" and float(row.split()[5]) > 0 and row.split()[6] == f"-{row.split()[5]}"
    same = printed(compared(first, first)).splitlines()[1:]
    assert len(same) == len(first.perturbations) and all("+0.0" in line and "0.0 to 0.0" in line for line in same)
    with pytest.raises(InputError, match="measure both on one chip folder"):
        compared(first, robustness(folder_of(*chips[:3]), judge()))


def test_a_difference_has_its_sign():
    assert [signed(value) for value in (0.0123, -0.1, -0.0001, None)] == ["+1.2", "-10.0", "+0.0", "–"]


@pytest.mark.parametrize(("wrong", "line"), [({"seed": -1}, "give 0 or more"), ({"most": 0}, "give 1 or more")])
def test_bad_input_is_one_line(wrong: dict[str, int], line: str, folder: ChipFolder):
    with pytest.raises(InputError, match=line):
        robustness(folder, judge(), **wrong)


def test_a_missing_band_is_each_band_of_the_model():
    for bands in (("red",), ("nir", "red", "green", "blue"), ("b1", "b2")):
        its = perturbations(bands)[-1]
        assert tuple(its.steps) == bands
        names = [perturbation.name for perturbation in perturbations(bands)]
        assert len(set(names)) == len(names)
