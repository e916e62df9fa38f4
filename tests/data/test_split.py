"""No training chip touches one that validates; the share is met, and both sides resemble each other."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate

from cropland.data.split import parse_split, split
from cropland.errors import ChipError

CRS = 32650


def chips_of(name: str, rows: int, cols: int, *, x: float = 0, y: float = 0, edge: float = 256, angle: float = 0):
    places = [(row, col) for row in range(rows) for col in range(cols)]
    boxes = [shapely.box(x + c * edge, y - r * edge - edge, x + c * edge + edge, y - r * edge) for r, c in places]
    turned = [rotate(each, angle, origin=(x, y)) for each in boxes]
    shifted = shapely.transform(np.array(turned), lambda points: points + np.array([500_000, 4_000_000]))
    table = {
        "id": [f"{name}_{r}_{c}" for r, c in places],
        "source": name,
        "share_cropland": 0.5,
        "row": 0,
        "col": 0,
        "height": 1,
        "width": 1,
    }
    return gpd.GeoDataFrame(table, geometry=shifted, crs=CRS).to_crs(4326)


def joined(*parts: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return pd.concat(parts, ignore_index=True)


def nearest_m(chips: gpd.GeoDataFrame) -> float:
    train, validation = (
        chips[chips["split"] == side].to_crs(CRS).geometry.union_all() for side in ("train", "validation")
    )
    return float(train.distance(validation))


scenes = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.integers(1, 9),
        st.floats(-4000, 4000),
        st.floats(-4000, 4000),
        st.sampled_from([0, 0, 17, 90]),
        st.sampled_from([256, 256, 300, 128]),
    ),
    min_size=1,
    max_size=4,
)


def drawn(parts: list[tuple]) -> gpd.GeoDataFrame:
    grids = enumerate(parts)
    return joined(*(chips_of(f"s{i}", r, c, x=x, y=y, angle=a, edge=e) for i, (r, c, x, y, a, e) in grids))


@settings(max_examples=settings.default.max_examples // 4)
@given(scenes, st.floats(0.05, 0.6))
def test_touching_chips_are_never_on_both_sides_whatever_scenes_they_come_from(parts, share):
    chips = drawn(parts)
    try:
        done = split(chips, validation=share)
    except ChipError:
        return  # so few chips that one side would be empty: said, not done
    assert {*done["split"]} == {"train", "validation"}
    assert nearest_m(done) >= 0.49 * chips.to_crs(CRS).area.min() ** 0.5
    assert {*done["id"]} <= {*chips["id"]} and done["id"].is_unique


@settings(max_examples=settings.default.max_examples // 6)
@given(scenes, scenes, st.floats(0, 1))
def test_chips_that_are_added_keep_away_from_the_other_side_of_what_is_there(first, second, share):
    try:
        before = split(drawn(first), validation=0.3)
    except ChipError:
        return
    added = drawn(second).assign(id=lambda t: "new" + t["id"], source=lambda t: "new" + t["source"])
    try:
        after = joined(before, split(added, validation=share, earlier=before))
    except ChipError as error:  # all of them are on the ground of the other side
        assert "can be added" in str(error)
        return
    assert len(after) > len(before)
    assert nearest_m(after) > 1


def test_the_order_of_the_chips_does_not_matter():
    chips = joined(chips_of("a", 9, 7), chips_of("b", 5, 5, x=900, y=300))
    shuffled = chips.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(split(chips, validation=0.2), split(shuffled, validation=0.2))


@pytest.mark.parametrize("shape, most_lost", [((40, 40), 0.12), ((7, 7), 0.25), ((4, 4), 0.35)])
def test_the_share_is_met_and_the_gap_is_cheap(shape, most_lost):
    chips = chips_of("a", *shape)
    done = split(chips, validation=0.2)
    assert 0.1 <= (done["split"] == "validation").sum() / len(chips) <= 0.35
    assert 1 - len(done) / len(chips) <= most_lost


def test_scenes_that_lie_apart_go_to_one_side_whole():
    chips = joined(*(chips_of(f"tile{i}", 4, 4, x=5000 * i) for i in range(20)))
    done = split(chips, validation=0.2)
    assert len(done) == len(chips)
    assert (done.groupby("source")["split"].nunique() == 1).all()
    assert (done["split"] == "validation").sum() == 64


def test_scenes_without_a_crs_are_split_scene_by_scene_and_within_a_scene_by_blocks():
    places = [(row, col) for row in range(8) for col in range(8)]
    table = {"id": [f"a_{p}" for p in places], "source": "a", "share_cropland": 0.5, "height": 64, "width": 64}
    table |= {"row": [64 * row for row, _ in places], "col": [64 * col for _, col in places]}
    large = pd.DataFrame(table)
    small = pd.DataFrame({"id": [f"s{i}" for i in range(50)], "source": [f"s{i}" for i in range(50)]})
    small = small.assign(share_cropland=0.5, row=0, col=0, height=64, width=64)
    for frame in (large, small):
        done = split(gpd.GeoDataFrame(frame, geometry=[None] * len(frame), crs=4326), validation=0.2)
        train, validation = (done[done["split"] == side] for side in ("train", "validation"))
        assert len(train) and len(validation)
        for other in validation.itertuples():
            same = train[train["source"] == other.source]
            assert (np.maximum(abs(same["row"] - other.row), abs(same["col"] - other.col)) > 64).all()


def test_both_sides_have_about_as_much_cropland():
    chips = joined(*(chips_of(f"tile{i}", 4, 4, x=5000 * i) for i in range(20)))
    chips["share_cropland"] = np.repeat([0.0, 1.0, 0.2, 0.8], 80)
    shares = split(chips, validation=0.2).groupby("split")["share_cropland"].mean()
    assert abs(shares["train"] - shares["validation"]) < 0.15


def test_chips_of_one_scene_that_lie_apart_are_blocks_of_their_own():
    windows = joined(*(chips_of(f"w{number}", 1, 1, x=900 * number) for number in range(10))).assign(source="scene")
    done = split(windows, validation=0.2)
    assert done["split"].value_counts().to_dict() == {"train": 8, "validation": 2}
    assert done["block"].nunique() == 10


def test_all_on_one_side():
    chips = chips_of("a", 3, 3)
    assert (split(chips, validation=0)["split"] == "train").all()
    assert (split(chips, validation=1)["split"] == "validation").all()
    assert len(split(chips, validation=1)) == 9


def test_too_few_chips_for_two_sides_are_said():
    with pytest.raises(ChipError, match="smaller size="):
        split(chips_of("a", 2, 2), validation=0.2)


def test_of_draws_with_chips_on_one_side_the_one_that_keeps_most_is_taken():
    before = joined(chips_of("west", 1, 3), chips_of("east", 1, 1, x=9000)).assign(split="train", block="old")
    added = before.drop(columns=["split", "block"]).assign(id=lambda t: "new_" + t["id"])
    done = split(added, validation=0.4, earlier=before)
    assert done["source"].tolist() == ["west"] * 3 and (done["split"] == "train").all()


def test_a_share_next_to_nothing_is_one_block():
    assert (split(chips_of("a", 9, 9), validation=1e-320)["split"] == "validation").sum() == 1


def test_parse_split():
    assert [parse_split(text) for text in ("train", "validation", "validation=0.25")] == [0, 1, 0.25]
    for text in ("test", "validation=2", "validation=x", "train=0.3", "", "validation=nan"):
        with pytest.raises(ChipError, match=r"validation=0\.2"):
            parse_split(text)
