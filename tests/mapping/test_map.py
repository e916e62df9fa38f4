"""Mapping: tiled equals untiled, no data in is no data out, a crop maps as its scene, and nothing is half-written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from cropland.cli import main
from cropland.demo import FOLDER
from cropland.engines.openvino import open_engine as open_openvino
from cropland.engines.torch import open_engine as open_torch
from cropland.errors import InputError, ModelError, OutputError, ReadError
from cropland.geo import reading
from cropland.geo.scene import open_scene, open_scenes
from cropland.geo.statistics import Statistics
from cropland.language import Message
from cropland.mapping import plan, products, units
from cropland.mapping.compute import Serial, UnitResult, Work
from cropland.mapping.map import MapOptions, MapResult, map_in_memory, map_scene
from cropland.mapping.plan import check_statistics, make_plan
from cropland.mapping.run_folder import Journal, job
from cropland.mapping.units import Cut, cut_swaths, cut_tiles
from cropland.model import ModelFile, read_weights
from cropland.parcels.parcels import find_parcels, parcels
from large_scene import write_large_scene
from range_server import serving
from rasters import write_raster
from small_model import save_model

PIXEL = 10.0


def write_scene(path: Path, *, shape: tuple[int, int] = (150, 170), seed: int = 0, **profile: object) -> Path:
    """A smooth scene of three bands with a slanted edge of no data (0) in its north-west."""
    rng = np.random.default_rng(seed)
    rough = np.kron(rng.integers(40, 220, (3, -(-shape[0] // 10), -(-shape[1] // 10))), np.ones((1, 10, 10)))
    values = (rough[:, : shape[0], : shape[1]] + rng.integers(0, 20, (3, *shape))).astype(np.uint8)
    values[:, np.add.outer(np.arange(shape[0]), np.arange(shape[1])) < 40] = 0
    base = {"driver": "GTiff", "count": 3, "height": shape[0], "width": shape[1], "dtype": "uint8", "nodata": 0}
    base |= {"crs": "EPSG:32650", "transform": from_origin(4e5, 4e6, PIXEL, PIXEL), "photometric": "RGB"}
    with rasterio.open(path, "w", **{**base, **profile}) as file:
        file.write(values)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "small.safetensors", pixel_m=PIXEL)


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "场景.tif")


@pytest.fixture(scope="module")
def mapped(scene_path: Path, model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("map") / "out"
    map_scene(open_scene(scene_path), model, out, executor=Serial(open_openvino(model, precision="f32")))
    return out


@settings(max_examples=12, deadline=None)
@given(
    st.integers(60, 150),
    st.integers(60, 150),
    st.integers(8, 90),
    st.sampled_from(["unet", "resunet", "deeplab_v3_plus"]),
)
def test_tiled_equals_untiled(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, size: int, name: str
) -> None:
    """In float64 to 1e-12: what the engine gives for the cores of tiles is what it gives for the whole."""
    options = {"width": 4, "encoder_options": {"width": 4, "depth": 2}}
    if name == "deeplab_v3_plus":
        options |= {"rates": (1, 2)}
    folder = tmp_path_factory.mktemp("tiled")
    model = save_model(folder / "m.safetensors", name=name, options=options)
    engine = open_torch(model, precision="f64")
    image = np.random.default_rng(size).random((1, 3, height, width))
    whole, tiled = engine(image)[0, 0], np.full((height, width), np.nan)
    for tile in cut_tiles((height, width), model, size=size).units:
        rows, cols = tile.padded.slices
        inner_rows, inner_cols = tile.inner.slices
        tiled[tile.core.slices] = engine(image[:, :, rows, cols])[0, 0, inner_rows, inner_cols]
    np.testing.assert_allclose(tiled, whole, atol=1e-12, rtol=0)


def test_tiles_leave_no_trace_in_the_products(scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path) -> None:
    engine = open_openvino(model, precision="f32")
    map_scene(open_scene(scene_path), model, tmp_path / "tiled", executor=Serial(engine), options=MapOptions(tile=24))
    with (
        rasterio.open(mapped / "probability.tif") as one,
        rasterio.open(tmp_path / "tiled" / "probability.tif") as other,
    ):
        difference = np.abs(one.read(1).astype(int) - other.read(1))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_a_network_that_slides_leaves_no_trace_either(
    scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one strip, and in strips with their field at either side."""
    monkeypatch.setattr(plan, "SMALL", 0)
    engine, probabilities = open_openvino(model, precision="f32"), []
    for widest in (8192, 96):
        monkeypatch.setattr(units, "WIDEST", widest)
        out = tmp_path / str(widest)
        assert not map_scene(open_scene(scene_path), model, out, executor=Serial(engine)).notes
        with rasterio.open(out / "probability.tif") as file:
            probabilities.append(file.read(1))
    with rasterio.open(mapped / "probability.tif") as file:
        whole = file.read(1)
    assert len({unit.core.col for unit in cut_swaths(whole.shape, model).units}) > 1
    for found in probabilities:
        np.testing.assert_array_equal(found == 255, whole == 255)
        difference = np.abs(found.astype(int) - whole)
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_a_network_that_cannot_slide_is_mapped_in_tiles_and_it_is_said(
    scene_path: Path, model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SMALL", 0)
    engine = open_openvino(model, precision="f32")
    monkeypatch.setitem(vars(engine), "no_slide", Message("pad mirrors the edge"))
    result = map_scene(open_scene(scene_path), model, tmp_path / "out", executor=Serial(engine))
    assert result.notes == ("Mapped in overlapping tiles because the network cannot slide: pad mirrors the edge.",)
    assert (
        map_scene(
            open_scene(scene_path), model, tmp_path / "asked", executor=Serial(engine), options=MapOptions(tiles=True)
        ).notes
        == ()
    )


def test_no_data_in_is_no_data_out(scene_path: Path, mapped: Path) -> None:
    with rasterio.open(scene_path) as file:
        missing = (file.read() == 0).all(0)
    for name in ("probability.tif", "mask.tif"):
        with rasterio.open(mapped / name) as file:
            assert np.array_equal(file.read(1) == 255, missing), name


@pytest.mark.parametrize("pixel_m", [4.0, 23.0])
def test_at_another_working_pixel_the_product_keeps_the_scenes_grid(
    scene_path: Path, tmp_path: Path, pixel_m: float
) -> None:
    model = save_model(tmp_path / "m.safetensors", pixel_m=pixel_m)
    result = map_scene(open_scene(scene_path), model, tmp_path / "out", executor=Serial(open_openvino(model)))
    said = json.loads((tmp_path / "out" / "map.json").read_text(encoding="utf-8"))
    assert any(f"{pixel_m:g} m" in note for note in result.notes) and said["notes"] == list(result.notes)
    with rasterio.open(scene_path) as scene, rasterio.open(tmp_path / "out" / "mask.tif") as mask:
        assert (mask.shape, mask.transform, mask.crs) == (scene.shape, scene.transform, scene.crs)
        assert (mask.read(1)[(scene.read() == 0).all(0)] == 255).all()


def test_a_crop_with_the_statistics_of_its_scene_maps_as_the_scene(
    scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path
) -> None:
    assert model.radius is not None
    with rasterio.open(scene_path) as file:
        window = rasterio.windows.Window(40, 40, 120, 100)
        crop = {"height": 100, "width": 120, "transform": file.window_transform(window)}
        with rasterio.open(tmp_path / "crop.tif", "w", **{**file.profile, **crop}) as out:
            out.write(file.read(window=window))
    words = ["map", tmp_path / "crop.tif", "--model", model.path, "--out", tmp_path / "crop"]
    assert main([*map(str, words), "--statistics", str(mapped / "map.json"), "--min-area-m2", "0"]) == 0
    with (
        rasterio.open(mapped / "probability.tif") as one,
        rasterio.open(tmp_path / "crop" / "probability.tif") as other,
    ):
        whole, part = one.read(1)[40:140, 40:160].astype(int), other.read(1)
    inside = slice(model.radius, -model.radius)
    assert part[inside, inside].size > 100
    assert np.abs(whole[inside, inside] - part[inside, inside]).max() <= 1


def test_everything_is_there_and_agrees(scene_path: Path, mapped: Path) -> None:
    names = {path.name for path in mapped.iterdir()}
    products = {"probability.tif", "mask.tif", "overview.png", "map.json", "map.qgs"}
    products |= {"parcels.parquet", "parcels.gpkg", "parcels.qml"}
    assert names == products
    said = json.loads((mapped / "map.json").read_text(encoding="utf-8"))
    with rasterio.open(mapped / "mask.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        cropland = (file.read(1) == 1).sum() * PIXEL**2 / 1e4
    assert said["found"]["area_ha"] == pytest.approx(cropland, rel=2e-3)  # the map projection's scale
    parcels = gpd.read_parquet(mapped / "parcels.parquet")
    assert len(parcels) == said["found"]["parcels"] and parcels["area_ha"].sum() == pytest.approx(cropland, rel=0.02)
    assert said["scene"]["files"][0]["name"] == scene_path.name
    project = ElementTree.parse(mapped / "map.qgs")
    sources = [str(layer.text).partition("|")[0] for layer in project.iter("datasource")]
    assert len(sources) == 4 and all((mapped / source).exists() for source in sources), sources


THREE = ("cropland", "roads", "boundary")
WAYS = {"whole": {}, "tiles": {"tile": 64}, "slide": {}, "strips": {}}


@pytest.fixture(scope="module")
def model_of_three(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "three.safetensors", pixel_m=PIXEL, outputs=THREE)


@pytest.mark.parametrize("way", WAYS)
def test_the_boundary_is_that_channel_of_the_network(
    scene_path: Path, model_of_three: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """As torch gives it for the whole image, wherever the output stands; what no map holds is left out, and it is
    said."""
    if way in ("slide", "strips"):
        monkeypatch.setattr(plan, "SMALL", 0)
        monkeypatch.setattr(units, "WIDEST", {"slide": 8192, "strips": 96}[way])
    scene, out = open_scene(scene_path), tmp_path / "out"
    options, executor = MapOptions(**WAYS[way]), Serial(open_openvino(model_of_three, precision="f32"))
    result = map_scene(scene, model_of_three, out, executor=executor, options=options)
    assert [*map(str, result.notes)] == ["The map leaves out these outputs of the model: roads."]
    image = scene.read(bands=model_of_three.bands)
    statistics = scene.statistics(model_of_three.bands)
    logits = open_torch(model_of_three)(statistics.normalise(image.values, image.valid)[None])[0]
    for name, channel in (("probability", 0), ("boundary", 2)):
        with rasterio.open(out / f"{name}.tif") as file:
            levels, description = file.read(1), file.descriptions[0]
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.nodata == 255
        assert description == {"probability": "probability x 254", "boundary": "boundary probability x 254"}[name]
        np.testing.assert_array_equal(levels == 255, ~image.valid)
        expected = 254 / (1 + np.exp(-logits[channel].astype(float)))
        assert np.abs(levels - expected)[image.valid].max() < 0.51
    boundary = result.boundary
    assert boundary is not None and boundary.bands == ("boundary",) and boundary.grid == result.mask.grid
    np.testing.assert_allclose(boundary.values[0][image.valid], levels[image.valid] / 254, atol=1e-6)
    assert json.loads((out / "map.json").read_text())["options"]["outputs"] == ["cropland", "boundary"]


def test_a_map_without_a_boundary_says_nothing_of_it(scene_path: Path, mapped: Path) -> None:
    """Its folder is what it was before there was a boundary; a file of the user's own beside it is none."""
    about = json.loads((mapped / "map.json").read_text(encoding="utf-8"))
    result = MapResult.earlier(open_scene(scene_path), mapped, about)
    assert "outputs" not in about["options"] and result.boundary is None
    (mapped / "boundary.tif").touch()
    assert result.boundary is None
    (mapped / "boundary.tif").unlink()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A model that says of the boundary what it says of cropland."""
    path = tmp_path_factory.mktemp("model") / "twin.safetensors"
    two = save_model(path, pixel_m=PIXEL, outputs=("cropland", "boundary"))
    weights = read_weights(path)
    for name in ("head.weight", "head.bias"):
        weights[name][1] = weights[name][0]
    return two.save(path, weights)


@pytest.mark.parametrize(
    "options",
    [MapOptions(flips=8), MapOptions(out_pixel_m=23.0), MapOptions(out_pixel_m=3.0, flips=2)],
    ids=["flips", "coarser", "finer"],
)
def test_what_is_done_to_the_probability_is_done_to_the_boundary(
    scene_path: Path, twin: ModelFile, tmp_path: Path, options: MapOptions
) -> None:
    map_scene(open_scene(scene_path), twin, tmp_path / "out", executor=Serial(open_openvino(twin)), options=options)
    with (
        rasterio.open(tmp_path / "out" / "probability.tif") as one,
        rasterio.open(tmp_path / "out" / "boundary.tif") as other,
        rasterio.open(tmp_path / "out" / "mask.tif") as mask,
    ):
        np.testing.assert_array_equal(one.read(1), other.read(1))
        assert (other.shape, other.transform, other.crs) == (mask.shape, mask.transform, mask.crs)


@pytest.mark.parametrize("out_pixel_m", [None, 23.0])
def test_the_fields_are_made_of_the_boundary(
    scene_path: Path,
    model_of_three: ModelFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    out_pixel_m: float | None,
) -> None:
    seen = {}

    def spied(mask: Path, **given: Any) -> Any:
        for name in ("boundary", "probability"):
            with rasterio.open(given[name]) as file:
                seen[name] = file.read(1)
        return find_parcels(mask, **given)

    monkeypatch.setattr(products, "find_parcels", spied)
    options = MapOptions(out_pixel_m=out_pixel_m)
    executor = Serial(open_openvino(model_of_three))
    model = replace(
        model_of_three,
        working_pixels=tuple(replace(pixel, boundary_threshold=0.25) for pixel in model_of_three.working_pixels),
    )
    map_scene(open_scene(scene_path), model, tmp_path / "out", executor=executor, options=options)
    assert not np.array_equal(seen["boundary"], seen["probability"])
    for name, levels in seen.items():
        with rasterio.open(tmp_path / "out" / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), levels)
            assert file.tags().get("boundary_threshold") == {"boundary": "0.25", "probability": None}[name]
    mask, boundary = (tmp_path / "out" / f"{name}.tif" for name in ("mask", "boundary"))
    again, other = parcels(mask, boundary=boundary), parcels(mask, boundary=boundary, boundary_threshold=0.25)
    assert again.geometry.geom_equals(other.geometry).all()


def test_a_map_of_two_outputs_is_saved_with_its_boundary(
    scene_path: Path, model_of_three: ModelFile, tmp_path: Path
) -> None:
    result = map_in_memory(open_scene(scene_path), model_of_three, executor=Serial(open_openvino(model_of_three)))
    kept = result.save(tmp_path / "kept")
    assert kept.boundary is not None and result.boundary is not None
    np.testing.assert_array_equal(kept.boundary.values, result.boundary.values)
    assert "./boundary.tif" in (tmp_path / "kept" / "map.qgs").read_text(encoding="utf-8")


def test_several_scenes_in_one_run(model: ModelFile, tmp_path: Path) -> None:
    paths = [write_scene(tmp_path / f"{name}.tif", seed=number) for number, name in enumerate("ab")]
    assert main(["map", *map(str, paths), "--model", str(model.path), "--out", str(tmp_path / "out")]) == 0
    index = gpd.read_file(tmp_path / "out" / "index.gpkg")
    assert list(index["name"]) == ["a", "b"] and (tmp_path / "out" / "b" / "mask.tif").exists()


def test_of_several_scenes_those_that_are_done_are_left(model: ModelFile, tmp_path: Path) -> None:
    """The same command goes on with the rest; with other settings it stops before anything is lost."""
    paths = [write_scene(tmp_path / f"{name}.tif", seed=number) for number, name in enumerate("ab")]
    words = ["map", *map(str, paths), "--model", str(model.path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    made = (tmp_path / "out" / "a" / "map.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "out" / "b")
    assert main(words) == 0 and (tmp_path / "out" / "b" / "mask.tif").exists()
    assert (tmp_path / "out" / "a" / "map.json").stat().st_mtime_ns == made
    assert main([*words, "--threshold", "0.9"]) == 2
    assert (tmp_path / "out" / "a" / "map.json").stat().st_mtime_ns == made


def test_another_map_is_replaced_only_when_told(scene_path: Path, model: ModelFile, tmp_path: Path) -> None:
    words = ["map", str(scene_path), "--model", str(model.path), "--out", str(tmp_path / "out")]
    assert [main(words), main(words), main([*words, "--overwrite"])] == [0, 2, 0]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear", encoding="utf-8")
    assert main([*words[:-1], str(tmp_path / "mine"), "--overwrite"]) == 2
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_network_that_looks_at_the_whole_image_maps_only_what_fits(
    scene_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"width": 4, "norm": "group_norm", "encoder_options": {"width": 4, "depth": 2}}
    model = save_model(tmp_path / "m.safetensors", options=network)
    assert model.radius is None
    engine, small = open_openvino(model), MapOptions(tile=64)
    monkeypatch.setattr(plan, "SMALL", 0)
    for name, options in (("fits", MapOptions()), ("tile has no part in it", small)):
        assert not map_scene(
            open_scene(scene_path), model, tmp_path / name, executor=Serial(engine), options=options
        ).notes
    monkeypatch.setattr(units, "AT_ONCE", 20_000)
    with pytest.raises(ModelError, match="looks at the whole image"):
        map_scene(open_scene(scene_path), model, tmp_path / "too_large", executor=Serial(open_openvino(model)))


def test_statistics_of_other_bands_are_refused(model: ModelFile) -> None:
    with pytest.raises(InputError, match="the model takes red, green, blue"):
        check_statistics(Statistics(("nir",), (0.0,), (1.0,)), model)


@pytest.mark.soak
@pytest.mark.parametrize("way", [[], ["--tile", "256"]])
def test_memory_does_not_grow_with_the_scene(model: ModelFile, tmp_path: Path, way: list[str]) -> None:
    """Peak memory of whole runs on scenes of 1 and of 16 megapixels, of one width, in processes of their own."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory of a process is read from /proc: Linux only")
    code = (
        "import sys; from cropland.cli import main; assert main(sys.argv[1:]) == 0\n"
        "print(next(int(l.split()[1]) // 1024 for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    peaks = []
    for height in (1000, 16_000):
        path = write_scene(tmp_path / f"{height}.tif", shape=(height, 1000), tiled=True, compress="deflate")
        words = ["map", str(path), "--model", str(model.path), "--out", str(tmp_path / f"{height}"), *way]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True, encoding="utf-8"
        )
        peaks.append(int(done.stdout.splitlines()[-1]))
    # GDAL keeps decoded blocks: 45 MB more of them here, 256 MB at most.
    assert peaks[1] - peaks[0] < 150, peaks


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small tmpfs needs root on Linux")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_told_before(scene_path: Path, model: ModelFile, small_disk: Path) -> None:
    with pytest.raises(OutputError, match="free some disk space"):
        map_scene(open_scene(scene_path), model, small_disk / "out", executor=Serial(open_openvino(model)))
    assert not any(small_disk.iterdir())


def test_a_disk_that_fills_on_the_way_keeps_what_was_done(
    scene_path: Path, model: ModelFile, mapped: Path, small_disk: Path
) -> None:
    """Nothing has its final name; with room the same command ends at the same bytes."""
    code = (
        "import sys; from cropland.cli import main; from cropland.mapping import map\n"
        "map.check_room = lambda *_, **__: None\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["map", str(scene_path), "--model", str(model.path), "--out", str(small_disk / "out"), "--precision", "f32"]
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (4 * 2**20 - 80_000))
    stopped = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, encoding="utf-8")
    assert stopped.returncode == 3 and "the same command resumes" in stopped.stderr, stopped.stderr
    assert not (small_disk / "out").exists()
    ballast.unlink()
    assert main(words) == 2  # there is room now, but not by the estimate, which comes before the start
    assert subprocess.run([sys.executable, "-c", code, *words]).returncode == 0
    assert [path.name for path in small_disk.iterdir()] == ["out"]
    for name in ("probability.tif", "mask.tif"):
        assert (small_disk / "out" / name).read_bytes() == (mapped / name).read_bytes()


LIMITED = """
import resource, sys
from pathlib import Path
from cropland.cli import main
assert main(sys.argv[2:7] + [sys.argv[7] + ".first"]) == 0  # all that is imported and started is
used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]), -1))
sys.exit(main(["map", sys.argv[8], *sys.argv[4:8], *sys.argv[9:]]))
"""


@pytest.mark.parametrize("height", [40_000, pytest.param(400_000, marks=pytest.mark.soak)])
def test_a_long_narrow_scene_fits_into_little_memory(model: ModelFile, tmp_path: Path, height: int) -> None:
    """600 MB more than a small scene took, of which GDAL keeps 256 in blocks; as one tile it does not."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of a process is read from /proc: Linux only")
    small = write_large_scene(tmp_path / "small.tif", (4200, 256))
    long = write_large_scene(tmp_path / "long.tif", (height, 256))

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        words = ["map", str(small), "--model", str(model.path), "--out", str(tmp_path / f"out{len(more)}"), str(long)]
        command = [sys.executable, "-c", LIMITED, str(600 * 2**20), *words, *more]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    assert run("--tile", "1000000").returncode != 0
    done = run()
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Disturbed(Serial):
    """Something happens after some units; `asked`: how many were wanted."""

    happens: Callable[[], object] = list
    asked: list[int] = field(default_factory=list)

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]:
        self.asked.append(len(wanted))
        for count, done in enumerate(super().__call__(work, cut, wanted)):
            if count == 5:
                self.happens()
            yield done


def write_noise(path: Path, shape: tuple[int, int]) -> Path:
    """Three bands that no compression makes small, so that the first requests do not bring the whole file."""
    place = {"crs": "EPSG:32650", "transform": from_origin(4e5, 4e6, PIXEL, PIXEL), "photometric": "RGB"}
    profile = {"driver": "GTiff", "count": 3, "height": shape[0], "width": shape[1], "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, **place, tiled=True, blockxsize=64, blockysize=64) as file:
        file.write(np.random.default_rng(0).integers(1, 255, (3, *shape), np.uint8))
    return path


def test_a_file_that_is_cut_off_on_the_way_costs_only_what_was_not_read(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told with exit status 3; once the file is copied anew the same command ends at the same bytes."""
    monkeypatch.setattr(reading, "WAITS", (0.01,))
    engine, options = open_openvino(model, precision="f32"), MapOptions(tile=64)
    path = write_noise(tmp_path / "s.tif", (1500, 700))
    whole = path.read_bytes()
    map_scene(open_scene(path), model, tmp_path / "expected", executor=Serial(engine), options=options)
    cutting = Disturbed(engine, happens=lambda: os.truncate(path, len(whole) // 2))
    with pytest.raises(ReadError, match=r"could not be read .* in rows \d+ to \d+") as caught:
        map_scene(open_scene(path), model, tmp_path / "out", executor=cutting, options=options)
    assert caught.value.exit_status == 3 and not (tmp_path / "out").exists()
    monkeypatch.setattr(reading, "_given_up", set())  # as in another process
    path.write_bytes(whole)
    os.utime(path, (0, 0))
    again = Disturbed(engine)
    map_scene(open_scene(path), model, tmp_path / "out", executor=again, options=options)
    assert 0 < again.asked[0] < cutting.asked[0]
    for name in ("probability.tif", "mask.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_a_server_that_goes_down_costs_only_what_was_not_read(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is told, with exit status 3; when the server is back the same command ends at the same bytes."""
    monkeypatch.setattr(reading, "WAITS", (0.01,))
    monkeypatch.setattr(reading, "_given_up", set())
    engine, options, down = open_openvino(model, precision="f32"), MapOptions(tile=64), list[bool]()
    falling = Disturbed(engine, happens=lambda: down.append(True))
    (tmp_path / "files").mkdir()
    path = write_noise(tmp_path / "files" / "s.tif", (1500, 700))
    map_scene(open_scene(path), model, tmp_path / "local", executor=Serial(engine), options=options)
    with serving(tmp_path / "files") as server:
        server.fails = lambda path: "closed" if down else None
        (scene,) = open_scenes([f"{server.address}/s.tif"])
        with pytest.raises(ReadError, match=r"could not be read .* in rows \d+ to \d+") as caught:
            map_scene(scene, model, tmp_path / "out", executor=falling, options=options)
        assert caught.value.exit_status == 3 and not (tmp_path / "out").exists()
        down.clear()
        monkeypatch.setattr(reading, "_given_up", set())  # as in another process
        (scene,) = open_scenes([f"{server.address}/s.tif"])
        map_scene(scene, model, tmp_path / "out", executor=Serial(engine), options=options)
    for name in ("probability.tif", "mask.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


SAMPLE = str(FOLDER / "sentinel2_delmarva.tif")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out-pixel=-3"], "--out-pixel"),
        (["--out-pixel", "0"], "--out-pixel"),
        (["--tile=-7"], "--tile"),
        (["--tile", "0"], "--tile"),
        (["--threads", "0"], "--threads"),
        (["--threshold", "7"], "--threshold"),
        (["--threshold", "nan"], "--threshold"),
        (["--min-area-m2=-5"], "--min-area-m2"),
        (["--memory", "1KB"], "the network needs at least"),
        (["--memory", "1KB", "--tiles"], "the network needs at least"),
        (["--memory", "much"], "as in 2GB"),
        (["--profile", "not_there/p.json"], "--profile not_there"),
        (["--executor", "dask:foo"], "dask:tcp://HOST:8786"),
        (["--mosaic", "--out-crs", "EPSG:9999999"], "--out-crs 'EPSG:9999999' is not known"),
        (["--overlap", "mean"], "give --mosaic as well"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", SAMPLE, "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("cropland: ") and "\n" not in error.strip()
    assert not list(tmp_path.iterdir())


def test_a_mosaic_that_is_there_is_told_before_any_scene_is_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "mosaic").mkdir(parents=True)
    (tmp_path / "out" / "mosaic" / "map.json").write_text(json.dumps({}), encoding="utf-8")
    assert main(["map", SAMPLE, "--out", str(tmp_path / "out"), "--mosaic"]) == 2
    assert "mosaic holds a map; delete it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mosaic"]


def test_two_discs_of_the_earth(tmp_path: Path) -> None:
    """Space around the Earth is no data; no figure and no outline is infinite or not a number."""
    place = {"crs": "+proj=geos +h=35785831 +lon_0=0 +datum=WGS84", "nodata": None}
    place["transform"] = from_origin(-5_500_000, 5_500_000, 110_000, 110_000)
    for name in "ab":
        write_scene(tmp_path / f"{name}.tif", shape=(100, 100), **place)
    model = save_model(tmp_path / "m.safetensors", pixel_m=110_000.0)
    options = ["--out", str(tmp_path / "out"), "--model", str(model.path), "--min-area-m2", "0"]
    assert main(["map", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), *options]) == 0
    index = gpd.read_file(tmp_path / "out" / "index.gpkg")
    assert index.geometry.isna().all() and (index["area_ha"] > 0).all()
    for name in "ab":
        with rasterio.open(tmp_path / "out" / name / "mask.tif") as mask:
            assert mask.read(1)[0, 0] == 255
        found = json.loads((tmp_path / "out" / name / "map.json").read_text())["found"]
        parcels = gpd.read_parquet(tmp_path / "out" / name / "parcels.parquet")
        assert 0 < found["area_ha"] <= found["known_ha"] < 51_006_562_172 * 0.43  # what is seen from that height
        assert np.isfinite(parcels[["area_ha", "metrics:perimeter"]]).all(axis=None)


SCL = np.full((150, 170), 4, np.uint8)  # vegetation
SCL[60:100, 70:130], SCL[100:110, 20:40] = 9, 3  # a cloud and its shadow


def write_mask(path: Path, values: np.ndarray) -> Path:
    place = {"crs": "EPSG:32650", "transform": from_origin(4e5, 4e6, PIXEL, PIXEL)}
    return write_raster(path, values, **place)


def rasters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with rasterio.open(folder / "probability.tif") as one, rasterio.open(folder / "mask.tif") as other:
        return one.read(1), other.read(1)


def test_under_a_cloud_mask_there_is_no_data_and_far_from_it_the_map_is_the_same(
    scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path
) -> None:
    """With the same statistics, beyond the receptive field of what is hidden."""
    scene = open_scene(scene_path, mask=write_mask(tmp_path / "T50_SCL.tif", SCL))
    statistics = Statistics.from_json(json.loads((mapped / "map.json").read_text(encoding="utf-8"))["statistics"])
    by = Serial(open_openvino(model, precision="f32"))
    options = MapOptions(statistics=statistics, min_area_m2=0)
    result = map_scene(scene, model, tmp_path / "out", executor=by, options=options)
    hidden = SCL != 4
    (found, classes), (whole, _) = rasters(tmp_path / "out"), rasters(mapped)
    np.testing.assert_array_equal(found == 255, hidden | (whole == 255))
    np.testing.assert_array_equal(classes == 255, found == 255)
    near = np.zeros_like(hidden)
    for row, col in np.argwhere(hidden):
        near[
            max(0, row - model.radius) : row + model.radius + 1, max(0, col - model.radius) : col + model.radius + 1
        ] = 1
    assert 1000 < (~near).sum() < near.size
    assert np.abs(found[~near].astype(int) - whole[~near]).max() <= 1
    assert result.totals.known_ha == pytest.approx((found != 255).sum() * PIXEL**2 / 1e4, rel=2e-3)
    assert any("SCL" in note for note in result.notes)


def test_what_a_cloud_looks_like_changes_nothing_under_a_mask(model: ModelFile, tmp_path: Path) -> None:
    """Not even beside it, nor the statistics: the same bytes whatever the hidden pixels hold."""
    clear = write_scene(tmp_path / "clear.tif")
    shutil.copy(clear, tmp_path / "clouded.tif")
    with rasterio.open(tmp_path / "clouded.tif", "r+") as file:
        file.write(np.where(SCL == 4, file.read(), 255).astype(np.uint8))
    mask = write_mask(tmp_path / "scl.tif", SCL)
    by = Serial(open_openvino(model, precision="f32"))
    for name in ("clear", "clouded"):
        scene = replace(open_scene(tmp_path / f"{name}.tif", mask=mask), name="scene")
        map_scene(scene, model, tmp_path / name, executor=by)
    for name in ("probability.tif", "mask.tif"):
        assert (tmp_path / "clear" / name).read_bytes() == (tmp_path / "clouded" / name).read_bytes()
    about = [json.loads((tmp_path / name / "map.json").read_text(encoding="utf-8")) for name in ("clear", "clouded")]
    assert about[0]["statistics"] == about[1]["statistics"]


def test_a_mask_that_hides_nothing_leaves_the_map_as_it_is(
    scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path
) -> None:
    scene = open_scene(scene_path, mask=write_mask(tmp_path / "scl.tif", np.full_like(SCL, 5)))
    map_scene(scene, model, tmp_path / "out", executor=Serial(open_openvino(model, precision="f32")))
    for name in ("probability.tif", "mask.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (mapped / name).read_bytes()


def test_a_run_goes_on_with_the_same_mask_only(
    scene_path: Path, model: ModelFile, mapped: Path, tmp_path: Path
) -> None:
    mask, engine = write_mask(tmp_path / "scl.tif", SCL), open_openvino(model, precision="f32")

    def task(**how: Any) -> dict[str, Any]:
        scene = open_scene(scene_path, **how)
        return job(scene, model, make_plan(scene, model, MapOptions(), engine=engine), engine)

    assert "mask" not in task()["scene"]
    Journal.begin(tmp_path, task(mask=mask, mask_values=[9]))
    assert not Journal.begin(tmp_path, task(mask=mask, mask_values=[9])).goes_on
    for other in ({}, {"mask": mask}, {"mask": mask, "mask_values": [3]}, {"mask": mask, "mask_bits": [3]}):
        with pytest.raises(OutputError, match="unfinished map with other settings"):
            Journal.begin(tmp_path, task(**other))
    write_mask(tmp_path / "scl.tif", np.flipud(SCL))
    with pytest.raises(OutputError, match=r"unfinished map with other settings .*scene\.mask"):
        Journal.begin(tmp_path, task(mask=mask, mask_values=[9]))
