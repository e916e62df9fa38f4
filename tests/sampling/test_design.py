"""What a sample is made of, that it tells nothing of the map, and that it is drawn by chance and area alone."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from affine import Affine

from cropland import cli
from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.geo.map_folder import imagery_of
from cropland.geo.mask import Mask
from cropland.geo.scene import open_scene
from cropland.sampling.design import design_sample, draw
from cropland.sampling.strata import make_strata
from rasters import write_raster
from sampling.small_sample import SHAPE, design_of, mask_of, truth, write_mask


def test_the_points_tell_nothing_of_the_map(drawn):
    _, sample = drawn
    frame = gpd.read_file(sample)
    assert pyogrio.list_layers(sample)[:, 0].tolist() == ["sample"]
    assert [*frame.columns] == ["id", "reference", "note", "geometry"] and frame.crs.to_epsg() == 32650
    assert frame["reference"].isna().all() and frame["id"].tolist() == [*range(1, 201)]
    strata = np.array(design_of(sample)["pixels"])[:, 2]
    runs = 1 + int((np.diff(strata) != 0).sum())
    assert runs > 60, "the order of the ids is that of chance, not of the strata"


def test_the_points_are_centres_of_pixels_of_their_strata(drawn):
    mask, sample = drawn
    design, points = design_of(sample), gpd.read_file(sample).geometry
    rows, cols, strata = np.array(design["pixels"]).T
    assert points.x.to_numpy() == pytest.approx(500_005 + 10 * cols) and points.y.to_numpy() == pytest.approx(
        3_999_995 - 10 * rows
    )
    made = make_strata(Mask.open(mask), "edge")
    (tile,) = made.blocks(Mask.open(mask))
    assert (made.read(Mask.open(mask), tile)[0][rows, cols] == strata).all()
    assert len({*zip(rows.tolist(), cols.tolist(), strict=True)}) == 200


def test_the_design_is_written_down(drawn):
    design = design_of(drawn[1])
    assert design["format"] == 1 and design["mask"]["name"] == "mask.tif" and design["mask"]["shape"] == [*SHAPE]
    assert design["options"] == {
        "strata": "edge",
        "edge_m": pytest.approx(20, rel=1e-3),
        "probability": None,
        "n": 200,
        "margin": None,
        "least": 50,
        "seed": 0,
    }
    values = mask_of(truth())
    assert sum(each["pixels"] for each in design["strata"]) == (values != 255).sum()
    assert [each["map_class"] for each in design["strata"]] == [0, None, 1]
    assert [each["points"] for each in design["strata"]] == np.bincount(np.array(design["pixels"])[:, 2]).tolist()
    assert design["unmapped_m2"] == pytest.approx(600 * 100, rel=1e-3) and len(design["sample"]) == 12


def pixels_of(mask: Path, **how: object) -> list[list[int]]:
    return design_sample(mask, n=80, **how).about["pixels"]


def test_the_seed_decides_and_nothing_else(tmp_path: Path):
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    mask, again = write_mask(tmp_path / "a.tif"), write_mask(tmp_path / "b.tif", **tiled)
    assert pixels_of(mask) == pixels_of(again) != pixels_of(mask, seed=1)


def test_the_draw_does_not_depend_on_what_lies_beside(tmp_path: Path):
    """A block has its own numbers: the pixels of a first block are drawn in the same order in a larger raster."""
    wide = np.zeros((40, 1100), np.uint8)
    small, large = (write_raster(tmp_path / f"{w}.tif", wide[:, :w]) for w in (1024, 1100))

    def drawn(path: Path, n: int) -> set[tuple[int, ...]]:
        mask = Mask.open(path)
        return {*map(tuple, draw(mask, make_strata(mask, "mask"), np.array([n, 0]), seed=5).tolist())}

    inside = {each for each in drawn(large, 200) if each[1] < 1024}
    assert 150 < len(inside) < 200 and inside == drawn(small, len(inside))


def test_a_pixel_is_drawn_with_a_chance_in_proportion_to_its_area(tmp_path: Path):
    """From the equator to 80 degrees north pixels shrink to a sixth."""
    affine = Affine(0.5, 0, 0, 0, -1, 80)
    mask = Mask.open(write_raster(tmp_path / "m.tif", np.zeros((80, 100), np.uint8), crs="EPSG:4326", transform=affine))
    rows = np.concatenate([draw(mask, make_strata(mask, "mask"), np.array([150, 0]), seed=s)[:, 0] for s in range(24)])
    # Half of the area between 0 and 80 degrees lies below this latitude on a sphere.
    middle = np.degrees(np.arcsin(np.sin(np.radians(80)) / 2))
    south = (rows > 80 - middle).mean()
    assert south == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(rows))) and middle < 30


def test_the_margin_decides_the_size(tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif")
    wide, narrow = design_sample(mask, margin=0.05), design_sample(mask, margin=0.03)
    assert len(wide.points) < len(narrow.points)
    # 0.05 and 0.95 in both strata: p (1 - p) = 0.0475 whatever the weights
    assert len(narrow.points) == pytest.approx(0.0475 * (1.96 / 0.03) ** 2, abs=12)
    assert (
        "for a margin of 0.03" in narrow.about["notes"][0]
        and "0.95 where cropland is mapped" in narrow.about["notes"][0]
    )


def test_the_probability_beside_the_mask_says_what_is_anticipated(tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif")
    before = len(design_sample(mask, margin=0.03).points)
    levels = np.where(mask_of(truth()) == 1, 252, 2).astype(np.uint8)
    write_raster(tmp_path / "probability.tif", levels)
    after = design_sample(mask, margin=0.03)
    assert len(after.points) < before and "the mean probability of each stratum" in after.about["notes"][0]
    assert after.about["options"]["probability"] == "probability.tif"


def test_a_mask_of_one_class_is_one_stratum(tmp_path: Path):
    mask = write_raster(tmp_path / "mask.tif", np.ones((30, 30), np.uint8))
    found = design_sample(mask, n=40, strata="edge")
    assert found.about["notes"][0] == "The mask has one stratum only: cropland."
    assert [each["points"] for each in found.about["strata"]] == [0, 0, 40]


def test_without_a_crs_the_size_of_a_pixel_must_be_said(tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif", crs=None)
    with pytest.raises(GridError, match="no coordinate reference system"):
        design_sample(mask, n=50)
    found = design_sample(mask, n=50, pixel_m=2)
    assert sum(each["area_m2"] for each in found.about["strata"]) == pytest.approx(4 * (mask_of(truth()) != 255).sum())


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({}, "give one of the two: n=300 for so many points, or margin=0.02"),
        ({"n": 10, "margin": 0.1}, "give one of the two"),
        ({"margin": 2.0}, "margin=2: give a share between 0 and 1"),
        ({"n": 100_000}, "n=100000 is more than the 17400 pixels that are mapped"),
        ({"n": 3}, "n=3 is too few for 2 strata"),
    ],
)
def test_sizes_that_cannot_be(how, told, tmp_path: Path):
    with pytest.raises(InputError, match=told):
        design_sample(write_mask(tmp_path / "mask.tif"), **how)


def test_answers_are_not_thrown_away(drawn, tmp_path: Path):
    mask, sample = drawn
    with pytest.raises(OutputError, match="holds a sample already"):
        design_sample(mask, sample.parent, n=10)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputError, match="holds files that are not a sample"):
        design_sample(mask, tmp_path / "letters", n=10, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        design_sample(mask, tmp_path / "file", n=10)


def test_the_command_prints_the_strata_and_writes_a_sheet(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_mask(Path("mask.tif"))
    write_raster(Path("scene.tif"), np.repeat(80 * truth()[None] + 60, 3, axis=0).astype(np.uint8))
    assert cli.main(["area", "design", "mask.tif", "--n", "20", "--imagery", "scene.tif"]) == 0
    told = capsys.readouterr().out
    assert "not cropland" in told and "percentage points" in told and "area_sample" in told
    names = {path.name for path in Path("area_sample").iterdir()}
    assert names == {"sample.gpkg", "design.json", "sheet.html", "sample.qgs"}
    sheet, design = (Path("area_sample", name).read_text(encoding="utf-8") for name in ("sheet.html", "design.json"))
    assert json.loads(design)["sample"] in sheet


def test_the_imagery_of_a_map_is_found(tmp_path: Path):
    path = write_raster(tmp_path / "scene.tif", np.repeat(80 * truth()[None] + 60, 3, axis=0).astype(np.uint8))
    scene, mask = open_scene(path, bands={"red": 1, "green": 2, "blue": 3}), write_mask(tmp_path / "map" / "mask.tif")
    about = {"found": {}, "scene": {"crs": scene.grid.crs.to_wkt()}, "imagery": imagery_of(scene, tmp_path / "map")}
    (tmp_path / "map" / "map.json").write_text(json.dumps(about), encoding="utf-8")
    design_sample(mask, tmp_path / "sample", n=10)
    assert (tmp_path / "sample" / "sheet.html").exists()
    (tmp_path / "scene.tif").unlink()
    found = design_sample(mask, tmp_path / "again", n=10)
    assert not (tmp_path / "again" / "sheet.html").exists() and "No imagery is known" in found.about["notes"][-1]


def test_the_folder_of_a_map_stands_for_its_mask(tmp_path: Path):
    mask = write_mask(tmp_path / "map" / "mask.tif")
    write_raster(tmp_path / "map" / "probability.tif", np.where(truth(), 200, 20).astype(np.uint8))
    with pytest.raises(SceneError, match="is a folder, but not that of a map"):
        design_sample(tmp_path / "map", n=20)
    (tmp_path / "map" / "map.json").write_text('{"found": {}}', encoding="utf-8")
    found = design_sample(tmp_path / "map", n=20)
    assert found.about == design_sample(mask, n=20).about and found.about["mask"]["name"] == "mask.tif"


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("place", [{"crs": "EPSG:32650"}, {"pixel_m": 10}], ids=str)
def test_imagery_without_a_crs_has_that_of_the_mask(place, tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif", crs=None)
    scene = np.repeat(80 * truth()[None] + 60, 3, axis=0).astype(np.uint8)
    write_raster(tmp_path / "scene.tif", scene, crs=None)
    design_sample(mask, tmp_path / "sample", n=10, imagery=tmp_path / "scene.tif", **place)
    assert (tmp_path / "sample" / "sheet.html").exists()
