"""Faults that are planted in real data are found; the data as they are give no alarm."""

import json
import re
import time

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from shapely.affinity import translate

import cropland
from chip_folder import write_chips
from cropland.cli import main
from cropland.data.chips import open_chips, write_index
from cropland.data.doctor import quick_findings
from cropland.data.labels import LabelOptions
from cropland.demo import FIELDS, FOLDER, TILE
from cropland.errors import InputError, LabelError, OutputError
from cropland.geo.scene import open_scene

SENTINEL2 = FOLDER / "sentinel2_delmarva.tif"
UTM, ELSEWHERE = "EPSG:32615", "EPSG:32650"


@pytest.fixture(scope="module")
def fields():
    return gpd.read_file(FIELDS)


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    """A quarter of the tile, which is looked at four times as fast."""
    path = tmp_path_factory.mktemp("tile") / "naip_minnesota.tif"
    with rasterio.open(TILE) as file:
        profile = file.profile | {"height": 512, "width": 512}
        with rasterio.open(path, "w", **profile) as out:
            out.write(file.read(window=rasterio.windows.Window(0, 0, 512, 512)))
            out.descriptions = file.descriptions
    return path


def kinds(found):
    return [(each.severity, each.kind) for each in found.findings]


def write(frame, path):
    frame.to_file(path)
    return path


def exchanged(frame):
    return frame.set_geometry(shapely.transform(frame.geometry.to_numpy(), lambda points: points[:, ::-1]))


def image(path, change, *, source=SENTINEL2, tags=None, **profile):
    """A real scene with its numbers changed."""
    with rasterio.open(source) as file:
        about, values, names = file.profile, file.read(), file.descriptions
    values = change(values.astype(np.int64))
    about |= {"count": len(values), "driver": "GTiff", "predictor": 1} | profile
    with rasterio.open(path, "w", **about) as file:
        file.write(values.astype(about["dtype"]))
        file.update_tags(**(tags or {}))
        if len(values) == len(names):
            file.descriptions = names
    return path


# Labels in another place


@pytest.mark.parametrize(
    "change, remedy",
    [
        (exchanged, "native:swapxy"),
        (lambda each: each.set_crs(UTM, allow_override=True), "-a_srs EPSG:4326"),
        (lambda each: each.to_crs(UTM).set_crs(4326, allow_override=True), f"-a_srs {UTM}"),
        (lambda each: each.to_crs(UTM).set_crs(ELSEWHERE, allow_override=True), f"-a_srs {UTM}"),
        (lambda each: exchanged(each).set_crs(UTM, allow_override=True), "in the order y, x"),
        (lambda each: each.set_geometry(each.geometry.translate(20, 0)), "Check which of the two is right"),
    ],
)
def test_labels_in_another_place_are_told_with_what_brings_them_back(tile, fields, tmp_path, change, remedy):
    found = cropland.doctor(tile, write(change(fields), tmp_path / "f.gpkg"), background="known")
    assert kinds(found) == [("error", "crs")]
    assert "no polygon of f.gpkg meets naip_minnesota" in str(found.findings[0].evidence)
    assert remedy in str(found.findings[0].remedy)


def test_the_remedy_that_is_told_works(tile, fields, tmp_path):
    """`ogr2ogr -a_srs` is `set_crs`."""
    wrong = fields.to_crs(UTM).set_crs(ELSEWHERE, allow_override=True)
    found = cropland.doctor(tile, write(wrong, tmp_path / "f.gpkg"), background="known")
    code = re.search(r"-a_srs (\S+)", found.findings[0].remedy)[1]
    right = write(wrong.set_crs(code, allow_override=True), tmp_path / "right.gpkg")
    assert not cropland.doctor(tile, right, background="known").findings


def test_another_crs_and_other_words_for_the_same_crs_are_no_fault(tile, fields, tmp_path):
    for number, crs in enumerate([fields.to_crs(UTM).crs.to_wkt("WKT1_ESRI"), "ESRI:102039"]):
        path = write(fields.to_crs(crs), tmp_path / f"{number}.gpkg")
        assert not cropland.doctor(tile, path, background="known").findings, crs


# Labels that are shifted


def test_a_shift_is_told_and_taken_back(fields, tmp_path):
    with rasterio.open(TILE) as file:
        right, down = 3 * file.transform.a, -2 * file.transform.e
    moved = fields.assign(crop="rye").set_geometry(fields.geometry.translate(right, down))
    moved = moved.to_crs(UTM)
    path, fixed = write(moved, tmp_path / "moved.gpkg"), tmp_path / "fixed.gpkg"
    found = cropland.doctor(TILE, path, background="known", fix_shift=fixed, out=tmp_path / "out")
    assert kinds(found) == [("error", "shift")]
    assert re.search(r"lie 3\.\d pixels \(3\.\d m\) right of and 1\.\d pixels \(1\.\d m\) above", repr(found))
    back = gpd.read_file(fixed)
    assert back.crs == moved.crs and {*back.columns} == {*moved.columns} and {*back["crop"]} == {"rye"}
    assert len(back) == len(moved) and gpd.list_layers(fixed)["name"].tolist() == ["fixed"]
    again = cropland.doctor(TILE, fixed, background="known")
    assert not again.findings and again.shifts["naip_minnesota"].length < 0.3
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 1 and "http" not in re.sub(r'src="data:[^"]*"', "", page)


def test_a_raster_of_labels_is_moved_by_its_transform(tmp_path, shared_data):
    tile, mask = (shared_data / "naip_us" / kind / "naip_26.png" for kind in ("images", "masks"))
    with rasterio.open(tile) as file:
        transform = file.transform
    with rasterio.open(mask) as file:
        pixels = file.read(1)
    place = {"crs": "EPSG:4326", "transform": transform @ rasterio.Affine.translation(-4, 3)}
    path, fixed = tmp_path / "moved.tif", tmp_path / "fixed.tif"
    with rasterio.open(path, "w", driver="GTiff", height=1024, width=1024, count=1, dtype="uint8", **place) as file:
        file.write(pixels, 1)
    found = cropland.doctor(tile, path, crs="EPSG:4326", fix_shift=fixed)
    assert kinds(found) == [("error", "shift")] and "left of and 3." in repr(found)
    with rasterio.open(fixed) as file:
        np.testing.assert_array_equal(file.read(1), pixels)
        assert ~transform @ (file.transform.c, file.transform.f) == pytest.approx(
            (0, 0), abs=0.8
        )  # where it lay 0.7 off itself
    assert not cropland.doctor(tile, fixed, crs="EPSG:4326").findings


def test_nothing_is_written_where_no_shift_can_be_measured(tile, fields, tmp_path):
    out = tmp_path / "fixed.gpkg"
    for frame in (fields.iloc[:1], fields.set_geometry(fields.geometry.rotate(90, origin=(-93.80, 45.34)))):
        path = write(frame, tmp_path / f"{len(frame)}.gpkg")
        with pytest.raises(LabelError, match="cannot be measured"):
            cropland.doctor(tile, path, fix_shift=out)
    with pytest.raises(OutputError, match=r"written as \.gpkg"):
        cropland.doctor(tile, FIELDS, fix_shift=tmp_path / "fixed.shp")
    assert not out.exists()


# Bands and numbers


@pytest.mark.parametrize(
    "source, bands, kind, remedy",
    [
        (SENTINEL2, "blue=1,green=2,red=4,nir=3", "error", "red=4,nir=3"),
        (SENTINEL2, "red=4,green=3,blue=2", "error", "false colour"),
        (TILE, "blue=1,green=2,red=3", "warning", "red=3,green=2,blue=1"),
    ],
)
def test_bands_in_another_order_are_told(source, bands, kind, remedy):
    found = cropland.doctor(source, bands=bands)
    assert kinds(found) == [(kind, "bands")] and remedy in repr(found)


def test_scenes_as_they_are_give_no_alarm():
    found = cropland.doctor([TILE, SENTINEL2])
    assert repr(found) == "2 scenes: no fault found" and "no fault found" in found._repr_html_()


def test_the_offset_of_sentinel2_is_seen_in_the_numbers(tmp_path):
    kept = image(tmp_path / "kept.tif", lambda values: values + 1000)
    assert kinds(cropland.doctor(kept)) == [("error", "offset")]
    told = image(tmp_path / "told.tif", lambda values: values + 1000, tags={"BOA_ADD_OFFSET": "-1000"})
    assert not cropland.doctor(told).findings
    twice = image(tmp_path / "twice.tif", lambda values: values, tags={"BOA_ADD_OFFSET": "-1000"})
    assert kinds(cropland.doctor(twice)) == [("error", "offset")] and "taken off twice" in repr(cropland.doctor(twice))


@pytest.mark.parametrize(
    "change, dtype, severity, said",
    [
        (lambda values: values.clip(0, 255), "uint16", "error", "the largest number of 8 bits"),
        (lambda values: (values // 8).clip(0, 255), "uint8", "warning", "the largest number of 8 bits"),
        (lambda values: values % 256, "uint8", "error", "hardly related"),
        (lambda values: values // 64, "uint16", "note", "a picture of 8 bits"),
        (
            lambda values: np.where(np.arange(values.shape[2]) > 0.6 * values.shape[2], values, 77),
            "uint16",
            "warning",
            "are 77",
        ),
    ],
)
def test_numbers_that_were_squeezed_into_8_bits_are_told(tmp_path, change, dtype, severity, said):
    found = cropland.doctor(image(tmp_path / "a.tif", change, dtype=dtype))
    assert (severity, "range") in kinds(found) and said in repr(found)


def test_no_data_and_rare_classes_are_told(tile, fields, tmp_path):
    path = image(
        tmp_path / "a.tif",
        lambda values: np.where(np.arange(values.shape[2]) > 0.6 * values.shape[2], values, 0),
        nodata=0,
    )
    assert ("warning", "no_data") in kinds(cropland.doctor(path))
    one = write(fields.iloc[[22]], tmp_path / "one.gpkg")
    assert kinds(cropland.doctor(tile, one, background="known")) == [("note", "classes")]
    both = cropland.doctor([tile, TILE], one, background="known")
    assert kinds(both) == [("warning", "classes"), ("note", "classes"), ("note", "classes")]
    assert not cropland.doctor(tile, one, background="unknown").findings[1:]
    assert not cropland.doctor(tile, one).findings  # nobody said what lies outside


# Polygons


def test_polygons_are_looked_at(tile, fields, tmp_path):
    planar = fields.to_crs(UTM)
    x, y = shapely.get_coordinates(planar.geometry[0].centroid)[0]
    bow = shapely.Polygon([(x, y), (x + 50, y + 50), (x + 50, y), (x, y + 50)])
    for shapes, severity, said in (
        ([bow], "warning", "1 of 35 polygons are invalid; number 35: Self-intersection"),
        ([shapely.box(x, y, x + 1, y + 1.5)], "note", "1 of 35 polygons are smaller than 4 pixels"),
        ([shapely.box(x, y, x + 300, y + 0.4)], "note", "1 of 35 polygons are slivers"),
        ([translate(planar.geometry[0], 5, 5)], "warning", "pairs of polygons share more than a tenth"),
    ):
        more = pd.concat([planar[["geometry"]], gpd.GeoDataFrame(geometry=shapes, crs=UTM)], ignore_index=True)
        path = tmp_path / "more.gpkg"
        path.unlink(missing_ok=True)
        found = cropland.doctor(tile, write(more, path), background="known")
        assert (severity, "polygons") in kinds(found) and said in repr(found)


# A map as a second opinion


def test_fields_that_nobody_drew_and_ground_that_is_none_are_told(fields, tmp_path):
    order = fields.to_crs(UTM).area.sort_values(ascending=False).index
    unsure = fields.drop(order[1:3])  # what is drawn
    known = fields.drop(order[5:6])  # what the map shows
    scene = open_scene(TILE)
    level = rasterio.features.rasterize(known.geometry, scene.shape, transform=scene.grid.affine) * 240
    profile = {"driver": "GTiff", "height": 1024, "width": 1024, "count": 1, "dtype": "uint8", "nodata": 255}
    mapped = tmp_path / "probability.tif"
    with rasterio.open(mapped, "w", **profile, crs="EPSG:4326", transform=scene.grid.affine) as file:
        file.write(level.astype(np.uint8), 1)
        file.set_band_description(1, "probability x 254")
    found = cropland.doctor(TILE, write(unsure, tmp_path / "drawn.gpkg"), background="known", map=mapped)
    assert kinds(found) == [("warning", "unlabelled"), ("warning", "mislabelled")]
    assert "2 regions" in str(found.findings[0].evidence) and "1 regions" in str(found.findings[1].evidence)
    assert all(each.picture is not None and each.picture.ndim == 3 for each in found.findings)
    assert not cropland.doctor(TILE, write(known, tmp_path / "all.gpkg"), background="known", map=mapped).findings


# Chips


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    out = tmp_path_factory.mktemp("chips") / "chips"
    cropland.cut_chips(TILE, FIELDS, out, background="known", size=128)
    return out


def rewritten(folder, index, out):
    """A folder with the same files and another index."""
    out.mkdir()
    for part in ("images", "labels"):
        (out / part).symlink_to(folder / part)
    header = json.loads((folder / "chips.json").read_text(encoding="utf-8"))
    write_index(out, index, {name: header[name] for name in ("bands", "scenes", "cuts")})
    return out


def test_chips_as_they_are_give_no_alarm(chips):
    assert repr(cropland.doctor(chips)) == "chips: no fault found"
    assert not quick_findings(open_chips(chips))


def test_ground_on_both_sides_of_the_split_is_told(chips, tmp_path):
    index = open_chips(chips).index
    first = index[index["split"] == "train"].iloc[[0]].assign(split="validation", id="again")
    folder = rewritten(chips, pd.concat([index, first], ignore_index=True), tmp_path / "chips")
    (quick,) = quick_findings(open_chips(folder))
    assert (quick.severity, quick.kind) == ("error", "duplicates") and "such as again" in str(quick.evidence)
    assert [kind for _severity, kind in kinds(cropland.doctor(folder))] == ["duplicates", "duplicates"]


def test_the_same_image_is_known_without_coordinates(tmp_path):
    folder = write_chips(tmp_path / "chips", train=6, validation=2)
    index = folder.index
    for source, target in (("c0", "c6"), ("c1", "c2"), ("c3", "c4")):
        (folder.path / f"images/{target}.tif").write_bytes((folder.path / f"images/{source}.tif").read_bytes())
        if source != "c3":
            (folder.path / f"labels/{target}.tif").write_bytes((folder.path / f"labels/{source}.tif").read_bytes())
    found = cropland.doctor(folder.path)
    assert kinds(found) == [("error", "duplicates")] * 2 + [("warning", "duplicates")]
    text = repr(found)
    assert "1 images are in training and in validation, such as c0 and c6" in text
    assert "1 images are there twice with different labels, such as c3 and c4" in text
    assert len(index) == 8 and not quick_findings(folder)


def test_what_the_index_shows_is_told_at_once(chips, tmp_path):
    index = open_chips(chips).index
    for number, (change, severity, kind) in enumerate(
        [
            ({"share_cropland": 0.004, "share_other": 0.996, "share_unknown": 0.0}, "warning", "classes"),
            ({"share_cropland": 0.03, "share_other": 0.02, "share_unknown": 0.95}, "note", "no_data"),
            ({"pixel_m": np.where(index.index % 2, 1.0, 10.0)}, "note", "pixel_size"),
            ({"image": "images/gone.tif"}, "error", "files"),
        ]
    ):
        folder = rewritten(chips, index.assign(**change), tmp_path / f"chips{number}")
        (found,) = quick_findings(open_chips(folder))
        assert (found.severity, found.kind) == (severity, kind)
    damaged = write_chips(tmp_path / "damaged")
    path = damaged.path / "images" / "c0.tif"
    path.write_bytes(path.read_bytes()[:300])
    (found,) = quick_findings(damaged)
    assert found.kind == "files" and "c0.tif is missing or damaged" in str(found.evidence)


def test_the_quick_part_is_quick(chips, tmp_path):
    """A thousand chips beside each other on the ground, in half a second."""
    index = open_chips(chips).index
    copies = -(-1000 // len(index))
    wide = index.geometry.total_bounds[2] - index.geometry.total_bounds[0]
    many = pd.concat([index.set_geometry(index.geometry.translate(2 * wide * n)) for n in range(copies)])
    folder = open_chips(rewritten(chips, many.reset_index(drop=True), tmp_path / "chips"))
    assert len(folder) >= 1000
    begun = time.process_time()
    assert not quick_findings(folder)
    assert time.process_time() - begun < 0.5


# The command line


def test_the_command_prints_what_python_shows(tile, fields, tmp_path, capsys):
    path = str(write(exchanged(fields), tmp_path / "f.gpkg"))
    assert main(["doctor", str(tile), "--labels", path, "--background", "known", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.rstrip("\n") == repr(cropland.doctor(tile, path, background="known"))
    assert main(["--lang", "zh", "doctor", str(tile), "--labels", path, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "错误" in said and not re.search(
        r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", said.replace(f"qgis_process run native:swapxy --INPUT={path}", "")
    )


def test_what_does_not_fit_together_is_refused(tile, chips, tmp_path):
    for words in (
        {"given": chips, "labels": FIELDS},
        {"given": chips, "map": tmp_path},
        {"given": [chips, tile]},
        {"given": tile, "map": tmp_path},
        {"given": tile, "fix_shift": tmp_path / "a.gpkg"},
        {"given": [tile, SENTINEL2], "labels": FIELDS, "fix_shift": tmp_path / "a.gpkg"},
        {"given": []},
        {"given": tile, "labels": FIELDS, "map": tmp_path},
    ):
        with pytest.raises(InputError):
            cropland.doctor(**words)
    with pytest.raises(OutputError, match="cannot be written"):
        cropland.doctor(tile, out=tile / "out")


def test_options_of_labels_are_those_of_chips():
    found = cropland.doctor(TILE, LabelOptions(FIELDS, background="known"))
    assert not found.findings and found.shifts["naip_minnesota"].is_measured


# Real data as they are


@pytest.mark.parametrize("name", ["naip_13", "naip_37"])
def test_real_tiles_give_no_alarm(shared_data, name):
    folder = shared_data / "naip_us"
    found = cropland.doctor(
        folder / "images" / f"{name}.png", folder / "fields.gpkg", background="known", crs="EPSG:4326"
    )
    assert not found.findings and found.shifts[name].is_measured


def test_exchanged_names_in_a_real_file_are_found(shared_data):
    """A Landsat scene whose bands are called blue, green, red in the wrong order: its bare ground is blue."""
    found = cropland.doctor(shared_data / "labelled" / "juelich" / "image_20010525.tif")
    assert kinds(found) == [("warning", "bands")]
