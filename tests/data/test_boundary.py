"""The distance to the boundaries of fields: by hand, by the law that defines it, and as chips keep it."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from cropland.data.boundary import MARGIN, STEP, boundary_distance, half_rim
from cropland.data.chips import open_chips
from cropland.data.cut import cut_chips
from cropland.data.labels import LabelOptions


def test_two_fields_that_touch_have_a_boundary_between_them():
    """Golden: fields 1 and 2 side by side; the boundary runs between columns 2 and 3, half a pixel from both."""
    label, field = np.ones((1, 6), np.uint8), np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    np.testing.assert_allclose(boundary_distance(label, field) * STEP, [[2.5, 1.5, 0.5, 0.5, 1.5, 2.5]])


def test_of_a_mask_the_inside_of_cropland_is_unknown():
    label = np.zeros((1, 20), np.uint8)
    label[:, 8:] = 1
    near = boundary_distance(label, None)[0]
    np.testing.assert_allclose(near[8:10] * STEP, [0.5, 1.5])
    assert (near[11:] == 255).all() and (near[:8] < 255).all()


def test_towards_unknown_ground_nothing_is_said():
    label = np.array([[1, 1, 1, 1, 1, 255, 0, 0, 0, 0]], np.uint8)
    near = boundary_distance(label, (label == 1).astype(np.int32))[0]
    assert (near[[2, 3, 4, 5, 6, 7, 8]] == 255).all() and (near[[0, 1, 9]] == 254).all()
    field = np.array([[1, 1, 1, 1, 2, 0, 0, 0, 0, 0]], np.int32)
    near = boundary_distance(label, field)[0]
    np.testing.assert_allclose(near[:5] * STEP, [3.5, 2.5, 1.5, 0.5, 0.5])  # nearer than what is unknown


def test_outlined_fields_end_at_unknown_ground_but_not_where_only_the_area_ends():
    label = np.array([[255, 1, 1, 1, 255, 255, 0]], np.uint8)
    field = np.array([[7, 7, 7, 7, 0, 0, 0]], np.int32)
    near = boundary_distance(label, field, is_outlined=True)[0]
    assert near.tolist() == [255, 255, 15, 5, 255, 255, 255]  # column 1 is nearer to the unknown on its left
    assert boundary_distance(label, field)[0].tolist() == [255] * 7


LABELS = st.integers(0, 10_000).map(
    lambda seed: (
        np.random.default_rng(seed).choice(np.array([0, 1, 1, 1, 255], np.uint8), (12, 15)),
        np.random.default_rng(seed + 1).integers(1, 4, (12, 15)).astype(np.int32),
    )
)


@settings(max_examples=40, deadline=None)
@given(LABELS)
def test_every_known_distance_is_that_to_the_nearest_pair_that_differs(drawn):
    label, field = drawn
    region = np.where(label == 1, field + 1, 0)
    beside = set()
    for row, col in np.ndindex(label.shape):
        for other in ((row + 1, col), (row, col + 1)):
            inside = other[0] < 12 and other[1] < 15
            if inside and 255 not in (label[row, col], label[other]) and region[row, col] != region[other]:
                beside |= {(row, col), other}
    found = boundary_distance(label, field)
    for (row, col), level in np.ndenumerate(found):
        nearest = min((np.hypot(row - r, col - c) for r, c in beside), default=np.inf) + 0.5
        to_unknown = min((np.hypot(row - r, col - c) for r, c in np.argwhere(label == 255)), default=np.inf) - 0.5
        if label[row, col] == 255 or (to_unknown <= 2.5 and to_unknown < nearest):
            assert level == 255
        else:
            assert abs(level * STEP - min(nearest, 25.4)) <= STEP / 2 + 1e-9


@pytest.mark.parametrize(
    "width_m, chip_m, pixel_m, expected",
    [
        (4, 1, 1, 2),
        (4, 1, 2, 2),
        (4, 1, 8, 6),
        (4, 10, 10, 0.75),
        (4, 10, 5, 0.75),
        (4, 0.1, 0.5, 20),
        (4, 0.05, 0.5, 25.3),
    ],
)
def test_a_rim_is_as_wide_as_asked_and_at_least_a_pixel_and_a_half(width_m, chip_m, pixel_m, expected):
    assert half_rim(width_m, chip_m=chip_m, pixel_m=pixel_m) == pytest.approx(expected)


@pytest.fixture
def scene(tmp_path):
    """A scene of 90 x 80 pixels of 2 m with three fields, of which the first two touch."""
    grid = {"crs": CRS.from_epsg(32632), "transform": Affine(2, 0, 500_000, 0, -2, 5_400_000)}
    values = np.random.default_rng(0).integers(1, 200, (3, 90, 80)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=80, height=90, count=3, dtype="uint8", **grid
    ) as file:
        file.write(values)
        file.descriptions = ("red", "green", "blue")
    boxes = [(10, 10, 30, 40), (30, 10, 60, 40), (5, 50, 70, 85)]
    fields = [
        shapely.box(500_000 + 2 * c0, 5_400_000 - 2 * r1, 500_000 + 2 * c1, 5_400_000 - 2 * r0)
        for c0, r0, c1, r1 in boxes
    ]
    gpd.GeoSeries(fields, crs=32632).to_file(tmp_path / "fields.gpkg")
    return tmp_path


def test_chips_keep_it_and_do_not_see_where_they_were_cut(scene):
    options = LabelOptions(scene / "fields.gpkg", background="known")
    for size in (200, 30):
        cut_chips(scene / "scene.tif", options, scene / f"chips{size}", size=size, validation=0)
    whole = open_chips(scene / "chips200").read(0).boundary
    parts = open_chips(scene / "chips30")
    assert len(parts) > 4 and parts.has_boundary
    for number in range(len(parts)):
        row = parts.index.iloc[number]
        here = np.s_[row["row"] : row["row"] + row["height"], row["col"] : row["col"] + row["width"]]
        part, same = parts.read(number).boundary.astype(int), whole[here].astype(int)
        # Beyond the margin a chip cannot know how far the next boundary is, only that it is far.
        far = (part > (MARGIN - 1) / STEP) & (same > (MARGIN - 1) / STEP)
        assert ((part == same) | far).all()
    assert whole[20, 29] == whole[20, 30] == 5  # between the two that touch
    assert whole[20, 20] > 90 and whole[45, 40] > 40


def test_a_mask_gives_edges_only(scene):
    with rasterio.open(scene / "scene.tif") as file:
        profile = file.profile | {"count": 1}
    mask = np.zeros((90, 80), np.uint8)
    mask[20:60, 20:60] = 1
    with rasterio.open(scene / "mask.tif", "w", **profile) as file:
        file.write(mask, 1)
    cut_chips(scene / "scene.tif", LabelOptions(scene / "mask.tif"), scene / "chips", size=200, validation=0)
    boundary = open_chips(scene / "chips").read(0).boundary
    assert (
        boundary[20, 40] == boundary[19, 40] == 5 and (boundary[24:56, 24:56] == 255).all() and boundary[5, 5] == 210
    )  # hypot(14, 15) + 0.5
