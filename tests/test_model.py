"""Model files: what is kept, and what is refused in one sentence."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from safetensors.numpy import save_file

from cropland.data.ground import TrainingGround
from cropland.errors import ModelError
from cropland.geo.window import Window
from cropland.model import KEY, ModelFile, WorkingPixel, build_network, default_model, read_header, source_hash
from cropland.recipe import Recipe, parse_recipe


def small() -> ModelFile:
    """A model of a small network with fresh weights."""
    recipe = parse_recipe({"network": {"options": {"width": 4, "encoder_options": {"width": 4, "depth": 2}}}})
    return ModelFile(
        recipe, (WorkingPixel(2.0, 0.9, 0.4), WorkingPixel(10.0, 0.8, 0.5)), 4, 20, source_hash=source_hash(recipe)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = small()
    saved = model.save(tmp_path / "m.safetensors", build_network(model.recipe).state_dict())
    assert saved.path is not None
    return saved.path


def test_header_reads_without_torch(path: Path) -> None:
    code = f"from pathlib import Path; from cropland.model import ModelFile; import sys; path = Path({str(path)!r});"
    code += "m = ModelFile.load(path);"
    code += "print(m.name, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert said.stdout.split() == ["cropland", "False"]


def test_the_nearest_pixel_is_nearest_by_ratio() -> None:
    model = small()
    assert [model.nearest_pixel(pixel).pixel_m for pixel in (0.3, 4.4, 4.5, 30)] == [2.0, 2.0, 10.0, 10.0]


def with_header(path: Path, header: object) -> Path:
    """A safetensors file with another header."""
    save_file({"x": np.zeros(1)}, path, metadata={KEY: json.dumps(header)})
    return path


def test_faults_are_said(path: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    cases = {
        "no model": lambda: ModelFile.load(tmp_path / "none"),
        "another program": lambda: (save_file({"x": np.zeros(1)}, bad), ModelFile.load(bad)),
        "upgrade cropland": lambda: ModelFile.load(with_header(bad, {**small().header(), "format": 99})),
        "damaged header": lambda: ModelFile.load(with_header(bad, {"format": 1})),
        "not a safetensors file": lambda: (bad.write_bytes(path.read_bytes()[:50]), ModelFile.load(bad)),
        "does not fit its network": lambda: ModelFile.load(with_header(bad, small().header())).network(),
    }
    for said, act in cases.items():
        with pytest.raises(ModelError, match=said):
            act()


def test_what_older_files_do_not_say_is_none_and_what_newer_ones_say_is_kept(path: Path, tmp_path: Path) -> None:
    assert not {"temperature", "trained_on"} & read_header(path).keys()
    older = ModelFile.load(path)
    assert older.temperature is None and older.trained_on is None and "temperature" not in older._repr_html_()
    ground = TrainingGround(shapely.box(0, 0, 1, 1), {"scene": (Window(0, 0, 64, 64),)})
    newer = dataclasses.replace(older, temperature=1.25, trained_on=ground)
    newer.save(path, newer.network().state_dict())
    assert ModelFile.load(path) == newer and read_header(path)["format"] == 1
    assert "<th style='text-align:left'>temperature</th><td style='text-align:left'>1.250</td>" in newer._repr_html_()
    header = newer.header()
    for damaged in (
        {"footprints": "eJwAAA==", "windows": "eJwAAA=="},
        {**header["trained_on"], "footprints": "eJwrAQAA"},
    ):
        with pytest.raises(ModelError, match="damaged header"):
            ModelFile.load(with_header(tmp_path / "bad.safetensors", {**header, "trained_on": damaged}))


def test_the_model_that_ships_says_how_sure_to_be_and_where_it_was_trained() -> None:
    model = ModelFile.load(default_model())
    assert model.temperature is not None and model.trained_on is not None
    assert model.metrics["validation_ece_calibrated"] < model.metrics["validation_ece"] < 0.05
    places = {"naip_minnesota": 0.0, "sentinel2_delmarva": 1.0}
    for name, share in places.items():
        with rasterio.open(default_model().parents[1] / "sample" / f"{name}.tif") as file:
            bounds = rasterio.warp.transform_bounds(file.crs, 4326, *file.bounds)
        assert model.trained_on.share_of(shapely.box(*bounds)) == pytest.approx(share, abs=0.01)


def test_options_that_a_network_does_not_take_are_said() -> None:
    with pytest.raises(ModelError, match="does not take these options"):
        build_network(Recipe.model_validate({"network": {"options": {"widht": 3}}}))
