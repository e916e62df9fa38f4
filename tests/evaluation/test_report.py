"""Which pictures a report shows, in which colours, and that they are in the page itself."""

import numpy as np

from cropland.evaluation.report import FALSE, MISSED, RIGHT, best_and_worst, image, verdict
from cropland.evaluation.score import Part, Picture, score


def part(name: str, group: str, *, right: int, cropland: int = 50) -> Part:
    true = (np.arange(100) < cropland).astype(np.uint8).reshape(10, 10)
    said = np.where(np.arange(100).reshape(10, 10) < right, true, 1 - true).astype(np.uint8)
    its = score(said, true, pixel_m=(1.0, 1.0), tolerances_m=(2.0,))
    return Part(name, its, {group: its}, name, lambda: Picture(None, said, true))


def test_worst_shows_every_group_before_a_second_of_one():
    parts = [part(f"bad {n}", "sea", right=n, cropland=0) for n in range(20)] + [part("good", "fields", right=90)]
    shown = best_and_worst(parts)
    assert [each.name for each in shown["Worst"]][:3] == ["bad 0", "good", "bad 1"] and len(shown["Worst"]) == 6
    assert shown["Best"] == []


def test_best_is_among_parts_with_both_classes_and_no_part_is_shown_twice():
    parts = [part(f"sea {n}", "sea", right=100, cropland=0) for n in range(5)]
    parts += [part(f"field {n}", "fields", right=60 + n) for n in range(9)]
    shown = best_and_worst(parts)
    assert [each.name for each in shown["Best"]] == ["field 8", "field 7", "field 6"]
    names = [each.name for each in (*shown["Best"], *shown["Worst"])]
    assert len(set(names)) == len(names)


def test_a_single_block_is_shown_as_it_is():
    assert [len(each) for each in best_and_worst([part("only", "g", right=50)]).values()] == [1]


SAID = np.array([[1, 1, 0, 0, 255]], np.uint8).repeat(5, axis=0)
TRUE = np.array([[1, 0, 1, 0, 1]], np.uint8).repeat(5, axis=0)


def test_right_false_and_missed_have_colours_of_their_own():
    drawn = verdict(Picture(None, SAID, TRUE)).astype(int)
    strongest = [int(np.argmax(colour)) for colour in (RIGHT, FALSE, MISSED)]
    assert drawn[0, :3].argmax(axis=1).tolist() == strongest == [1, 0, 2]
    assert np.ptp(drawn[:, 3], axis=1).max() == 0, "other land stays grey"


def test_large_pictures_are_made_small():
    rgb = np.zeros((1500, 700, 3), np.uint8)
    picture = Picture(rgb, rgb[:, :, 0], rgb[:, :, 0])
    assert image(picture).shape == verdict(picture).shape == (500, 234, 3)
    assert image(Picture(None, SAID, TRUE)) is None
