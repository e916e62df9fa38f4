"""Faults are found where somebody put them, and none where there is none."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

import real_qgis
from cropland.delivering.divide import divided
from cropland.delivering.topology import KINDS, LIMITS, Topology, examined
from delivering.small_coverage import SOUTH, WEST, cells, square


def look(shapes: object, crs: int = 32650, **options: object) -> Topology:
    frame = gpd.GeoDataFrame(geometry=list(shapes), crs=crs)
    return examined(frame, np.array([f"p{number}" for number in range(len(frame))], object), **options)


def kinds(found: Topology) -> dict[str, int]:
    return {kind: count for kind, count in found.counts().items() if count}


def test_parcels_that_share_their_edges_give_no_alarm():
    assert len(look(cells(300, seed=5))) == 0
    found = divided(gpd.GeoSeries(cells(60, seed=6), crs=32650), gpd.GeoSeries(cells(5, seed=7), crs=32650))
    assert not set(kinds(look(found.pieces))) & {"overlap", "gap", "edge", "invalid"}


@pytest.mark.parametrize(
    "pair",
    [
        (square(0, 0, 100, 100), square(99, 0, 200, 100)),
        (square(0, 0, 100, 100), square(20, 20, 30, 30)),
        (square(0, 0, 10, 10), square(0, 0, 10, 10)),
    ],
    ids=["beside", "within", "twice"],
)
def test_an_overlap_has_its_pair_and_its_area(pair):
    found = look(pair)
    assert kinds(found)["overlap"] == 1
    row = found.worst("overlap").iloc[0]
    assert row.ids == "p0, p1" and row.unit == "m2" and row.value == pytest.approx(100, rel=2e-3)


def test_touching_by_the_last_bits_is_no_overlap():
    one, other = square(0, 0, 100, 100), square(100 - 1e-6, 0, 200, 100)
    assert "overlap" not in kinds(look([one, other]))


def around(hole: shapely.Polygon) -> list[shapely.Polygon]:
    """Two parcels that touch, around a hole on the line between them."""
    return [shapely.difference(square(0, 0, 50, 100), hole), shapely.difference(square(50, 0, 100, 100), hole)]


@pytest.mark.parametrize(
    ("hole", "is_gap"),
    [
        (square(49, 49, 51, 51), True),  # 4 m2
        (square(49.8, 10, 50.2, 90), True),  # 32 m2, but 40 cm wide
        (square(45, 45, 55, 55), False),  # a pond
        (square(50 - 1e-5, 10, 50 + 1e-5, 90), False),  # the rounding of a file
    ],
)
def test_a_gap_is_a_small_or_narrow_hole_between_parcels(hole, is_gap):
    found = look(around(hole))
    assert ("gap" in kinds(found)) == is_gap
    if is_gap:
        row = found.worst("gap").iloc[0]
        assert row.ids == "p0, p1" and row.value == pytest.approx(hole.area, rel=2e-3)


def test_a_hole_of_one_parcel_is_no_gap_but_a_tiny_ring():
    assert kinds(look([shapely.difference(square(0, 0, 100, 100), square(40, 40, 41, 41))])) == {"tiny ring": 1}


def test_a_corner_on_the_edge_of_a_neighbour_does_not_match():
    found = look([square(0, 0, 100, 100), square(100, 0, 200, 50)])
    assert set(kinds(found)) == {"edge"} and found.worst("edge")["unit"].eq("m").all()


@pytest.mark.parametrize("crs", [32650, 4490])
def test_a_spike_is_found_wherever_its_ring_begins(crs: int):
    corners = [(0, 0), (100, 0), (100, 100), (50, 100), (50.5, 150), (49, 100), (0, 100)]
    corners = np.array([WEST, SOUTH]) + corners
    expected = np.degrees(np.arctan(1.5 / 50) - np.arctan(0.5 / 50))
    for turn in range(len(corners)):
        shape = gpd.GeoSeries([shapely.Polygon(np.roll(corners, turn, axis=0))], crs=32650).to_crs(crs)
        found = look(shape, crs=crs)
        assert kinds(found) == {"spike": 1}
        assert found.worst("spike")["value"].iloc[0] == pytest.approx(expected, abs=0.1)
        place = found.as_json()["kinds"]["spike"]["worst"][0]
        tip = gpd.GeoSeries([shapely.Point(WEST + 50.5, SOUTH + 150)], crs=32650).to_crs(crs).iloc[0]
        assert (place["x"], place["y"]) == pytest.approx((tip.x, tip.y))


def test_files_say_what_and_where(tmp_path: Path):
    shapes = [*around(square(49, 49, 51, 51)), square(99, 0, 200, 100)]
    found = look(shapes, invalid=[("bow", f"Self-intersection[{WEST + 5} {SOUTH + 5}]")])
    found.save(tmp_path)
    told = json.loads((tmp_path / "topology.json").read_text(encoding="utf-8"))
    assert told["parcels"] == 3 and told["limits"] == LIMITS and list(told["kinds"]) == list(KINDS)
    bow = {"ids": ["bow"], "value": None, "note": "Self-intersection", "x": WEST + 5, "y": SOUTH + 5}
    assert told["kinds"]["invalid"] == {"count": 1, "unit": "", "worst": [bow]}
    gap = told["kinds"]["gap"]["worst"][0]
    assert gap["ids"] == ["p0", "p1"] and square(49, 49, 51, 51).contains(shapely.Point(gap["x"], gap["y"]))
    points = pyogrio.read_dataframe(tmp_path / "topology.gpkg", layer="topology")
    lines = pyogrio.read_dataframe(tmp_path / "topology.gpkg", layer="topology_lines")
    assert points["kind"].value_counts().to_dict() == kinds(found) and set(points.geom_type) == {"Point"}
    assert len(lines) == len(found) - 1 and set(lines.geom_type) == {"MultiLineString"}, "a place has no line"


def test_clean_parcels_have_files_too(tmp_path: Path):
    look([square(0, 0, 100, 100)]).save(tmp_path)
    assert len(pyogrio.read_dataframe(tmp_path / "topology.gpkg", layer="topology")) == 0


def test_qgis_opens_the_faults_in_colours(tmp_path: Path):
    look([square(0, 0, 100, 100), square(99, 0, 200, 100)]).save(tmp_path)
    found = real_qgis.opened(tmp_path / "topology.gpkg", "topology")
    assert found["default"] and found["renderer"] == "RuleRenderer" and found["count"] == 3


def test_the_table_has_every_kind(capsys: pytest.CaptureFixture[str]):
    from rich.console import Console

    Console(width=120).print(look([square(0, 0, 100, 100), square(99, 0, 200, 100)]).table())
    shown = capsys.readouterr().out
    assert "100.08 m2" in shown and "p0, p1" in shown and shown.count("\n") == len(KINDS) + 1
