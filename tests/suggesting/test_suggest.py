"""Windows are worth labelling by what is measured of them, lie apart, and become chips once they are done."""

from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image as Picture
from rasterio.features import rasterize

import cropland
from cropland import cli
from cropland.data.chips import open_chips
from cropland.data.cut import cut_chips, windows
from cropland.data.labels import LabelOptions
from cropland.demo import FIELDS, TILE
from cropland.errors import BandError, ChipError, GridError, LabelError, OutputError, SceneError
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.probability import from_levels
from cropland.suggesting.suggest import MOST, Suggestions, Taken, _Lattice, choose, suggest
from rasters import write_raster
from small_model import save_model

SIZE = 64  # of a window: the quarter of the sample has 8 x 8 of them
FIGURES = ["score", "unsure", "disagree", "unlike"]
NONE = np.zeros((0, 1))


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places)[:, None]


def far_apart(count: int) -> np.ndarray:
    return np.array([(9 * number, 0) for number in range(count)])


def test_the_first_is_the_most_uncertain_and_the_next_lie_far_from_it():
    features, worth = on_a_line(0, 1, 4, 10), np.array([0.6, 1.0, 0.9, 0.5])
    taken = choose(features, worth, far_apart(4), known=NONE, n=3, apart=2)
    # From 1: 0 is 1 away, 4 is 3, 10 is 9, of 10 in all. Then from 1 and 10: 0 is 1 away, 4 is 3.
    assert [each.number for each in taken] == [1, 3, 2]
    assert [each.unlike for each in taken] == pytest.approx([1, 0.9, 0.3])
    assert [each.score for each in taken] == pytest.approx([1, 0.405, 0.081])


def test_what_is_labelled_already_counts_as_taken_before():
    features, worth = on_a_line(0, 1, 4, 10), np.ones(4)
    known = on_a_line(9, 12)
    (first,) = choose(features, worth, far_apart(4), known=known, n=1, apart=2)
    assert first == Taken(0, pytest.approx((9 / 12) ** 2), pytest.approx(9 / 12), pytest.approx(3 / 4))


def test_a_channel_counts_by_its_own_spread():
    features = np.array([[0, 0], [1000, 0], [0, 1], [0, 2]], float)
    taken = choose(features, np.array([1, 0.5, 0.1, 0.5]), far_apart(4), known=np.zeros((0, 2)), n=2, apart=2)
    spread = features.std(axis=0)
    assert 2 / spread[1] > 1000 / spread[0] and [each.number for each in taken] == [0, 3]


def test_windows_do_not_touch_and_give_up_distance_before_number():
    cells = np.array([(row, column) for row in range(5) for column in range(5)])
    features = np.random.default_rng(0).normal(size=(25, 3))
    known, worth = np.zeros((0, 3)), np.random.default_rng(1).uniform(size=25)

    def gap(n: int, apart: int) -> tuple[int, int]:
        taken = cells[[each.number for each in choose(features, worth, cells, known=known, n=n, apart=apart)]]
        return len(taken), np.abs(taken[:, None] - taken).max(axis=2)[~np.eye(len(taken), dtype=bool)].min()

    count, nearest = gap(2, 3)
    assert (count, nearest >= 3) == (2, True)
    count, nearest = gap(25, 4)  # four that are four apart would fit, and nine that do not touch
    assert 4 < count <= 9 and nearest == 2


def test_a_constant_network_still_gives_windows():
    taken = choose(np.zeros((4, 1)), np.zeros(4), far_apart(4), known=NONE, n=2, apart=2)
    assert [tuple(each) for each in taken] == [(0, 0, 1, 0), (1, 0, 0, 0)]


@pytest.mark.parametrize("shape", [(10, 10), (1000, 100_000), (100_000, 100), (7, 65_000), (30_000, 30_000)])
def test_windows_that_are_looked_at_lie_evenly(shape: tuple[int, int]):
    lattice = _Lattice.of(shape, size=100)
    cells = np.array(lattice.evenly(MOST))
    assert len(cells) <= MOST and len({*map(tuple, cells.tolist())}) == len(cells)
    assert len(cells) > 0.5 * min(MOST, lattice.rows * lattice.columns)
    assert (cells >= 0).all() and (cells < (lattice.rows, lattice.columns)).all()
    for axis in cells.T:
        steps = np.diff(np.unique(axis))
        assert not len(steps) or steps.max() <= steps.min() + 1
    assert lattice.window((lattice.rows - 1, lattice.columns - 1)) == windows(shape, size=100)[-1]


@pytest.fixture(scope="module")
def suggested(quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Suggestions, Path]:
    """By the model that ships, saved."""
    out = tmp_path_factory.mktemp("suggest") / "suggestions"
    return cropland.suggest(quarter, n=5, out=out, size=SIZE), out


def test_windows_are_chips_to_be_and_in_order(suggested, quarter: Path):
    found, _ = suggested
    scene, frame = open_scene(quarter), found.windows
    lattice = windows(scene.shape, size=SIZE)
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5] and not frame["done"].any() and set(found.chosen) <= {*lattice}
    for outline, window in zip(frame.geometry, found.chosen, strict=True):
        expected = rasterio.windows.bounds(window.in_file, scene.grid.affine)
        assert outline.bounds == pytest.approx(expected, abs=1e-12) and len(outline.exterior.coords) == 5
    assert (frame[FIGURES] >= 0).all(axis=None) and (frame[FIGURES] <= 1).all(axis=None)
    assert frame["unlike"][0] == 1 and frame["score"].is_monotonic_decreasing
    assert all(a.touches(b) is False for a in frame.geometry for b in frame.geometry) and not found.notes
    assert frame["reason"].str.startswith(("The model is unsure", "Its answer", "The window looks")).all()
    assert "Its answer changes" in frame["reason"][frame["disagree"].idxmax()]


def test_figures_are_means_over_what_the_model_says(suggested):
    found, _ = suggested
    threshold = found.model.nearest_pixel(found.scene.pixel_m).threshold
    for row, look in zip(found.windows.itertuples(), found.looks, strict=True):
        p = look.probability.astype(float)
        unsure = np.where(p < threshold, p / threshold, (1 - p) / (1 - threshold)).mean()
        assert (row.unsure, row.disagree) == pytest.approx((unsure, look.disagreement.mean()), abs=1e-6)


def test_the_same_windows_come_again(quarter: Path, tmp_path: Path):
    model = save_model(tmp_path / "m.safetensors", pixel_m=4.0)
    first, again = (suggest(open_scene(quarter), model, n=5, size=SIZE).windows for _ in range(2))
    assert again.equals(first) and len(first) == 5


def test_they_show_themselves(suggested):
    found, _ = suggested
    shown = found._repr_html_()
    assert "5 windows of quarter" in shown and found.windows["reason"][4] in shown and "image/png" in shown


def test_the_folder_is_ready_to_draw_in(suggested):
    found, out = suggested
    assert sorted(path.name for path in out.iterdir()) == [
        "labels.gpkg",
        "probability.tif",
        "suggest.qgs",
        "windows.gpkg",
        "windows.png",
    ]
    labels = pyogrio.read_info(out / "labels.gpkg")
    assert (labels["features"], labels["geometry_type"], labels["crs"]) == (0, "MultiPolygon", "EPSG:4326")
    assert labels["layer_name"] == "labels" and labels["fields"].tolist() == ["note"]
    kept = gpd.read_file(out / "windows.gpkg")
    assert kept.drop(columns="geometry").equals(found.windows.drop(columns="geometry")) and kept["done"].dtype == bool
    assert kept.geometry.geom_equals(found.windows.geometry).all()
    with rasterio.open(out / "probability.tif") as file:
        levels, nodata = file.read(1), file.nodata
        for window, look in zip(found.chosen, found.looks, strict=True):  # working pixels of 2 m
            part = Window(*(edge // 2 for edge in window)).slices
            np.testing.assert_allclose(from_levels(levels[part]), look.probability, atol=0.5 / 254 + 1e-6)
            levels[part] = 255
    assert nodata == 255 and (levels == 255).all()
    with Picture.open(out / "windows.png") as picture:
        assert picture.width > 1500 and picture.height > 900


def test_qgis_shows_scene_windows_and_labels(suggested, quarter: Path):
    _, out = suggested
    root = ElementTree.parse(out / "suggest.qgs").getroot()
    layers = {layer.findtext("layername"): layer for layer in root.iter("maplayer")}
    sources = {name: layer.findtext("datasource") for name, layer in layers.items()}
    assert [*layers] == ["labels", "windows", "probability", "scene"]
    assert (out / sources.pop("scene")).resolve() == quarter.resolve()
    assert sources == {
        "labels": "./labels.gpkg|layername=labels",
        "windows": "./windows.gpkg|layername=windows",
        "probability": "./probability.tif",
    }
    shown = [each.get("name") for each in root.iter("layer-tree-layer") if each.get("checked") == "Qt::Checked"]
    assert shown == ["labels", "windows", "scene"]
    drawn = layers["windows"]
    assert drawn.get("labelsEnabled") == "1" and drawn.find("labeling/settings/text-style").get("fieldName") == "rank"
    assert [field.get("name") for field in drawn.find("fieldConfiguration")] == ["done"]
    locked = {field.get("name") for field in drawn.find("editable")}
    assert locked == {"fid", "rank", *FIGURES, "reason"} and layers["labels"].find("editable") is None
    assert len(drawn.findall("renderer-v2/rules/rule")) == len(drawn.findall("renderer-v2/symbols/symbol")) == 2


@pytest.fixture
def done(suggested, tmp_path: Path) -> tuple[gpd.GeoDataFrame, Path, Path]:
    """A person draws the fields of the first three windows, ticks them, and a single field of the fourth."""
    _, out = suggested
    frame, fields = gpd.read_file(out / "windows.gpkg"), gpd.read_file(FIELDS)
    frame["done"] = frame["rank"] <= 3
    drawn = gpd.clip(fields, frame[frame["rank"] <= 4].union_all())[["geometry"]]
    frame.to_file(tmp_path / "windows.gpkg", layer="windows")
    drawn.explode().query("geometry.geom_type == 'Polygon'").to_file(tmp_path / "labels.gpkg", layer="labels")
    return frame, tmp_path / "windows.gpkg", tmp_path / "labels.gpkg"


def test_windows_that_are_not_done_stay_unknown(quarter: Path, done, tmp_path: Path):
    frame, looked_at, labels = done
    report = cropland.cut_chips(
        quarter, labels, tmp_path / "chips", background="known", inside=looked_at, size=SIZE, validation=0
    )
    assert "3 of 5 windows of windows.gpkg are done" in report.notes[-1]
    chips = open_chips(tmp_path / "chips")
    assert len(chips) == 3 and (chips.index["share_unknown"] == 0).all()
    # By the fields that the sample ships with, whole.
    fields = gpd.read_file(FIELDS).geometry
    outlines = chips.index.geometry
    ticked = frame[frame["done"]].geometry
    for number in range(3):
        assert ticked.intersects(outlines[number].centroid).sum() == 1
        row = chips.index.iloc[number]
        with rasterio.open(chips.path / row["label"]) as file:
            expected = rasterize(fields, file.shape, transform=file.transform)
        assert np.mean(chips.read(number).target != expected) < 0.01  # along the edge where the fields were clipped
    assert chips.index["share_other"].max() > 0.1


def test_done_windows_without_a_field_teach_what_is_no_cropland(quarter: Path, suggested, done, tmp_path: Path):
    empty = suggested[1] / "labels.gpkg"  # as `suggest` leaves it
    report = cropland.cut_chips(
        quarter, empty, tmp_path / "chips", background="known", inside=done[1], size=SIZE, validation=0
    )
    assert "labels.gpkg holds no polygon: nothing within windows.gpkg is cropland" in report.notes
    assert (open_chips(tmp_path / "chips").index["share_other"] == 1).all()
    with pytest.raises(LabelError, match=r"labels\.gpkg has no polygon among 0 features"):
        cropland.cut_chips(quarter, empty, tmp_path / "none", background="unknown", inside=done[1], size=SIZE)


def test_without_a_tick_nothing_is_taken_for_done(quarter: Path, suggested, done, tmp_path: Path):
    labels = LabelOptions(done[2], background="known", inside=suggested[1] / "windows.gpkg")
    with pytest.raises(LabelError, match=r"none of the 5 windows of windows\.gpkg is done; tick `done`"):
        cut_chips(quarter, labels, tmp_path / "chips", size=SIZE)
    assert not (tmp_path / "chips").exists()


def test_what_is_labelled_is_not_suggested_again(quarter: Path, suggested, done, tmp_path: Path):
    first, _ = suggested
    chips, model = tmp_path / "chips", save_model(tmp_path / "m.safetensors", pixel_m=2.0)
    cut = cropland.cut_chips(quarter, done[2], chips, background="known", inside=done[1], size=SIZE)
    assert sorted(cut.chips["split"]) == ["train", "train", "validation"]
    found = suggest(open_scene(quarter), model, n=5, size=SIZE, labelled=chips)
    assert not {*found.chosen} & {*first.chosen[:3]} and found.windows["unlike"][0] < 1


def test_the_command_tells_what_to_do_next(quarter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, out = save_model(tmp_path / "m.safetensors", pixel_m=4.0), tmp_path / "s"
    line = ["suggest", str(quarter), "--model", str(model.path), "--n", "40", "--size", "100", "--out", str(out)]
    assert cli.main(line) == 0
    told = capsys.readouterr().out
    count = len(gpd.read_file(out / "windows.gpkg"))
    assert 1 < count <= 9 and f"Only {count} windows of 100 pixels lie apart" in told
    command = f"--labels {out / 'labels.gpkg'} --background known --inside {out / 'windows.gpkg'} --size 100"
    assert command in told.replace("\n", " ")
    (out / "labels.gpkg").write_bytes(b"what somebody drew")
    assert cli.main(line) == 2 and (out / "labels.gpkg").read_bytes() == b"what somebody drew"
    assert "holds suggestions already, and perhaps labels" in capsys.readouterr().err
    assert cli.main([*line, "--overwrite"]) == 0 and pyogrio.read_info(out / "labels.gpkg")["features"] == 0


def test_the_reason_is_told_in_the_language_of_the_person(quarter: Path, tmp_path: Path):
    model = save_model(tmp_path / "m.safetensors", pixel_m=4.0)
    line = ["--lang", "zh", "suggest", str(quarter), "--model", str(model.path), "--n", "1", "--size", "200"]
    assert cli.main([*line, "--out", str(tmp_path / "s")]) == 0
    (reason,) = gpd.read_file(tmp_path / "s" / "windows.gpkg")["reason"]
    assert "窗口" in reason or "模型" in reason


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def test_windows_that_are_mostly_no_data_are_left_out(tmp_path: Path):
    values = noise(3, 200, 200)
    values[:, :120] = 0
    scene = open_scene(write_raster(tmp_path / "s.tif", values, nodata=0), bands="red=1,green=2,blue=3")
    model = save_model(tmp_path / "m.safetensors")
    found = suggest(scene, model, n=9, size=40)
    assert {window.row for window in found.chosen} <= {120, 160} and len(found.chosen) == 3
    with pytest.raises(SceneError, match="no window of 200 x 200 pixels of s has data on half"):
        suggest(scene, model, n=1, size=200)


def test_what_cannot_be_used(tmp_path: Path):
    model, scene = save_model(tmp_path / "m.safetensors"), open_scene(TILE)
    bare = write_raster(tmp_path / "bare.tif", noise(3, 64, 64), crs=None)
    named = {"bands": "red=1,green=2,blue=3"}
    with pytest.raises(GridError, match="bare has no CRS, so no labels can be drawn over its windows; give crs="):
        suggest(open_scene(bare, pixel_m=10, **named), model, n=1, size=32)
    infrared = save_model(tmp_path / "nir.safetensors", bands=("nir",))
    with pytest.raises(BandError, match="naip_minnesota has no band nir"):
        suggest(scene, infrared, n=1, size=256)
    (tmp_path / "file").write_text("a", encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("a", encoding="utf-8")
    for name, words in (
        ("w.gpkg", "give a folder as out="),
        ("file", "is a file; give a folder"),
        ("mine", "holds files that are not suggestions"),
    ):
        with pytest.raises(OutputError, match=words):
            suggest(scene, model, tmp_path / name, n=1, size=256, overwrite=True)
    with pytest.raises(ChipError, match="is not a chip folder"):
        suggest(scene, model, n=1, size=256, labelled=tmp_path / "mine")
    with pytest.raises(ChipError, match="the model also wants nir"):
        chips = tmp_path / "chips"
        cropland.cut_chips(TILE, LabelOptions(whole="other"), chips, validation=0, size=512)
        suggest(open_scene(bare, crs="EPSG:32650", bands="nir=1"), infrared, n=1, size=32, labelled=chips)
    with pytest.raises(cropland.errors.InputError, match="0 windows of 256 pixels: expected 1 or more"):
        suggest(scene, model, n=0)
