"""The ground of a training: chips on it are recognised by place or source, neighbours that only touch it are not."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import small_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from cropland.data.chips import ChipFolder
from cropland.data.cut import cut_chips
from cropland.data.ground import CORNERS, TrainingGround
from cropland.data.labels import LabelOptions
from cropland.geo.scene import SceneOptions
from cropland.geo.window import Window

UTM = "EPSG:32650"
windows = st.builds(Window, *(st.integers(0, 40) for _ in range(2)), *(st.integers(1, 40) for _ in range(2)))


def table(places: list[tuple[str, Window]], *, pixel_m: float | None = 10.0) -> gpd.GeoDataFrame:
    """Rows of an index: windows of sources, on the ground of one scene in UTM, or without a CRS (pixel_m None)."""
    shapes = [None] * len(places)
    if pixel_m:
        boxes = [(w.col, -w.row - w.height, w.col + w.width, -w.row) for _, w in places]
        shapes = gpd.GeoSeries(
            [shapely.box(*(np.array(each) * pixel_m + [4e5, 4e6] * 2)) for each in boxes], crs=UTM
        ).to_crs(4326)
    columns = {name: [getattr(window, name) for _, window in places] for name in Window._fields}
    return gpd.GeoDataFrame({"source": [source for source, _ in places], **columns}, geometry=[*shapes], crs=4326)


def lattice(source: str, edge: int, size: int) -> list[tuple[str, Window]]:
    return [(source, Window(row * size, col * size, size, size)) for row in range(edge) for col in range(edge)]


@pytest.mark.parametrize("pixel_m", [0.05, 10.0, 30.0, None])
def test_neighbours_in_all_directions_only_touch(pixel_m: float | None):
    """Chips of a drone as well, whose rounded corners weigh most."""
    chips = table(lattice("s", 9, 256), pixel_m=pixel_m)
    trained = np.random.default_rng(1).random(len(chips)) < 0.5
    ground = TrainingGround.of(chips[trained])
    assert ground.overlaps(chips).tolist() == trained.tolist()
    assert TrainingGround.of(chips).overlaps(chips).all()


def test_a_strip_of_one_percent_is_touching_and_of_two_is_not():
    ground = TrainingGround.of(table([("a", Window(0, 0, 400, 400))]))
    for col, wanted in ((400, False), (397, False), (392, True), (0, True), (-400, False)):
        assert ground.overlaps(table([("b", Window(0, col, 400, 400))])).tolist() == [wanted], col


def test_a_place_is_known_whatever_its_file_is_called_and_a_source_only_where_no_place_is():
    here, window = ("scene", Window(0, 0, 64, 64)), Window(0, 0, 64, 64)
    ground = TrainingGround.of(table([here]))
    assert (
        ground.overlaps(table([("renamed", window)])).all() and not ground.overlaps(table([here], pixel_m=None)).any()
    )
    adrift = TrainingGround.of(table([here], pixel_m=None))
    assert adrift.overlaps(table([here], pixel_m=None)).all()
    assert not adrift.overlaps(table([("renamed", window)], pixel_m=None)).any()
    assert not adrift.overlaps(table([here])).any()
    assert adrift.footprints.is_empty and not TrainingGround.of(table([])).overlaps(table([here])).any()


@settings(max_examples=50)
@given(st.lists(windows, max_size=5), windows)
def test_windows_of_a_source_overlap_as_their_pixels_do(trained: list[Window], asked: Window):
    pixels = np.zeros((80, 80), bool)
    disjoint = []
    for window in trained:
        if not pixels[window.slices].any():
            pixels[window.slices] = True
            disjoint.append(("s", window))
    ground = TrainingGround.of(table([*disjoint, ("t", Window(0, 0, 80, 80))], pixel_m=None))
    share = pixels[asked.slices].mean()
    assert ground.overlaps(table([("s", asked)], pixel_m=None)).tolist() == [share > 0.01]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ab"), windows), max_size=6), st.booleans(), st.randoms())
def test_it_comes_back_from_a_file_and_does_not_depend_on_the_order(places, placed, random):
    ground = TrainingGround.of(table(places, pixel_m=10.0 if placed else None))
    again = TrainingGround.from_json(json.loads(json.dumps(ground.to_json())))
    assert again == ground and again.to_json() == ground.to_json()
    random.shuffle(places)
    assert TrainingGround.of(table(places, pixel_m=10.0 if placed else None)).to_json() == ground.to_json()


def test_ground_of_a_start_is_ground_too():
    east, west = ("s", Window(0, 64, 64, 64)), ("s", Window(0, 0, 64, 64))
    for pixel_m in (10.0, None):
        both = table([east, west], pixel_m=pixel_m)
        parts = [TrainingGround.of(table([each], pixel_m=pixel_m)) for each in (east, west)]
        joined = parts[0].joined(parts[1])
        assert joined.overlaps(both).all() and joined.is_complete and parts[0].overlaps(both).sum() == 1
        assert joined.windows == parts[1].joined(parts[0]).windows
        unsaid = parts[0].joined(None)
        assert not unsaid.is_complete and unsaid.overlaps(both).tolist() == [True, False]
        assert not TrainingGround.from_json(parts[1].joined(unsaid).to_json()).is_complete


def test_thousands_of_sources_stay_small_in_a_header():
    names = [f"HerbaceousVegetation_{number}" for number in np.random.default_rng(0).permutation(9000)[:5000]]
    adrift = TrainingGround.of(table([(name, Window(0, 0, 64, 64)) for name in names], pixel_m=None))
    placed = TrainingGround.of(table(lattice("s", 70, 256)))
    for ground in (adrift, placed):
        assert len(json.dumps(ground.to_json())) < 50_000


def test_a_large_ground_is_compared_in_pieces():
    chips = table(lattice("s", 40, 64))
    trained = np.random.default_rng(2).random(len(chips)) < 0.75
    ground = TrainingGround.of(chips[trained])
    assert max(map(shapely.get_num_coordinates, shapely.get_parts(ground.footprints))) > 5 * CORNERS
    assert ground.overlaps(chips).tolist() == trained.tolist()


def test_the_share_of_a_place_is_by_area_on_the_ellipsoid():
    """The northern half in degrees is less than half of an area: pyproj's geodesic areas say how much."""
    whole, north = shapely.box(10, 40, 11, 60), shapely.box(10, 50, 11, 60)
    dense = [shapely.segmentize(each, 0.05) for each in (north, whole)]
    areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(each)[0]) for each in dense]
    ground = TrainingGround(north, {})
    assert ground.share_of(whole) == pytest.approx(areas[0] / areas[1], rel=1e-4)
    assert ground.share_of(north) == pytest.approx(1) and ground.share_of(shapely.box(0, 0, 1, 1)) == 0
    assert ground.summary()["area_ha"] == pytest.approx(areas[0] / 10_000, rel=1e-4)


def test_chips_of_a_real_folder_are_recognised_after_cutting_them_anew(tmp_path: Path):
    scene, fields = small_scene.write_raster(tmp_path / "scene.tif"), tmp_path / "fields.gpkg"
    small_scene.fields().to_file(fields)
    labels = LabelOptions(fields, background="known")
    folder = cut(scene, labels, tmp_path / "chips", size=32, validation=0.3)
    ground = TrainingGround.of(folder.where(split="train").index)
    assert ground.overlaps(folder.index).tolist() == (folder.index["split"] == "train").tolist()
    renamed = scene.rename(tmp_path / "other.tif")
    again = cut(renamed, labels, tmp_path / "again", size=64, validation=1.0)
    assert ground.overlaps(again.index).any() and "other" in {*again.index["source"]}
    plain = small_scene.write_raster(tmp_path / "plain.tif", crs=None)
    flat = {"opening": SceneOptions(pixel_m=10.0), "size": 32, "validation": 0.0}
    adrift = cut(plain, LabelOptions(whole="cropland"), tmp_path / "flat", **flat)
    assert not ground.overlaps(adrift.index).any()
    assert TrainingGround.of(adrift.index).overlaps(adrift.index).all()


def cut(scene: Path, labels: LabelOptions, out: Path, **options) -> ChipFolder:
    from cropland.data.chips import open_chips

    cut_chips(scene, labels, out, **options)
    return open_chips(out)
