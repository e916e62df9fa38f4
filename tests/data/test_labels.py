"""Polygons, rasters and single words as labels, drawn on a real scene."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from small_scene import CRS, FOREST, HEIGHT, LEFT, PERHAPS, PIXEL, RICE, TOP, WHEAT, WIDTH, box, fields, write_raster

from cropland.cli import main
from cropland.data.labels import LabelOptions, read_labels
from cropland.errors import InputError, LabelError
from cropland.geo.scene import open_scene
from cropland.geo.window import Window

ALL = Window(0, 0, HEIGHT, WIDTH)


def drawn(scene_path, window=ALL, **options):
    return read_labels(LabelOptions(**options)).on(open_scene(scene_path))(window)


def expected(*, crop, other=(), unknown=(), background):
    label = np.full((HEIGHT, WIDTH), background, np.uint8)
    for value, rectangles in ((0, other), (1, crop), (255, unknown)):
        for col, row, width, height in rectangles:
            label[row : row + height, col : col + width] = value
    return label


@pytest.mark.parametrize("background, value", [("known", 0), ("unknown", 255)])
def test_outside_the_polygons_is_what_the_background_says(scene, fields_path, background, value):
    label = drawn(scene, labels=fields_path, where="crop IN ('rice', 'wheat')", background=background)
    np.testing.assert_array_equal(label, expected(crop=[RICE, WHEAT], background=value))


def test_without_a_background_the_question_is_asked(scene, fields_path):
    with pytest.raises(LabelError, match=r"background='known' .* background='unknown'"):
        drawn(scene, labels=fields_path)


def test_unknown_where_and_inside(scene, fields_path, tmp_path):
    area = tmp_path / "area.geojson"
    gpd.GeoDataFrame(geometry=[box(0, 0, 100, 100)], crs=CRS).to_crs(4326).to_file(area)
    label = drawn(
        scene,
        labels=fields_path,
        where="crop = 'rice'",
        background="known",
        unknown_where="crop = 'perhaps'",
        inside=area,
    )
    wanted = expected(crop=[RICE], unknown=[PERHAPS], background=0)
    wanted[100:], wanted[:, 100:] = 255, 255
    np.testing.assert_array_equal(label, wanted)


def test_the_land_survey_knows_cropland_and_everything_else_it_names(scene, fields_path):
    label = drawn(scene, labels=fields_path, preset="dlbm", background="unknown")
    np.testing.assert_array_equal(label, expected(crop=[RICE, WHEAT], other=[FOREST], background=255))


def test_polygons_in_another_crs_fall_on_the_same_pixels(scene, tmp_path):
    path = tmp_path / "fields.geojson"
    fields().to_crs(4326).to_file(path)
    label = drawn(scene, labels=path, where="crop = 'rice'", background="known")
    np.testing.assert_array_equal(label, expected(crop=[RICE], background=0))


def test_a_window_is_the_same_part_of_the_whole(scene, fields_path):
    options = {"labels": fields_path, "where": "crop IN ('rice', 'forest')", "background": "known"}
    whole = drawn(scene, **options)
    for window in (Window(0, 0, 1, 1), Window(50, 40, 30, 100), Window(127, 191, 1, 1), Window(60, 70, 20, 20)):
        np.testing.assert_array_equal(drawn(scene, window, **options), whole[window.slices])


def test_a_shapefile_with_gbk_attributes_and_no_cpg(scene, tmp_path):
    path = tmp_path / "耕地.shp"
    chinese = fields().assign(地类=["水田", "旱地", "林地", "水田"])
    chinese.drop(columns="crop").to_file(path, encoding="GBK")
    path.with_suffix(".cpg").unlink(missing_ok=True)
    label = drawn(scene, labels=path, where="\"地类\" IN ('水田', '旱地')", encoding="GBK", background="known")
    np.testing.assert_array_equal(label, expected(crop=[RICE, WHEAT, PERHAPS], background=0))


def test_a_gdb_with_many_layers(scene, tmp_path):
    path = tmp_path / "survey.gdb"
    for layer, part in (("DLTB", fields()), ("roads", fields().iloc[2:3])):
        part.to_file(path, layer=layer, driver="OpenFileGDB")
    label = drawn(scene, labels=path, layer="DLTB", preset="dlbm", background="unknown")
    np.testing.assert_array_equal(label, expected(crop=[RICE, WHEAT], other=[FOREST], background=255))
    with pytest.raises(InputError, match=r"DLTB.*roads"):
        drawn(scene, labels=path, preset="dlbm", background="unknown")


def test_no_polygon_after_where_names_the_values_there_are(scene, fields_path):
    with pytest.raises(InputError, match=r"rice"):
        drawn(scene, labels=fields_path, where="crop = 'Rice paddy'", background="known")


def test_a_survey_without_its_field_is_told_so(scene, tmp_path):
    path = tmp_path / "plain.gpkg"
    fields()[["geometry"]].to_file(path)
    with pytest.raises(LabelError, match=r"preset='dlbm' reads the field DLBM, and plain\.gpkg has no fields"):
        drawn(scene, labels=path, preset="dlbm", background="known")


def test_no_polygon_meets_the_scene(scene, tmp_path):
    path = tmp_path / "far.gpkg"
    fields().set_geometry(fields().translate(50_000, 0)).to_file(path)
    with pytest.raises(LabelError, match=r"no polygon of far\.gpkg meets scene.*check the CRS"):
        drawn(scene, labels=path, background="known")


def test_labels_without_a_crs_are_refused(scene, tmp_path):
    path = tmp_path / "lost.shp"
    fields().set_crs(None, allow_override=True).to_file(path)
    with pytest.raises(InputError, match="no coordinate reference system"):
        drawn(scene, labels=path, background="known")


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "give labels=FILE"),
        ({"labels": "fields", "whole": "other"}, "one of the three"),
        ({"whole": "other", "background": "known"}, "background= does not apply"),
        ({"labels": "fields", "background": "known", "classes": "1=1"}, "classes= does not apply"),
        ({"labels": "fields", "background": "known", "preset": "dlbm", "where": "a=1"}, "where= does not apply"),
        ({"labels": "fields", "background": "known", "preset": "clc"}, "known are dlbm"),
        (
            {"labels": "fields", "background": "known", "where": "a ="},
            "is no condition in SQL; .* has the fields crop, DLBM",
        ),
        ({"labels": "scene", "background": "known", "layer": "x"}, "layer=, background= does not apply"),
        ({"labels": "missing.gpkg"}, "is not there"),
        ({"labels": "text", "background": "known"}, "not a vector file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(scene, fields_path, tmp_path, options, words):
    (tmp_path / "note.txt").write_text("hello", encoding="utf-8")
    known = {"fields": fields_path, "scene": scene, "text": tmp_path / "note.txt", "missing.gpkg": tmp_path / "m.gpkg"}
    if "labels" in options:
        options = {**options, "labels": known[options["labels"]]}
    with pytest.raises(InputError, match=words):
        read_labels(LabelOptions(**options))


@pytest.mark.parametrize("whole, value", [("cropland", 1), ("other", 0)])
def test_one_word_for_whole_scenes(scene, whole, value):
    assert (drawn(scene, whole=whole) == value).all()


CODES = np.repeat(np.array([[10, 30, 50, 70, 100, 100]], np.uint8), HEIGHT, axis=0).repeat(WIDTH // 6, axis=1)


def test_a_raster_is_explained_by_its_table(scene, tmp_path):
    path = write_raster(tmp_path / "labels.tif", bands=("class",), values=CODES[None])
    label = drawn(scene, labels=path, classes="50=1,100=255,*=0")
    np.testing.assert_array_equal(label, np.select([CODES == 50, CODES == 100], [1, 255], 0))
    with pytest.raises(LabelError, match=r"values 10, 30, 50, 70, 100: give classes="):
        drawn(scene, labels=path)
    with pytest.raises(LabelError, match=r"values 10: give classes="):
        drawn(scene, labels=path, classes="50=1,100=255,30=0,70=0")


@pytest.mark.parametrize("text", ["50", "50=2", "a=1", "", "50=1,,", "=1", "1=1=1"])
def test_a_table_that_cannot_be_read(scene, text):
    with pytest.raises(LabelError, match="give pairs"):
        read_labels(LabelOptions(labels=scene, classes=text))


def test_declared_no_data_is_unknown_unless_the_table_names_it(scene, tmp_path):
    codes = np.where(CODES == 50, 1, np.where(CODES == 10, 9, 0))[None]
    path = write_raster(tmp_path / "labels.tif", bands=("class",), values=codes, nodata=9)
    np.testing.assert_array_equal(drawn(scene, labels=path), np.where(codes[0] == 9, 255, codes[0]))
    assert (drawn(scene, labels=path, classes="9=1,*=0") == (codes[0] == 9)).all()
    zero = write_raster(tmp_path / "zero.tif", bands=("class",), values=codes % 9, nodata=0)
    with pytest.raises(LabelError, match=r"declares its value 0 to be no data.*1=1,0=0"):
        drawn(scene, labels=zero)
    assert {*np.unique(drawn(scene, labels=zero, classes="1=1,0=255"))} == {1, 255}


def test_a_folder_of_rasters_named_as_the_scenes_are(scene, tmp_path):
    write_raster(tmp_path / "masks/scene.png", bands=("class",), values=(CODES == 50)[None], driver="PNG")
    (tmp_path / "masks" / "scene.pgw").write_text("0", encoding="utf-8")
    np.testing.assert_array_equal(drawn(scene, labels=tmp_path / "masks"), CODES == 50)
    with pytest.raises(LabelError, match=r"no raster for the scene other"):
        drawn(write_raster(tmp_path / "other.tif"), labels=tmp_path / "masks")


def test_a_raster_on_another_grid_gives_its_nearest_pixel_and_unknown_where_it_ends(scene, tmp_path):
    path = tmp_path / "coarse.tif"
    coarse = np.array([[1, 0], [0, 1]], np.uint8)  # pixels of 640 m: the western 128 columns of the scene
    transform = Affine(64 * PIXEL, 0, LEFT, 0, -64 * PIXEL, TOP)
    profile = {"driver": "GTiff", "height": 2, "width": 2, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs=CRS, transform=transform) as file:
        file.write(coarse, 1)
    label = drawn(scene, labels=path)
    np.testing.assert_array_equal(label[:, :128], coarse.repeat(64, axis=0).repeat(64, axis=1))
    assert (label[:, 128:] == 255).all()
    np.testing.assert_array_equal(drawn(scene, Window(60, 100, 10, 60), labels=path), label[60:70, 100:160])


def test_rasters_that_cannot_be_laid_on_the_scene(scene, tmp_path):
    far = write_raster(tmp_path / "far.tif", bands=("class",), values=CODES[None], offset=(10_000, 0))
    with pytest.raises(LabelError, match=r"far\.tif.* does not meet scene"):
        drawn(scene, labels=far, classes="*=0")
    lost = write_raster(tmp_path / "lost.tif", shape=(10, 10), bands=("class",), crs=None)
    with pytest.raises(LabelError, match=r"expected a CRS on both, or the same size"):
        drawn(scene, labels=lost, classes="*=0")


def test_a_damaged_raster_is_one_line(scene, tmp_path):
    noise = np.random.default_rng(0).integers(0, 2, (1, HEIGHT, WIDTH))
    path = write_raster(tmp_path / "labels.tif", bands=("class",), values=noise)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"labels\.tif"):
        drawn(scene, labels=path)


def test_frames_that_proj_cannot_join_are_refused_unless_accepted(scene, tmp_path):
    path = tmp_path / "xian.gpkg"
    fields().set_crs("EPSG:2334", allow_override=True).to_file(path)  # Xi'an 1980, zone 20
    with pytest.raises(InputError, match="allow_datum_shift=True"):
        drawn(scene, labels=path, background="known")
    china = tmp_path / "cgcs2000.gpkg"
    fields().to_crs(4490).to_file(china)
    label = drawn(scene, labels=china, where="crop = 'rice'", background="known")
    np.testing.assert_array_equal(label, expected(crop=[RICE], background=0))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("role", ["labels", "inside"])
def test_points_on_a_lattice_are_neither_pixels_nor_fields(scene, fields_path, tmp_path, suffix, role):
    path, table = (
        tmp_path / f"points{suffix}",
        pd.DataFrame({"x": [1, 2, 1, 2], "y": [2, 2, 3, 3], "crop": [1, 0, 1, 0]}),
    )
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    with pytest.raises(LabelError, match=r"table without geometry.* x, y, crop: .* a point has no area"):
        drawn(scene, **{"labels": fields_path, "background": "known", role: path})


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".feather", ".geojson"])
def test_labels_are_the_same_from_every_format(scene, tmp_path, suffix):
    """Also among so many others that they stay in the file."""
    path = tmp_path / f"fields{suffix}"
    far = [box(col, row, 1, 1) for col in range(1000, 1040) for row in range(40)]
    others = gpd.GeoDataFrame({"crop": "rice", "DLBM": "0101"}, geometry=far, crs=CRS, index=range(len(far)))
    frame = pd.concat([fields(), others]).to_crs(4326)
    {".parquet": frame.to_parquet, ".feather": frame.to_feather}.get(suffix, frame.to_file)(path)
    label = drawn(scene, labels=path, preset="dlbm", background="unknown")
    np.testing.assert_array_equal(label, expected(crop=[RICE, WHEAT], other=[FOREST], background=255))
    frame.iloc[4:].pipe(
        lambda rest: {".parquet": rest.to_parquet, ".feather": rest.to_feather}.get(suffix, rest.to_file)
    )(path)
    with pytest.raises(LabelError, match=r"no polygon of fields.* meets scene, at 115\.88.*they lie at 116\.00"):
        drawn(scene, labels=path, background="known")


def test_what_cannot_be_used_is_a_note_of_the_report(scene, tmp_path, capsys):
    path, shapes = tmp_path / "fields.gpkg", fields().geometry.to_wkb().to_numpy(copy=True)
    shapes[1] = shapely.to_wkb(shapely.Polygon([(LEFT, TOP), (np.inf, TOP), (LEFT, TOP + 10)]))
    pyogrio.raw.write(path, shapes, [], [], geometry_type="Polygon", crs=CRS)
    out = ["--background", "known", "--split", "train", "--out", str(tmp_path / "chips")]
    assert main(["chips", str(scene), "--labels", str(path), *out]) == 0
    assert "1 of 4 polygons read from fields.gpkg cannot be used: 1 with a coordinate" in capsys.readouterr().out
