"""The shift of labels: planted ones are found on real ground, and what is chance is called chance."""

import numpy as np
import pytest
from scipy import ndimage

from cropland.data.boundary import boundary_distance
from cropland.data.cut import windows
from cropland.data.labels import UNKNOWN, LabelOptions, read_labels
from cropland.data.shift import Patch, measured_shift
from cropland.demo import FIELDS, TILE
from cropland.geo.scene import open_scene
from cropland.geo.window import Window


@pytest.fixture(scope="module")
def ground():
    """The image of a real tile, stretched; the label of its fields, and their numbers."""
    scene = open_scene(TILE)
    whole = Window(0, 0, *scene.shape)
    draw = read_labels(LabelOptions(FIELDS, background="known")).on(scene)
    image = scene.read()
    return scene.statistics().normalise(image.values, image.valid), image.valid, draw(whole), draw.fields(whole)


def patches(ground, *, right=0, down=0):
    """Windows of the tile, its labels moved by whole pixels; what comes in from outside is unknown."""
    values, valid, label, fields = ground
    label = ndimage.shift(label, (down, right), order=0, cval=UNKNOWN)
    distance = boundary_distance(label, ndimage.shift(fields, (down, right), order=0))
    for window in windows(label.shape, size=256):
        here = window.slices
        yield Patch(values[:, here[0], here[1]], valid[here], label[here], distance[here])


@pytest.fixture(scope="module")
def own(ground):
    return measured_shift(patches(ground))


def test_untouched_labels_lie_within_a_pixel(own):
    assert own.is_measured and own.blocks > 100
    assert own.length < 1 and own.low < own.length


@pytest.mark.parametrize("right, down", [(3, -2), (1, 0), (8, 5), (-13, 14)])
def test_a_planted_shift_is_found(ground, own, right, down):
    found = measured_shift(patches(ground, right=right, down=down))
    assert found.is_measured and found.agreement == 1
    # The labels as they were drawn lie 0.6 pixels away themselves.
    assert (found.right - own.right, found.down - own.down) == pytest.approx((right, down), abs=0.15)
    assert found.low > np.hypot(right, down) - 1


def test_a_shift_is_found_where_half_of_the_image_has_no_data(ground):
    values, valid, label, fields = ground
    striped = values, np.where(np.arange(valid.shape[1]) // 128 % 2, valid, False), label, fields
    before, after = measured_shift(patches(striped)), measured_shift(patches(striped, right=4, down=3))
    assert before.is_measured and before.length < 1 and after.is_measured
    assert (after.right - before.right, after.down - before.down) == pytest.approx((4, 3), abs=0.3)


def test_labels_of_other_ground_are_chance(ground):
    values, valid, label, fields = ground
    for other in (np.fliplr, np.flipud, np.rot90):
        found = measured_shift(patches((values, valid, other(label), other(fields))))
        assert not found.is_measured


def test_few_edges_say_nothing(ground):
    values, valid, label, fields = ground
    here = np.s_[400:500, 400:500]
    assert measured_shift(patches((values[:, *here], valid[here], label[here], fields[here]))) is None
    assert measured_shift(patches((values, valid, np.ones_like(label), np.ones_like(fields)))) is None
