"""Parts add up to groups and to the whole, as plain JSON; the interval is that of blocks."""

import json

import numpy as np
import pytest

from cropland.evaluation.counts import Counts
from cropland.evaluation.score import Part, Picture, add_up, compared, figures, metrics, score

METRES = (2.0, 5.0)


def part(seed: int, *, group: str = "a", block: str | None = None, cropland: float = 0.5) -> Part:
    rng = np.random.default_rng(seed)
    true = (rng.random((20, 20)) < cropland).astype(np.uint8)
    probability = rng.integers(0, 255, true.shape).astype(np.uint8)
    said = (probability > 127).astype(np.uint8)
    its = score(said, true, pixel_m=(1.0, 1.0), tolerances_m=METRES, probability=probability)
    return Part(f"chip {seed}", its, {group: its}, block or str(seed), lambda: Picture(None, said, true))


def interval(parts: list[Part], name: str = "iou") -> tuple[float, float]:
    return metrics(parts, tolerances_m=METRES, complete=True)["pooled"]["intervals"][name]


def test_pooled_figures_are_those_of_all_pixels_together():
    parts = [part(1), part(2, group="b"), part(3, group="b")]
    found = metrics(parts, tolerances_m=METRES, complete=True)
    pooled = add_up(each.total for each in parts).counts
    assert found["pooled"]["iou"] == pooled.iou and found["pooled"]["tp"] == pooled.tp
    assert found["all_cropland"]["iou"] == pooled.all_cropland.iou
    assert found["groups"]["b"]["parts"] == 2
    assert found["groups"]["b"]["tp"] == parts[1].total.counts.tp + parts[2].total.counts.tp
    assert found["mean_of_parts"]["iou"] == pytest.approx(np.mean([each.total.counts.iou for each in parts]))
    assert [row["name"] for row in found["parts"]] == ["chip 1", "chip 2", "chip 3"]
    assert found["pooled"]["boundary_f1"].keys() == {"2", "5"}


def test_figures_are_plain_json_without_nan():
    found = metrics([part(1, cropland=0.0)], tolerances_m=METRES, complete=True)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["pooled"]["recall"] is None and found["pooled"]["false_alarm"] > 0
    assert found["thresholds"] is None


def test_where_only_one_class_is_known_comparisons_say_nothing():
    sea, rice = figures(Counts(fp=1, tn=3)), figures(Counts(tp=3, fn=1))
    assert {name for name, value in sea.items() if value is not None} == {"false_alarm", "accuracy"}
    assert {name for name, value in rice.items() if value is not None} == {"recall", "accuracy"}
    found = metrics([part(1), part(2, cropland=0.0)], tolerances_m=METRES, complete=True)
    assert found["mean_of_parts"]["iou"] == found["parts"][0]["iou"] and found["parts"][1]["boundary_f1"]["2"] is None


def test_best_threshold_is_where_the_curve_is_highest():
    found = metrics([part(1), part(2)], tolerances_m=METRES, complete=True)["thresholds"]
    assert found["best_iou"] >= max(iou for _, iou in found["curve"])


def test_the_interval_holds_the_pooled_iou_and_narrows_with_blocks():
    few, many = [part(seed) for seed in range(4)], [part(seed) for seed in range(60)]
    low, high = interval(many)
    assert low < add_up(each.total for each in many).counts.iou < high
    wide = np.diff(interval(few))[0]
    assert high - low < wide


def test_chips_of_one_block_do_not_make_a_figure_surer():
    same = [part(seed, block="one") for seed in range(30)]
    assert metrics(same, tolerances_m=METRES, complete=True)["pooled"]["intervals"] == {}


def test_a_score_within_a_core_ignores_what_lies_around():
    true = np.zeros((10, 10), np.uint8)
    true[:, 5:] = 1
    its = score(true, true, pixel_m=(1.0, 1.0), tolerances_m=METRES, core=np.s_[2:8, 2:8])
    assert its.counts == Counts(tp=18, tn=18) and its.edges[0].tolist() == [6, 6, 6, 6, 0, 0]


def test_the_difference_of_a_model_with_itself_is_0_and_certain():
    parts = [part(seed) for seed in range(12)]
    found = compared(parts, parts, tolerances_m=METRES, complete=True)["iou"]
    assert found["difference"] == 0 and found["interval"] == [0, 0]


def test_a_paired_interval_is_narrower_than_those_of_both_sides():
    """Blocks that are hard for both cancel out: the second errs on the same pixels and on a few more."""
    first, second = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = (rng.random((30, 30)) < 0.5).astype(np.uint8)
        said = np.where(rng.random(true.shape) < rng.uniform(0, 0.5), 1 - true, true).astype(np.uint8)
        worse = np.where(rng.random(true.shape) < 0.02, 1 - true, said).astype(np.uint8)
        for parts, mask in ((first, said), (second, worse)):
            its = score(mask, true, pixel_m=(1.0, 1.0), tolerances_m=METRES)
            parts.append(Part(str(seed), its, {}, str(seed), lambda true=true: Picture(None, true, true)))
    found = compared(first, second, tolerances_m=METRES, complete=True)["iou"]
    low, high = found["interval"]
    assert low < found["difference"] < high and low > 0
    assert high - low < np.diff(interval(first))[0] / 3


def test_the_metrics_of_the_other_class_are_those_of_exchanged_masks():
    its = part(3).total.counts
    found = metrics([part(3)], tolerances_m=METRES, complete=True)["pooled"]["other"]
    assert found["iou"] == its.tn / (its.tn + its.fn + its.fp) and found["recall"] == pytest.approx(1 - its.false_alarm)
