"""Maps by blocks: who is counted where, and what is refused."""

import hashlib
import json
import shutil
from itertools import product
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.transform import from_bounds

from cropland.data.labels import LabelOptions, read_labels
from cropland.errors import InputError, LabelError, SceneError
from cropland.evaluation import map_on_labels as module
from cropland.evaluation.counts import Counts
from cropland.evaluation.evaluate import evaluate
from cropland.evaluation.fields import count_fields, field_figures, match, overlaps
from cropland.evaluation.map_on_labels import blocks, maps_on_labels, on_subject, read_regions
from cropland.evaluation.score import Part, add_up
from cropland.evaluation.subject import SubjectOptions, connected_regions, open_subjects
from cropland.geo.vectors import open_polygons
from evaluation.small_evaluation import CRS, LEFT, TOP, field, write_map, write_mask, write_polygons
from rasters import write_raster

METRES = (10.0, 30.0)


def judged(mask: Path, options: LabelOptions, *, by: str | None = None) -> list[Part]:
    (subject,) = open_subjects(mask, SubjectOptions(), labels=options)
    regions = read_regions(options, by) if by else None
    return list(on_subject(subject, read_labels(options).on(subject.ground), tolerances_m=METRES, regions=regions))


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:60] = 1
    values[90:] = 255
    return write_mask(tmp_path / "mask.tif", values, nodata=255)


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Rice that was found for one half, wheat that was not found."""
    return write_polygons(
        tmp_path / "fields.gpkg", crop=["rice", "wheat"], geometry=[field(20, 20, 80, 40), field(0, 70, 10, 30)]
    )


def test_background_known_or_unknown(mask: Path, polygons: Path):
    known = add_up(part.total for part in judged(mask, LabelOptions(labels=polygons, background="known")))
    assert known.counts == Counts(tp=1600, fn=1600 + 200, tn=90 * 120 - 3400)
    unknown = add_up(part.total for part in judged(mask, LabelOptions(labels=polygons, background="unknown")))
    assert unknown.counts == Counts(tp=1600, fn=1800)
    with pytest.raises(LabelError, match="background='known'"):
        judged(mask, LabelOptions(labels=polygons))


def test_by_kind_of_cropland_says_what_is_found_of_each(mask: Path, polygons: Path):
    (part,) = judged(mask, LabelOptions(labels=polygons, background="known"), by="crop")
    assert {name: its.counts.recall for name, its in part.groups.items()} == {"rice": 0.5, "wheat": 0.0}


def test_by_region_of_the_area_that_was_looked_at(mask: Path, polygons: Path, tmp_path: Path):
    area = write_polygons(
        tmp_path / "area.gpkg", state=["west", "east"], geometry=[field(0, 0, 60, 100), field(60, 0, 30, 100)]
    )
    (part,) = judged(mask, LabelOptions(labels=polygons, background="known", inside=area), by="state")
    assert part.groups["west"].counts == Counts(tp=1600, fn=200, tn=90 * 60 - 1800)
    assert part.groups["east"].counts == Counts(fn=1200, tn=90 * 30 - 1200)
    assert part.total.counts == part.groups["west"].counts + part.groups["east"].counts


def test_against_a_raster(mask: Path, tmp_path: Path):
    classes = np.zeros((100, 120), np.uint8)
    classes[:, 40:] = 50
    labels = write_mask(tmp_path / "labels.tif", classes)
    (part,) = judged(mask, LabelOptions(labels=labels, classes="50=1,*=0"))
    assert part.total.counts == Counts(tp=800, fp=800, fn=90 * 80 - 800, tn=90 * 40 - 800)


def test_the_same_figures_for_any_block(mask: Path, polygons: Path, monkeypatch: pytest.MonkeyPatch):
    options = LabelOptions(labels=polygons, background="known")
    (whole,) = judged(mask, options)
    monkeypatch.setattr(module, "BLOCK", 37)
    parts = judged(mask, options)
    (subject,) = open_subjects(mask, SubjectOptions(), labels=options)
    assert len(parts) > 6 and blocks(subject.ground) == 12
    cut = add_up(part.total for part in parts)
    assert cut.counts == whole.total.counts and (cut.edges == whole.total.edges).all()
    assert cut.edges.any()


def test_foreign_values_and_columns_are_refused(mask: Path, polygons: Path, tmp_path: Path):
    other = write_mask(tmp_path / "other.tif", np.full((20, 20), 40, np.uint8))
    with pytest.raises(SceneError, match="holds the values 40; a mask is 1 cropland"):
        judged(other, LabelOptions(labels=polygons, background="known"))
    with pytest.raises(LabelError, match="no column 'state'; it has crop"):
        judged(mask, LabelOptions(labels=polygons, background="known"), by="state")
    with pytest.raises(LabelError, match="inside="):
        judged(mask, LabelOptions(whole="other"), by="state")


def test_other_land_counts_even_if_the_file_calls_0_no_data(tmp_path: Path):
    values = np.zeros((20, 20), np.uint8)
    values[5:10] = 1
    (part,) = judged(write_mask(tmp_path / "mask.tif", values, nodata=0), LabelOptions(whole="other"))
    assert part.total.counts == Counts(fp=100, tn=300)


def test_a_geographic_pixel_is_narrower_than_high(tmp_path: Path):
    path = write_mask(
        tmp_path / "mask.tif", np.ones((10, 10), np.uint8), crs="EPSG:4326", transform=Affine(1e-4, 0, 20, 0, -1e-4, 60)
    )
    (subject,) = open_subjects(path, SubjectOptions(), labels=LabelOptions(whole="other"))
    height, width = subject.ground.pixel_sides_m
    assert width / height == pytest.approx(0.5, abs=0.01) and height == pytest.approx(11.1, abs=0.1)


def measured(*maps: Path, by: str | None = None, **labels: object) -> dict[str, object]:
    """The content of metrics.json, which must be plain JSON."""
    reading = SubjectOptions(**{name: labels.pop(name) for name in ("pixel_m", "threshold") if name in labels})
    found = maps_on_labels(list(maps), LabelOptions(**labels), by=by, tolerances_m=METRES, reading=reading)
    figures = found.figures(METRES)
    json.dumps(figures, allow_nan=False)
    return figures


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, Path]:
    """A map of 36 fields and its labels: some shifted, some missed, some of a kind without a name."""
    draw = np.random.default_rng(0)
    values, shapes = np.zeros((120, 120), np.uint8), []
    for row, col in product(range(0, 120, 20), range(0, 120, 20)):
        height, width, shift = draw.integers(6, 16), draw.integers(6, 16), draw.integers(0, 4)
        shapes.append(field(col + 2, row + 2, width, height))
        if draw.random() < 0.8:
            values[row + 2 + shift : row + 2 + height, col + 2 : col + 2 + width] = 1
    values[:10, :70] = 255
    kinds = [("rice", "wheat", None)[number % 3] for number in range(36)]
    labels = write_polygons(tmp_path / "many.gpkg", crop=kinds, code=[*range(35), None], geometry=shapes)
    return write_mask(tmp_path / "many.tif", values, nodata=255), labels


def test_fields_are_those_of_a_comparison_by_hand(many: tuple[Path, Path], tmp_path: Path):
    """One cell, the unknown ground as one box: neither blocks nor rasters."""
    mask, labels = many
    found = measured(mask, labels=labels, background="known")["pooled"]["fields"]
    (subject,) = open_subjects(mask, SubjectOptions(), labels=LabelOptions())
    (tmp_path / "work").mkdir()
    ours = connected_regions(subject.mask, subject.ground, tmp_path / "work")
    hidden, extent = field(0, 0, 70, 10), field(0, 0, 120, 120).bounds
    by_hand = overlaps(ours, open_polygons(labels), crs=CRS, cells=[extent], unknown=lambda _: hidden)
    counts = count_fields(match(by_hand))[None]
    assert counts["reference_left_out"] > 0 and 0 < counts["missed"] < counts["reference"]
    assert found == pytest.approx(
        {name: int(counts[name]) for name in ("reference", "predicted", "reference_left_out", "predicted_left_out")}
        | field_figures(counts)
    )


def test_fields_are_the_same_for_any_block_and_add_up(many: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    mask, labels = many
    whole = measured(mask, labels=labels, background="known")
    monkeypatch.setattr(module, "BLOCK", 37)
    cut = measured(mask, labels=labels, background="known", by="crop")
    assert len(cut["parts"]) == 16 and cut["pooled"]["intervals"]["fields f1"] is not None
    assert cut["pooled"]["fields"] == pytest.approx(whole["pooled"]["fields"])
    assert [row["name"] for row in cut["field_sizes"]] == [row["name"] for row in whole["field_sizes"]]
    for name in ("reference", "predicted"):
        assert sum(row["fields"][name] for row in cut["field_sizes"]) == whole["pooled"]["fields"][name]
        assert sum(row["fields"][name] for row in cut["parts"] if row["fields"]) == whole["pooled"]["fields"][name]


def test_groups_are_those_that_have_a_value(many: tuple[Path, Path]):
    mask, labels = many
    groups = measured(mask, labels=labels, background="known", by="crop")["groups"]
    assert groups.keys() == {"rice", "wheat"}
    for name, its in groups.items():
        alone = measured(mask, labels=labels, background="unknown", where=f"crop = '{name}'")["pooled"]
        assert its["tp"] == alone["tp"] and its["fn"] == alone["fn"]
        assert {key: its["fields"][key] for key in ("reference", "recall", "missed")} == pytest.approx(
            {key: alone["fields"][key] for key in ("reference", "recall", "missed")}
        )
    numbers = measured(mask, labels=labels, background="known", by="code")["groups"]
    assert {"0", "34"} <= numbers.keys() <= set(map(str, range(35)))  # not 34.0, though one is missing


def test_fields_of_regions_add_up_to_the_whole(many: tuple[Path, Path], tmp_path: Path):
    mask, labels = many
    halves = [field(0, 0, 60, 120), field(60, 0, 60, 120)]
    area = write_polygons(tmp_path / "halves.gpkg", state=["west", "east"], geometry=halves)
    found = measured(mask, labels=labels, background="known", inside=area, by="state")
    assert found["groups"].keys() == {"west", "east"}
    for name in ("reference", "predicted"):
        assert sum(its["fields"][name] for its in found["groups"].values()) == found["pooled"]["fields"][name]


def test_where_nobody_looked_nothing_is_false(many: tuple[Path, Path]):
    mask, labels = many
    found = measured(mask, labels=labels, background="unknown")
    fields = found["pooled"]["fields"]
    nothing = {name for name, value in fields.items() if value is None}
    assert nothing == {f"{name}{suffix}" for name in ("precision", "f1") for suffix in ("", "_50_95")} | {"false"}
    assert found["pooled"]["iou"] is None and "iou" not in found["pooled"]["intervals"] and not found["complete"]


def test_a_field_in_a_block_without_known_pixels_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its centre lies in a lake of no data, its known rim in the blocks around."""
    monkeypatch.setattr(module, "BLOCK", 20)
    values = np.ones((60, 60), np.uint8)
    values[20:40, 20:40] = 255
    mask = write_mask(tmp_path / "mask.tif", values, nodata=255)
    labels = write_polygons(tmp_path / "one.gpkg", geometry=[field(0, 0, 60, 60)])
    found = measured(mask, labels=labels, background="known")
    assert len(found["parts"]) == 8
    assert (found["pooled"]["fields"]["reference"], found["pooled"]["fields"]["f1"]) == (1, 1)


def test_a_rotated_grid_is_measured_where_it_lies(tmp_path: Path):
    affine = Affine.translation(LEFT, TOP) @ Affine.rotation(-25) @ Affine.scale(10, -10)
    values = np.zeros((80, 100), np.uint8)
    values[20:50, 30:70] = 1
    mask = write_mask(tmp_path / "mask.tif", values, transform=affine)
    corners = [affine @ corner for corner in ((30, 20), (70, 20), (70, 50), (30, 50))]
    labels = write_polygons(tmp_path / "one.gpkg", geometry=[shapely.Polygon(corners)])
    found = measured(mask, labels=labels, background="known")["pooled"]
    assert found["iou"] == 1 and found["fields"]["f1_50_95"] == 1 and found["fields"]["location_shift_m"] < 1


@pytest.mark.parametrize("crs", [4326, 3857, 32651])
def test_labels_of_another_crs_give_the_same_figures(many: tuple[Path, Path], tmp_path: Path, crs: int):
    mask, labels = many
    there = tmp_path / "there.gpkg"
    gpd.read_file(labels).to_crs(crs).to_file(there)
    one, other = (measured(mask, labels=each, background="known")["pooled"] for each in (labels, there))
    assert other["iou"] == pytest.approx(one["iou"], abs=0.01)
    assert other["fields"]["f1"] == pytest.approx(one["fields"]["f1"], abs=0.05)


def test_a_mask_in_degrees_is_measured_on_its_own_pixels(many: tuple[Path, Path], tmp_path: Path):
    mask, labels = many
    with rasterio.open(mask) as source:
        values = source.read(1)
    frame = gpd.read_file(labels).to_crs(4326)
    affine = from_bounds(*gpd.GeoSeries([field(0, 0, 120, 120)], crs=CRS).to_crs(4326).total_bounds, 120, 120)
    there = write_mask(tmp_path / "degrees.tif", values, nodata=255, crs="EPSG:4326", transform=affine)
    found = measured(there, labels=labels, background="known")["pooled"]
    truth = rasterize(frame.geometry, values.shape, transform=affine)
    assert found["tp"] == np.count_nonzero((values == 1) & (truth == 1))
    assert found["fn"] == np.count_nonzero((values == 0) & (truth == 1))
    assert found["fields"]["f1"] > 0.5


def test_a_reference_raster_on_another_grid_is_resampled_and_told(mask: Path, tmp_path: Path):
    with rasterio.open(mask) as source:
        values = np.kron(source.read(1), np.ones((2, 2), np.uint8))
    values[:40] = 255
    finer = write_mask(tmp_path / "finer.tif", values, nodata=255, transform=Affine(5, 0, LEFT, 0, -5, TOP))
    found = measured(mask, labels=finer)
    assert "finer.tif is resampled to the grid of mask, by the nearest pixel" in found["notes"]
    assert found["pooled"]["iou"] == 1 and found["computed_on"]["known_pixels"] == 70 * 120
    assert measured(mask, labels=mask)["notes"] == []


def test_a_mask_without_a_crs_against_a_raster_of_its_size(tmp_path: Path):
    values = np.zeros((60, 80), np.uint8)
    values[10:30, 10:40] = 1
    paths = [
        write_raster(tmp_path / name, each, crs=None, transform=Affine.identity())
        for name, each in (("mask.tif", values), ("labels.tif", np.roll(values, 2, axis=1)))
    ]
    found = measured(paths[0], labels=paths[1], pixel_m=5.0)["pooled"]
    assert found["iou"] == pytest.approx(560 / 640) and found["fields"]["f1"] == 1
    assert found["fields"]["location_shift_m"] == pytest.approx(10, abs=0.1)
    with pytest.raises(LabelError, match="has no CRS"):
        measured(
            paths[0],
            labels=write_polygons(tmp_path / "p.gpkg", geometry=[field(0, 0, 9, 9)]),
            pixel_m=5.0,
            background="known",
        )


def test_crossing_overlapping_and_holed_polygons(mask: Path, tmp_path: Path):
    """A bow tie covers half of its box; ground of two fields counts once; a hole is not cropland."""
    corners = shapely.get_coordinates(field(20, 20, 40, 40))
    bow = shapely.Polygon(corners[[0, 2, 1, 3]])
    labels = write_polygons(tmp_path / "bow.gpkg", geometry=[bow])
    assert measured(mask, labels=labels, background="known")["pooled"]["tp"] == 800
    twice = write_polygons(tmp_path / "twice.gpkg", geometry=[field(20, 20, 40, 40)] * 2)
    found = measured(mask, labels=twice, background="known")["pooled"]
    assert found["iou"] == 1 and (found["fields"]["reference"], found["fields"]["recall"]) == (2, 0.5)
    holed = field(20, 20, 40, 40).difference(field(30, 30, 10, 10))
    found = measured(mask, labels=write_polygons(tmp_path / "holed.gpkg", geometry=[holed]), background="known")
    assert (found["pooled"]["tp"], found["pooled"]["fp"]) == (1500, 100)


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_mapped_and_nothing_known(mask: Path, polygons: Path, tmp_path: Path, value: int):
    flat = write_mask(tmp_path / "flat.tif", np.full((100, 120), value, np.uint8), nodata=255)
    if value == 0:
        found = measured(flat, labels=polygons, background="known")["pooled"]
        assert found["recall"] == 0 and found["fields"]["missed"] == 1 and found["fields"]["predicted"] == 0
        found = measured(mask, labels=flat)["pooled"]
        assert found["false_alarm"] > 0 and found["fields"]["false"] == 1 and found["fields"]["recall"] is None
    else:
        with pytest.raises(InputError, match="no known pixel in common"):
            measured(mask, labels=flat)


def test_labels_that_meet_some_of_several_maps(tmp_path: Path, polygons: Path):
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:60] = 1
    far = Affine(10, 0, LEFT + 90_000, 0, -10, TOP)
    write_map(tmp_path / "maps" / "here", values, [field(20, 20, 40, 40)], name="here")
    write_map(tmp_path / "maps" / "there", values, [field(9020, 20, 40, 40)], name="there", transform=far)
    found = measured(tmp_path / "maps", labels=polygons, background="known")
    assert found["notes"][0].startswith("there is left out: no polygon of fields.gpkg meets there")
    assert found["groups"].keys() == {"here"}
    names = [file["name"] for file in found["computed_on"]["files"]]
    assert names == [
        *(f"maps/here/{name}" for name in ("mask.tif", "probability.tif", "parcels.parquet")),
        "fields.gpkg",
    ]
    shutil.rmtree(tmp_path / "maps" / "here")
    with pytest.raises(LabelError, match=r"no polygon of fields\.gpkg meets there"):
        measured(tmp_path / "maps", labels=polygons, background="known")
    for name in ("a", "b"):
        write_map(tmp_path / "far" / name, values, [field(9020, 20, 40, 40)], name=name, transform=far)
    with pytest.raises(LabelError, match=r"meets a, .*; no map of far is left"):
        measured(tmp_path / "far", labels=polygons, background="known")


def test_the_files_are_those_that_were_read(mask: Path, tmp_path: Path):
    area = write_polygons(tmp_path / "area.gpkg", geometry=[field(0, 0, 60, 100)])
    (tmp_path / "labels").mkdir()
    for name in ("mask", "another"):
        shutil.copy(mask, tmp_path / "labels" / f"{name}.tif")
    found = measured(mask, labels=tmp_path / "labels", inside=area)["computed_on"]
    assert [file["name"] for file in found["files"]] == ["mask.tif", "labels/mask.tif", "area.gpkg"]
    for file, path in zip(found["files"], (mask, mask, area), strict=True):
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["known_pixels"] == 90 * 60 and found["unknown_share"] == 1 - 5400 / 12000


def other_of(mask: Path, *, finer: bool = False) -> Path:
    """A map that finds half of the field, and knows five rows less."""
    with rasterio.open(mask) as source:
        values = source.read(1)
    values[20:60, 40:60], values[:5] = 0, 255
    path, step = mask.with_name("other.tif"), 2 if finer else 1
    values = np.kron(values, np.ones((step, step), np.uint8))
    return write_mask(path, values, nodata=255, transform=Affine(10 / step, 0, LEFT, 0, -10 / step, TOP))


@pytest.mark.parametrize("finer", [False, True])
def test_a_difference_is_that_of_two_maps_on_the_ground_that_both_know(
    mask: Path, polygons: Path, monkeypatch: pytest.MonkeyPatch, finer: bool
):
    monkeypatch.setattr(module, "BLOCK", 60)
    how = {"labels": polygons, "background": "known"}
    both = measured(mask, other_of(mask, finer=finer), **how)
    told = [note for note in both["notes"] if "is resampled to the grid of the first map" in note]
    assert len(told) == finer
    other = other_of(mask)
    for path, hidden in ((mask, np.s_[:5]), (other, np.s_[90:])):
        with rasterio.open(path, "r+") as file:
            values = file.read(1)
            values[hidden] = 255
            file.write(values, 1)
    one, two = (measured(path, **how)["pooled"] for path in (mask, other))
    assert one["tp"] + one["fp"] + one["fn"] + one["tn"] == two["tp"] + two["fp"] + two["fn"] + two["tn"]
    found = both["against"]["difference"]
    for name in ("iou", "f1", "recall", "false_alarm", "kappa"):
        assert found[name]["difference"] == pytest.approx(one[name] - two[name])
    for name in ("f1", "recall", "missed"):
        its = found[f"fields {name}"]
        assert its["difference"] == pytest.approx(one["fields"][name] - two["fields"][name])
    low, high = found["recall"]["interval"]
    assert found["recall"]["difference"] > 0 and low <= found["recall"]["difference"] <= high
    assert both["against"]["pooled"]["tp"] == two["tp"]


def test_one_class_has_no_iou_on_either_side(mask: Path, polygons: Path):
    found = measured(mask, other_of(mask), labels=polygons, background="unknown")["against"]["difference"]
    assert found["iou"] == {"first": None, "second": None, "difference": None, "interval": None}
    assert found["recall"]["difference"] > 0


def test_folders_of_maps_are_compared_by_name(tmp_path: Path, polygons: Path):
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:60] = 1
    for folder, names in (("a", "xy"), ("b", "yx"), ("c", "x")):
        for number, name in enumerate(names):
            write_map(tmp_path / folder / f"{number}", values * (folder != "b" or name == "x"), [], name=name)
    found = measured(tmp_path / "a", tmp_path / "b", labels=polygons, background="known")
    assert [part["source"] for part in found["parts"]] == ["x", "y"] and found["groups"].keys() == {"x", "y"}
    assert found["against"]["difference"]["recall"]["first"] == 2 * found["against"]["difference"]["recall"]["second"]
    assert found["against"]["difference"]["iou"]["interval"] is not None
    with pytest.raises(InputError, match="has no map of y"):
        measured(tmp_path / "a", tmp_path / "c", labels=polygons, background="known")


def test_parcels_against_a_mask_are_drawn_on_its_grid(mask: Path, polygons: Path, tmp_path: Path):
    parcels = write_polygons(tmp_path / "parcels.gpkg", geometry=[field(20, 20, 20, 40)])
    found = measured(mask, parcels, labels=polygons, background="known")
    assert found["against"]["pooled"]["tp"] == 800 and found["notes"] == []
    assert found["pooled"]["known"] == 90 * 120


def test_regions_of_mask_and_of_labels_are_kept_apart(tmp_path: Path):
    """More regions than are held in memory: those of either side wait in a file of their own."""
    values = np.zeros((200, 200), np.uint8)
    values.reshape(40, 5, 40, 5)[:, 1:4, :, 1:4] = 1
    mask = write_mask(tmp_path / "mask.tif", values)
    values[:, 100:] = 0
    labels = write_mask(tmp_path / "labels.tif", values)
    fields = evaluate(mask, labels=labels)["pooled"]["fields"]
    assert (fields["predicted"], fields["reference"]) == (1600, 800)
    assert fields["precision"] == 0.5 and fields["recall"] == 1
