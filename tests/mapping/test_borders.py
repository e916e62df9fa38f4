"""The difference where scenes meet, by hand."""

import numpy as np
import pytest

from cropland.mapping.borders import Border, Borders, table
from cropland.parcels.clean import by_threshold

CLASSES = by_threshold(0.5)(np.arange(256, dtype=np.uint8))
NAMES = ("a", "b", "c")


def measured(maps, used=None, mosaic=None, *, core=None, scenes=(0, 1)):
    maps = np.array(maps, np.uint8)
    borders = Borders(CLASSES)
    used = maps != 255 if used is None else np.array(used, bool)
    mosaic = maps.min(axis=0) if mosaic is None else np.array(mosaic, np.uint8)
    borders.add(scenes, maps, used, mosaic, core or mosaic.shape)
    return borders.found(NAMES)


def test_an_overlap_is_compared_pixel_by_pixel():
    first, second = [[100, 200, 0, 255]], [[110, 100, 255, 9]]
    (border,) = measured([first, second])
    assert border.scenes == ("a", "b") and border.pixels == 2
    assert border.difference == pytest.approx((10 + 100) / 2 / 254)
    assert border.disagreeing == 0.5  # 200 against 100, of which one is below 127


def test_a_border_is_compared_with_the_inside():
    """Steps of 2 within either scene, of 10 between them; downwards 0: no step is left out."""
    row = [10, 12, 14, 24, 26, 28]
    mosaic = [row, row]
    first = [[10, 12, 14, 255, 255, 255]] * 2
    second = [[255, 255, 255, 24, 26, 28]] * 2
    (border,) = measured([first, second], mosaic=mosaic)
    inside = (8 * 2 + 6 * 0) / 14
    assert (border.pixels, border.difference, border.disagreeing, border.steps) == (0, None, None, 2)
    assert border.seam == pytest.approx(10 / inside)


def test_a_mean_has_its_border_where_the_second_begins():
    first, second = [[10, 11, 12, 13]], [[255, 255, 22, 23]]
    (border,) = measured([first, second], mosaic=[[10, 11, 17, 18]])
    assert border.steps == 1 and border.seam == pytest.approx(6 / 1)


def test_what_does_not_meet_is_no_border():
    assert measured([[[1, 2, 255, 255, 255]], [[255, 255, 255, 4, 5]]]) == []


def test_blocks_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (3, 20, 30)).astype(np.uint8)
    maps[rng.random(maps.shape) < 0.4] = 255
    used, mosaic = maps != 255, maps.min(axis=0)
    whole, parts = Borders(CLASSES), Borders(CLASSES)
    whole.add((0, 1, 2), maps, used, mosaic, (20, 30))
    for row in range(0, 20, 7):
        for col in range(0, 30, 8):
            block = np.s_[..., row : row + 8, col : col + 9]
            core = min(7, 20 - row), min(8, 30 - col)
            order = [2, 0, 1]  # blocks may count scenes in any order
            parts.add(order, maps[block][order], used[block][order], mosaic[block], core)
    assert parts.found(NAMES) == whole.found(NAMES) and len(whole.found(NAMES)) == 3


def test_the_table_says_what_there_is():
    shown = table([Border(("a", "b"), 0, None, None, 5, 1.25), Border(("a", "c"), 1200, 0.0625, 0.5, 0, None)])
    assert [list(column.cells) for column in shown.columns] == [
        ["a", "a"],
        ["b", "c"],
        ["0", "1,200"],
        ["", "0.062"],
        ["", "50.0%"],
        ["1.25", ""],
    ]
