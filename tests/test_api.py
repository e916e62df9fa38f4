"""The library: the lines of the README, and what they give."""

import dataclasses
import doctest
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

import cropland
from cropland import api
from cropland.data.labels import LabelOptions
from cropland.demo import FIELDS, TILE
from cropland.errors import InputError, ModelError, OutputError


@pytest.fixture(scope="module")
def model():
    return cropland.Model.open(precision="f32")


@pytest.fixture(scope="module")
def result(model):
    return model.map(cropland.open(TILE))


def test_every_example_runs():
    assert doctest.testmod(api, optionflags=doctest.ELLIPSIS).failed == 0


def test_every_public_name_is_there_and_listed():
    assert set(cropland.__all__) <= set(dir(cropland))
    assert all(getattr(cropland, name) for name in cropland.__all__)
    with pytest.raises(AttributeError, match="maps"):
        cropland.maps  # noqa: B018


def test_import_is_quick():
    script = "import time; begun = time.perf_counter(); import cropland; print(time.perf_counter() - begun)"
    times = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(3)]
    assert min(times) < 0.1


def test_a_result_is_what_its_folder_holds(result):
    with rasterio.open(result.folder / "mask.tif") as file:
        levels = file.read(1)
        assert tuple(result.mask.grid.shape) == file.shape and result.mask.grid.crs == file.crs.to_wkt()
    np.testing.assert_array_equal(result.mask.values[0] == 1, levels == 1)
    np.testing.assert_array_equal(result.mask.valid, levels != 255)
    assert result.probability.values.min() >= 0 and result.probability.values.max() <= 1
    assert isinstance(result.parcels, gpd.GeoDataFrame) and len(result.parcels) == result.totals.parcels
    assert result.area_ha == pytest.approx(result.parcels["area_ha"].sum(), rel=0.05)


def test_it_is_the_map_of_the_command_line(result, model, tmp_path):
    kept = cropland.map(TILE, tmp_path / "my_map", model=model)
    for name in ("probability.tif", "mask.tif", "parcels.parquet"):
        assert (kept.folder / name).read_bytes() == (result.folder / name).read_bytes()


def test_save_keeps_it(model, tmp_path):
    result = model.map(TILE)
    folder = result.folder
    kept = result.save(tmp_path / "my_map")
    assert (tmp_path / "my_map" / "map.qgs").exists() and kept.area_ha == result.area_ha
    with pytest.raises(OutputError, match="holds a map"):
        result.save(tmp_path / "my_map")
    result.save(tmp_path / "my_map", overwrite=True)
    del result
    assert not folder.exists() and len(kept.parcels) == kept.totals.parcels


def test_a_result_and_a_model_show_themselves(result, model):
    assert "data:image/png;base64" in result._repr_html_() and "ha" in result._repr_html_()
    assert "cropland_rgb" in model._repr_html_()


def test_an_array_maps_as_its_file(result, model):
    with rasterio.open(TILE) as file:
        values, transform, crs, names = file.read(), file.transform, file.crs, file.descriptions
    scene = cropland.open(values, transform=transform, crs=crs.to_wkt(), bands=names)
    mapped = model.map(scene)
    np.testing.assert_array_equal(mapped.mask.values, result.mask.values)
    # The array's own file goes with the scene, so the project does not point at it.
    assert "array.tif" not in (mapped.folder / "map.qgs").read_text(encoding="utf-8")


def test_the_probability_of_a_whole_image_is_that_of_the_map(result, model):
    scene = cropland.open(TILE)
    probability = model.probability(scene.read())
    np.testing.assert_array_equal(probability.values, result.probability.values)
    assert probability.grid == result.probability.grid


def test_a_probability_is_calibrated_on_its_own_grid(result, model):
    probability = result.probability
    sure = cropland.Model(dataclasses.replace(model.file, temperature=2.0)).calibrated(probability)
    assert sure.grid == probability.grid and (sure.valid == probability.valid).all()
    odds = [image.values[(probability.values > 0.01) & (probability.values < 0.99)] for image in (sure, probability)]
    ours, before = (p / (1 - p) for p in odds)
    np.testing.assert_allclose(ours, np.sqrt(before), rtol=1e-4)  # half the logit is the root of the odds
    with pytest.raises(ModelError, match="has no temperature"):
        cropland.Model(dataclasses.replace(model.file, temperature=None)).calibrated(probability)


def test_chips_training_and_evaluation(tmp_path: Path):
    report = cropland.cut_chips(TILE, FIELDS, tmp_path / "chips", background="known", size=128, validation=0.25)
    assert len(report.chips)
    from cropland.recipe import parse_recipe

    recipe = parse_recipe(
        {
            "name": "tiny",
            "network": {"options": {"width": 4, "encoder_options": {"width": 4}}},
            "sampling": {"crop": 64},
            "training": {"epochs": 1, "chips_per_epoch": 8, "batch": 4},
        }
    )
    begun = time.monotonic()
    model = cropland.train(recipe, tmp_path / "chips", tmp_path / "run", device="cpu")
    assert time.monotonic() - begun < 120 and model.name == "tiny"
    evaluation = cropland.evaluate(model, chips=tmp_path / "chips", out=tmp_path / "report")
    assert 0 <= evaluation.iou <= 1 and (tmp_path / "report" / "report.html").exists()
    assert f">{100 * evaluation.iou:.1f} %<" in evaluation._repr_html_()


def test_errors_name_arguments(tmp_path):
    with pytest.raises(InputError, match="chips="):
        cropland.evaluate(TILE)


def test_an_option_is_laid_over_what_the_labels_say(tmp_path):
    labels = LabelOptions(labels=FIELDS, background="unknown")
    report = cropland.cut_chips(TILE, labels, tmp_path / "chips", background="known", size=256)
    assert (report.chips["share_unknown"] == 0).all()
