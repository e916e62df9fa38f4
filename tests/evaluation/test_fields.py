"""Fields against fields: cases worked out by hand, and laws against brute force in shapely and optimal assignment."""

from math import sqrt

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cropland.errors import GridError
from cropland.evaluation.fields import (
    THRESHOLDS,
    FieldCounts,
    Matches,
    block_keys,
    count_fields,
    field_figures,
    lattice,
    match,
    overlaps,
    size_classes,
    size_names,
)
from cropland.geo.vectors import Polygons, open_polygons

EAST, NORTH = 500_000.0, 4_400_000.0  # where a unit of UTM is 1 / 0.9996 m
ORIGIN, SCALE = np.array([EAST, NORTH]), 0.9996
EXTENT = (EAST, NORTH, EAST + 1000, NORTH + 1000)
SEEDS = st.integers(0, 2**32 - 1)


def box(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    return shapely.box(EAST + west, NORTH + south, EAST + east, NORTH + north)


def of(shapes, crs=32650, **columns) -> Polygons:
    return Polygons.of(gpd.GeoDataFrame(columns, geometry=[*shapes], crs=crs))


def compare(predicted, reference, *, size: float = 1000, unknown=None, **how) -> Matches:
    return match(
        overlaps(
            *(side if isinstance(side, Polygons) else of(side) for side in (predicted, reference)),
            crs="EPSG:32650",
            cells=lattice(EXTENT, size=size),
            unknown=unknown and (lambda cell: unknown.intersection(shapely.box(*cell))),
            **how,
        )
    )


def counts(matches: Matches) -> FieldCounts:
    return sum(count_fields(matches).values(), FieldCounts())


def figures(predicted, reference, **how) -> dict[str, float | None]:
    return field_figures(counts(compare(predicted, reference, **how)))


FIELD = box(100, 100, 200, 200)
LEFT, RIGHT, NEXT = box(100, 100, 150, 200), box(150, 100, 200, 200), box(200, 100, 300, 200)
FOUND = {"precision": 1, "recall": 1, "f1": 1, "over_segmentation": 0, "under_segmentation": 0, "missed": 0, "false": 0}
GOLDEN = {
    "identical": (
        [FIELD, NEXT],
        [FIELD, NEXT],
        FOUND | {"f1_50_95": 1, "segmentation_error": 0, "location_shift_m": 0},
    ),
    "split in two halves": (
        [LEFT, RIGHT],
        [FIELD],
        FOUND
        | {"precision": 1 / 2, "f1": 2 / 3, "f1_50_95": 2 / 30, "over_segmentation": 1 / 2}
        | {"segmentation_error": sqrt(1 / 8), "location_shift_m": 25 / SCALE},
    ),
    "two merged into one": (
        [box(100, 100, 300, 200)],
        [FIELD, NEXT],
        FOUND | {"recall": 1 / 2, "f1": 2 / 3, "under_segmentation": 1 / 2, "location_shift_m": 50 / SCALE},
    ),
    "moved by 3 m": (  # IoU 97 / 103 = 0.94
        [box(103, 100, 203, 200)],
        [FIELD],
        FOUND
        | {"over_segmentation": 0.03, "under_segmentation": 0.03, "segmentation_error": 0.03}
        | {"f1_50_95": 0.9, "precision_50_95": 0.9, "recall_50_95": 0.9, "location_shift_m": 3 / SCALE},
    ),
    "one beside the other": (
        [FIELD],
        [NEXT],
        {"precision": 0, "recall": 0, "f1": 0, "missed": 1, "false": 1}
        | {"over_segmentation": None, "segmentation_error": None, "location_shift_m": None},
    ),
    "nothing predicted": ([], [FIELD], {"precision": None, "recall": 0, "f1": 0, "missed": 1, "false": None}),
    "nothing there": ([FIELD], [], {"precision": 0, "recall": None, "f1": 0, "missed": None, "false": 1}),
    "nothing on either side": ([], [], dict.fromkeys(FOUND, None)),
    "a hole in the reference": (
        [FIELD],
        [FIELD - box(125, 125, 175, 175)],
        FOUND | {"f1_50_95": 0.6, "under_segmentation": 0.25, "location_shift_m": 0},
    ),
    "parts that touch at a corner": (
        [shapely.MultiPolygon([LEFT, box(150, 200, 200, 300)])],
        [shapely.MultiPolygon([LEFT, box(150, 200, 200, 300)])],
        FOUND | {"f1_50_95": 1},
    ),
    "two references for one place": (
        [FIELD],
        [FIELD, FIELD],
        FOUND | {"recall": 1 / 2, "f1": 2 / 3, "under_segmentation": 0, "over_segmentation": 0},
    ),
    "half of it, covered three times": ([box(100, 100, 130, 200)] * 3, [FIELD], {"missed": 1, "recall": 0, "false": 0}),
    "all of it, in three parts": (
        [box(100 + x, 100, 100 + x + 100 / 3, 200) for x in (0, 100 / 3, 200 / 3)],
        [FIELD],
        {"missed": 0, "recall": 0, "over_segmentation": 2 / 3},
    ),
    "a bow tie": (
        [shapely.Polygon([(EAST, NORTH), (EAST + 99, NORTH + 99), (EAST + 99, NORTH), (EAST, NORTH + 99)])],
        [box(0, 0, 99, 99)],
        FOUND | {"over_segmentation": 0.5, "location_shift_m": 0},
    ),
}


@pytest.mark.parametrize("size", [1000, 260])
@pytest.mark.parametrize("case", GOLDEN)
def test_cases_by_hand(case, size):
    predicted, reference, expected = GOLDEN[case]
    found = figures(predicted, reference, size=size)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_what_lies_on_unknown_ground_is_neither_right_nor_wrong():
    field, cloud = FIELD, box(0, 0, 1000, 150)  # over half of it
    for size in (1000, 220):
        matches = compare([field], [field], unknown=cloud, size=size)
        assert matches.reference.is_counted.all() and field_figures(counts(matches))["f1_50_95"] == 1
        found = counts(compare([field, NEXT], [field], unknown=box(0, 0, 1000, 150.1), size=size))
        assert (found["predicted"], found["predicted_left_out"]) == (0, 2)
        assert (found["reference"], found["reference_left_out"]) == (0, 1)
        assert set(field_figures(found).values()) == {None}


def test_ground_outside_the_cells_is_unknown():
    matches = compare([box(-40, 0, 60, 10), box(-60, 20, 40, 30)], [box(-90, 0, -10, 10), box(-10, 0, 60, 10)])
    assert matches.predicted.is_counted.tolist() == [True, False]
    assert matches.overlaps.reference.number.tolist() == [1] and matches.reference.iou.tolist() == [1.0]


def test_a_field_is_not_false_on_a_field_of_which_too_little_is_known():
    """The visible end of a field under a cloud is found, and nobody can say whether all of it is."""
    cloud, end = box(110, 0, 1000, 1000), box(80, 100, 110, 200)
    found = counts(compare([end, box(0, 0, 50, 50)], [box(95, 100, 300, 200)], unknown=cloud))
    assert found["predicted_left_out"] == 1 and found["predicted"] == 1 and found["false"] == 1
    found = counts(compare([end], [box(96, 100, 300, 200)], unknown=cloud))
    assert found["predicted_left_out"] == 0 and found["false"] == 1


def test_a_reference_that_does_not_hold_all_fields():
    found = field_figures(counts(compare([FIELD, NEXT], [FIELD])), complete=False)
    assert [found[name] for name in ("precision", "f1", "precision_50_95", "f1_50_95", "false")] == [None] * 5
    assert found["recall"] == found["recall_50_95"] == 1 and found["missed"] == found["under_segmentation"] == 0


def test_equal_pairs_are_taken_by_number():
    assert compare([LEFT, RIGHT], [FIELD]).predicted.partner.tolist() == [0, -1]
    assert compare([FIELD], [RIGHT, LEFT]).reference.partner.tolist() == [0, -1]


def test_the_greedy_matching_may_miss_the_most_pairs_where_fields_overlap():
    """The middle pair is taken first, and its neighbours, of one long row, find no partner."""
    a, b = [box(0, 0, 100, 100), box(40, 0, 140, 100)], [box(30, 0, 130, 100), box(60, 0, 170, 100)]
    matches = compare(a, b)
    assert (matches.matched, matches.optimal) == (1, 2)
    matches = compare([FIELD, NEXT], [FIELD, NEXT])
    assert (matches.matched, matches.optimal) == (2, 2)


def test_another_crs_of_the_reference_and_of_the_predicted():
    fields = [FIELD, NEXT, box(300, 300, 420, 500)]
    for crs in (4326, 4490, 3857, 32651):
        other = Polygons.of(of(fields).near(EXTENT)[0].to_crs(crs))
        for pair in ((of(fields), other), (other, of(fields))):
            found = figures(*pair, size=400)
            assert found["f1_50_95"] == 1 and found["location_shift_m"] < 0.01
    with pytest.raises(GridError, match="different frames"):
        figures(fields, Polygons.of(other.near(EXTENT)[0].set_crs(4610, allow_override=True)))


def test_degrees_are_compared_as_metres_are():
    metres = gpd.GeoDataFrame(geometry=[FIELD, box(103, 300, 203, 400)], crs=32650)
    moved = gpd.GeoDataFrame(geometry=[box(103, 100, 203, 200), box(103, 300, 203, 400)], crs=32650)
    found = match(
        overlaps(
            Polygons.of(moved),
            Polygons.of(metres),
            crs=4326,
            cells=lattice((117, 39.745, 117.005, 39.755), size=0.0017),
        )
    )
    np.testing.assert_allclose(found.reference.iou, [97 / 103, 1], rtol=1e-6)
    np.testing.assert_allclose(found.shift_m, [3 / SCALE, 0], atol=1e-3)
    np.testing.assert_allclose(found.overlaps.reference.area_m2, [1e4 / SCALE**2] * 2, rtol=1e-6)


def test_size_classes_by_the_area_of_the_whole_field():
    hectares = [0.63, 0.65, 2.5, 2.6, 15.9, 16.1, 99, 101]
    edges = np.sqrt(np.array(hectares) * 1e4) * SCALE
    fields = [box(0, 0, edge, edge) for edge in edges]
    table = compare([], fields).overlaps.reference
    np.testing.assert_allclose(table.area_m2 / 1e4, hectares, rtol=1e-5)
    assert size_classes(table).tolist() == [0, 1, 1, 2, 2, 3, 3, 4]
    assert size_names()[1] == "0.64 to 2.56 ha (9.6 to 38.4 mu)"
    assert size_names()[0] == "less than 0.64 ha (9.6 mu)" and size_names()[4] == "100 ha (1500 mu) or more"


def test_groups_are_sums_over_fields_by_their_key():
    predicted, reference = (
        [FIELD, NEXT, box(600, 600, 800, 800)],
        [FIELD, box(205, 100, 305, 200), box(0, 900, 50, 950)],
    )
    matches = compare(of(predicted), of(reference, crop=["rice", "wheat", "rice"]), column="crop", size=190)
    ours, theirs = matches.overlaps.predicted, matches.overlaps.reference
    assert theirs.value.tolist() == ["rice", "wheat", "rice"]
    by_crop = count_fields(matches, reference=theirs.value)
    assert {crop: int(found["reference"]) for crop, found in by_crop.items()} == {None: 0, "rice": 2, "wheat": 1}
    assert field_figures(by_crop["rice"], complete=False)["recall"] == 0.5
    blocks = [block_keys(table, size=500) for table in (ours, theirs)]
    assert blocks == [[(1000, 8800), (1000, 8800), (1001, 8801)], [(1000, 8800), (1000, 8800), (1000, 8801)]]
    by_block = count_fields(matches, *blocks)
    np.testing.assert_allclose(sum(by_block.values(), FieldCounts()).values, counts(matches).values)
    assert by_block[1000, 8800]["matched_predicted"].tolist() == [2.0] * 9 + [1.0]
    assert field_figures(by_block[1001, 8801])["false"] == 1 and field_figures(by_block[1000, 8801])["missed"] == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.gpkg", "a.fgb", "a.shp"])
def test_files_are_read_by_cells_and_give_what_the_whole_gives(tmp_path, name):
    rng = np.random.default_rng(0)
    x, y = (each.ravel() * 25.0 for each in np.meshgrid(np.arange(40), np.arange(40)))
    sides = []
    for number in range(2):
        shift = rng.uniform(0, 8, (4, len(x)))
        shapes = shapely.box(
            EAST + x + shift[0], NORTH + y + shift[1], EAST + x + 24 - shift[2], NORTH + y + 24 - shift[3]
        )
        frame = gpd.GeoDataFrame({"crop": rng.choice(["rice", "wheat"], len(x))}, geometry=shapes, crs=32650)
        path, frame = tmp_path / f"{number}{name}", frame.sample(frac=1, random_state=number)
        if path.suffix == ".parquet":
            frame.to_parquet(path, write_covering_bbox=True, schema_version="1.1.0", row_group_size=300)
        else:
            frame.to_file(path)
        sides.append((open_polygons(path, columns=["crop"]), Polygons.of(frame)))
    files, frames = zip(*sides, strict=True)
    found, whole = compare(*files, size=210, column="crop", threads=2), compare(*frames, column="crop")
    assert len(found.overlaps.reference) == 1600 and found.matched > 400
    one, other = (count_fields(each, reference=each.overlaps.reference.value) for each in (found, whole))
    for crop in ("rice", "wheat"):
        np.testing.assert_allclose(one[crop].values, other[crop].values)


def test_notes_on_polygons_that_cannot_be_used_are_kept_once():
    frame = gpd.GeoDataFrame(geometry=[FIELD], crs=32650)
    found = compare(Polygons.of(frame, ("1 of 2 polygons cannot be used",)), [FIELD], size=300)
    assert found.overlaps.notes == ("1 of 2 polygons cannot be used",)


def tiling(rng: np.random.Generator, count: int = 12) -> list[shapely.Polygon]:
    """Fields that do not overlap: the cells of random points, some with a hole."""
    points = shapely.MultiPoint(rng.uniform(0, 1000, (count, 2)) + ORIGIN)
    cells = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=shapely.box(*EXTENT)))
    cells = shapely.buffer(shapely.intersection(cells, shapely.box(*EXTENT)), -rng.uniform(0, 30, len(cells)))
    holes = shapely.buffer(shapely.centroid(cells), rng.choice([0, 40], len(cells)))
    return [cell for cell in shapely.difference(cells, holes) if cell.area > 0]


def moved(rng: np.random.Generator, fields: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """The same with some united, some cut, all moved, and some left out: one side still does not overlap itself."""
    some = [shapely.union_all(fields[:2]), *fields[2:]]
    cut = box(*sorted(rng.uniform(0, 1000, 2)), 1000, 1000)
    parts = [part for field in some for part in shapely.get_parts(field - cut.exterior.buffer(1)) if rng.random() < 0.9]
    shift = rng.uniform(-20, 20, 2)
    return [shapely.transform(part, lambda xy: xy + shift) for part in parts]


def anything(rng: np.random.Generator, count: int = 12) -> list[shapely.Geometry]:
    """Fields that overlap: of several parts, with holes, and of every size."""
    at, edge = rng.uniform(-100, 1000, (count, 2)), rng.uniform(20, 500, (count, 2))
    fields = [box(*a, *(a + e)) for a, e in zip(at, edge, strict=True)]
    holes = shapely.buffer(shapely.centroid(fields), rng.uniform(0, 60, count))
    fields = [*shapely.difference(fields, holes), *(box(*a, *(a + 300)) for a in at[:3])]
    more = shapely.union_all([fields[0], fields[1]])
    return [field for field in [*fields[2:], more] if field.area > 0]


def brute_force(predicted, reference, unknown):
    """Known areas, covered shares and IoU of all pairs, one geometry after the other."""
    ground = shapely.box(*EXTENT) - unknown
    sides = [[field.intersection(ground) for field in fields] for fields in (predicted, reference)]
    shares = [
        [part.area / field.area for part, field in zip(*each, strict=True)]
        for each in ((sides[0], predicted), (sides[1], reference))
    ]
    covered = [
        [part.intersection(shapely.unary_union(others)).area / part.area if part.area else np.nan for part in parts]
        for parts, others in (sides, sides[::-1])
    ]
    meets = np.array([[p.intersection(r).area for r in sides[1]] for p in sides[0]])
    joined = np.array([[p.union(r).area for r in sides[1]] for p in sides[0]])
    iou = np.divide(meets, joined, out=np.zeros_like(meets), where=joined > 0)
    return shares, covered, meets, iou


def draw(seed: int, *, overlapping: bool) -> tuple[list[shapely.Geometry], list[shapely.Geometry], shapely.Geometry]:
    rng = np.random.default_rng(seed)
    one = anything(rng) if overlapping else tiling(rng)
    other = [*anything(rng), *one[:4]] if overlapping else moved(rng, one)
    return other, one, shapely.union_all([box(*at, *(at + 200)) for at in rng.uniform(-200, 1000, (3, 2))])


@settings(max_examples=12)
@given(SEEDS, st.booleans(), st.sampled_from([1000, 370]))
def test_brute_force_in_shapely(seed: int, overlapping: bool, size: float):
    predicted, reference, unknown = draw(seed, overlapping=overlapping)
    shares, covered, meets, iou = brute_force(predicted, reference, unknown)
    found = compare(predicted, reference, unknown=unknown, size=size)
    tables = found.overlaps.predicted, found.overlaps.reference
    for table, side, its_shares, its_covered in zip(
        tables, (found.predicted, found.reference), shares, covered, strict=True
    ):
        np.testing.assert_allclose(table.known / table.area, np.array(its_shares)[table.number], atol=1e-9)
        enough = np.array(its_shares)[table.number] >= 0.5
        assert (side.is_counted <= enough).all()
        few = np.array(its_covered)[table.number] < 0.5
        assert (side.is_uncovered == (side.is_counted & few)).all()
        assert (side.is_counted >= (enough & ~few & (side.iou > 0))).all()
    i, j = (table.number[row] for table, row in zip(tables, found.overlaps.pair.T, strict=True))
    summed = np.zeros_like(meets)
    summed[i, j] = found.overlaps.area
    np.testing.assert_allclose(summed, meets, atol=1e-4)
    for number, partner, best in zip(tables[0].number, found.predicted.partner, found.predicted.iou, strict=True):
        assert partner < 0 or best == pytest.approx(iou[number, tables[1].number[partner]], abs=1e-8)
    # Persello and Bruzzone's pair, by its definition.
    usable = np.where(found.predicted.is_counted[:, None], summed[tables[0].number][:, tables[1].number], 0)
    for row in np.flatnonzero(np.isfinite(found.over_segmentation)):
        largest = usable[:, row].argmax()
        area = usable[largest, row]
        assert found.over_segmentation[row] == pytest.approx(1 - area / tables[1].known[row], abs=1e-8)
        assert found.under_segmentation[row] == pytest.approx(1 - area / tables[0].known[largest], abs=1e-8)


@settings(max_examples=12)
@given(SEEDS, st.booleans())
def test_the_matching_against_the_optimal_assignment(seed: int, overlapping: bool):
    predicted, reference, unknown = draw(seed, overlapping=overlapping)
    shares, _, _, iou = brute_force(predicted, reference, unknown)
    known = np.outer(np.array(shares[0]) >= 0.5, np.array(shares[1]) >= 0.5)
    found = compare(predicted, reference, unknown=unknown)
    tables = found.overlaps.predicted, found.overlaps.reference
    pairs = {
        (int(tables[0].number[row]), int(tables[1].number[partner]))
        for row, partner in enumerate(found.predicted.partner)
        if partner >= 0
    }
    assert len(pairs) == found.matched
    reached = known & (iou >= 0.5)
    best = reached[linear_sum_assignment(reached, maximize=True)].sum()
    assert found.optimal == best and best / 2 <= found.matched <= best
    if not overlapping:
        rows = zip(*linear_sum_assignment(np.where(reached, iou, 0), maximize=True), strict=True)
        assert pairs == {(i, j) for i, j in rows if reached[i, j]}
    greedy, left = set(), sorted(zip(*np.nonzero(reached), strict=True), key=lambda pair: (-iou[pair].round(9), *pair))
    for i, j in left:
        if not any(i == one or j == other for one, other in greedy):
            greedy.add((i, j))
    assert pairs == greedy


@settings(max_examples=10)
@given(SEEDS, st.booleans(), st.sampled_from([500, 310]), st.integers(1, 3))
def test_neither_cells_nor_threads_nor_the_order_of_polygons_change_a_figure(seed, overlapping, size, threads):
    predicted, reference, unknown = draw(seed, overlapping=overlapping)
    rng = np.random.default_rng(seed)
    whole = counts(compare(predicted, reference, unknown=unknown))
    shuffled = [[side[place] for place in rng.permutation(len(side))] for side in (predicted, reference)]
    found = counts(compare(*shuffled, unknown=unknown, size=size, threads=threads))
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)


@settings(max_examples=10)
@given(SEEDS, st.integers(1, 5))
def test_groups_add_up_to_the_whole(seed: int, groups: int):
    rng = np.random.default_rng(seed)
    matches = compare(*draw(seed % 7, overlapping=bool(seed % 2))[:2])
    keys = [rng.integers(0, groups, len(table)) for table in (matches.overlaps.predicted, matches.overlaps.reference)]
    np.testing.assert_allclose(sum(count_fields(matches, *keys).values(), FieldCounts()).values, counts(matches).values)


def test_lattices_cover_their_extent_without_overlap():
    cells = lattice((0.1, -2.0, 7.3, 1.0), size=1.7)
    shapes = shapely.box(*np.array(cells).T)
    assert shapely.area(shapes).sum() == pytest.approx(shapely.box(0.1, -2.0, 7.3, 1.0).area)
    assert shapely.union_all(shapes).bounds == (0.1, -2.0, 7.3, 1.0) and len(cells) == 5 * 2
    assert lattice((0, 0, 1, 1), size=9) == [(0, 0, 1, 1)]


def test_thresholds_are_those_of_the_name():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
