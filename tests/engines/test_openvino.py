"""OpenVINO against torch at float32, and its cache."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import rasterio
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.engines import NoSlideError, cache_folder
from cropland.engines.openvino import open_engine
from cropland.errors import ModelError
from cropland.model import ModelFile
from cropland.notebooks import forget_changed
from cropland.streaming import openvino as on_openvino
from cropland.streaming.openvino import Converted, OpenVINOSlide
from cropland.streaming.slide import Slide, slide_down
from cropland.streaming.step import plan
from small_model import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def warm(model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the model."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROPLAND_CACHE", str(folder))
        engine = open_engine(model)
        engine(np.zeros((1, 3, 64, 64), np.float32))
        engine.slide(64)
    return folder


@pytest.fixture(autouse=True)
def cache(warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for one test to use or to spoil."""
    shutil.copytree(warm, tmp_path / "cache")
    monkeypatch.setenv("CROPLAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (97, 130)])
def test_logits_are_those_of_torch(model: ModelFile, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    with torch.no_grad():
        expected = model.network()(torch.from_numpy(image)).numpy()
    came = open_engine(model, precision="f32", threads=1)(image)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, expected, atol=1e-5)


def test_results_are_not_overwritten_by_the_next(model: ModelFile) -> None:
    engine = open_engine(model, threads=1)
    first = engine(np.zeros((1, 3, 64, 64), np.float32))
    kept = first.copy()
    engine(np.ones((1, 3, 64, 64), np.float32))
    np.testing.assert_array_equal(first, kept)


def slid(slide: Slide, image: np.ndarray) -> np.ndarray:
    bands = np.split(image, range(slide.band, image.shape[2], slide.band), axis=2)
    return np.concatenate(list(slide_down(slide, bands, image.shape[2])), axis=2)


@pytest.mark.parametrize("size", [(1, 64), (129, 67), (700, 150), (300, 1), (300, 5)])
def test_sliding_gives_the_logits_of_torch(model: ModelFile, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((1, 3, *size), np.float32)
    with torch.no_grad():
        expected = model.network()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(slid(open_engine(model, precision="f32").slide(size[1]), image), expected, atol=1e-5)


def test_two_slides_do_not_share_rows(model: ModelFile) -> None:
    engine = open_engine(model, precision="f32")
    image = np.random.default_rng(0).random((1, 3, 300, 80), np.float32)
    one, other = engine.slide(80), engine.slide(80)
    other(image[:, :, : other.band], one.schedule.masks(0, other.band, 300))
    np.testing.assert_array_equal(slid(one, image), slid(engine.slide(80), image))


def test_a_slide_gives_the_same_whenever_it_is_compiled(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead, twice ahead, and with forms that are forgotten while the other runs, as those of wide images are."""
    engine = open_engine(model, precision="f32")
    image = np.random.default_rng(0).random((1, 3, 1500, 80), np.float32)
    expected = slid(engine.slide(80), image)
    engine.prepare(80)
    engine.prepare(80)
    for _ in range(2):
        np.testing.assert_array_equal(slid(engine.slide(80), image), expected)
    monkeypatch.setattr(on_openvino, "WIDE", 0)
    np.testing.assert_array_equal(slid(engine.slide(80), image), expected)


def test_a_network_that_looks_at_the_whole_image_cannot_slide(tmp_path: Path) -> None:
    options = {"width": 4, "norm": "group_norm", "encoder_options": {"width": 4, "depth": 2}}
    engine = open_engine(save_model(tmp_path / "m.safetensors", options=options))
    with pytest.raises(NoSlideError) as caught:
        engine.slide(64)
    assert "group_norm looks at the whole image" in caught.value.reason


def test_max_pooling_sees_minus_infinity_above_the_first_row(tmp_path: Path) -> None:
    """What is kept before the first step is not zero there; all values are negative."""

    class Most(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x[:, :1], 3, 1, 1)

    core, settings = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    step = Converted.of(plan(Most().eval(), 3), 3)
    image = -1 - np.random.default_rng(0).random((1, 3, 10, 9), np.float32)
    slide = OpenVINOSlide(core, step, bands=3, width=9, settings=settings)
    np.testing.assert_array_equal(slid(slide, image), Most()(torch.from_numpy(image)).numpy())


SLIDE = (
    "slide = engine.slide(64);"
    "slide(numpy.zeros((1, 3, slide.band, 64), numpy.float32), slide.schedule.masks(0, slide.band, 70));"
)
WHOLE = "print(engine(numpy.zeros((1, 3, 70, 64), numpy.float32)).shape);"


def run_warm(model: ModelFile, *ways: str) -> str:
    code = (
        "import sys, numpy; from pathlib import Path; from cropland.model import ModelFile;"
        "from cropland.engines.openvino import open_engine;"
        f"engine = open_engine(ModelFile.load(Path({str(model.path)!r})));"
        f"{''.join(ways)}"
        "print('torch' in sys.modules, 'openvino_telemetry' in sys.modules and sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    return done.stdout.strip()


@pytest.mark.parametrize(("way", "shape"), [(SLIDE, ""), (WHOLE, "(1, 1, 70, 64)\n")], ids=["sliding", "tiles"])
def test_a_warm_cache_runs_without_torch_and_talks_to_nobody(model: ModelFile, way: str, shape: str) -> None:
    assert run_warm(model, way) == f"{shape}False None"


@pytest.mark.parametrize("wide", [False, True], ids=["tiles", "sliding"])
def test_a_second_map_never_imports_torch(model: ModelFile, tmp_path: Path, wide: bool) -> None:
    """The whole way from the command line, where the other one says at the end whether it has."""
    scene = tmp_path / "scene.tif"
    size = 1100 if wide else 100  # 2 ** 20 pixels are computed at once
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32650"}
    with rasterio.open(scene, "w", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **profile) as file:
        file.write(np.random.default_rng(0).integers(1, 255, (3, size, size), np.uint8))
        file.descriptions = ("red", "green", "blue")
    words = ["map", str(scene), "--model", str(model.path), "--out", str(tmp_path / "map")]
    code = f"import sys; from cropland.cli import main; assert main({words!r}) == 0; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    assert done.stdout.strip().endswith("False")


def test_only_what_is_needed_is_converted(model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROPLAND_CACHE", str(tmp_path / "other"))
    open_engine(model).slide(64)
    assert [folder.name.rpartition("-")[2] for folder in (tmp_path / "other" / "openvino").iterdir()] == ["step"]


def test_a_damaged_cache_is_made_again(model: ModelFile, cache: Path) -> None:
    for graph in cache.rglob("*.xml"):
        graph.write_text("<net", encoding="utf-8")
    engine = open_engine(model)
    assert engine(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 1, 64, 64)
    engine.slide(64)
    assert run_warm(model, SLIDE, WHOLE).endswith("False None")


def test_a_truncated_cache_is_made_again(model: ModelFile, cache: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    expected = open_engine(model, precision="f32")(image)
    for weights in cache.rglob("*.bin"):
        weights.write_bytes(weights.read_bytes()[:100])
    engine = open_engine(model, precision="f32")
    np.testing.assert_array_equal(engine(image), expected)
    np.testing.assert_allclose(slid(engine.slide(64), image), expected, atol=1e-5)


@pytest.mark.parametrize("text", ["", "{}", '{"stride": 4}'])
def test_a_schedule_that_is_damaged_is_made_again(model: ModelFile, cache: Path, text: str) -> None:
    (schedule,) = cache.rglob("schedule.json")
    schedule.write_text(text, encoding="utf-8")
    open_engine(model).slide(64)
    assert '"blocks"' in schedule.read_text(encoding="utf-8")


def test_a_cache_that_cannot_be_written_is_done_without(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CROPLAND_CACHE", str(tmp_path / "file" / "below"))
    assert open_engine(model)(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 1, 64, 64)


OWN = """
import torch
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 1, 3, padding=1)
    def forward(self, x):
        y = self.convolution(x)
        {branch}
        return y
"""


def own_model(tmp_path: Path, branch: str) -> ModelFile:
    """A model whose network is a file of the user's, with a branch of its own."""
    source = tmp_path / "own.py"
    source.write_text(OWN.format(branch=branch), encoding="utf-8")
    return save_model(tmp_path / "own.safetensors", name=f"{source}:Own", options={})


def test_a_branch_by_size_is_seen_or_refused(tmp_path: Path) -> None:
    model = own_model(tmp_path, "y = y + 1 if x.shape[-1] % 2 else y")
    with pytest.raises(ModelError, match="different results"):
        open_engine(model)(np.zeros((1, 3, 64, 64), np.float32))


def test_a_network_of_the_users_own_is_not_cached(tmp_path: Path, cache: Path) -> None:
    engine = open_engine(own_model(tmp_path, "y = y + 1"))
    before = engine(np.zeros((1, 3, 64, 64), np.float32))
    changed = own_model(tmp_path, "y = y + 2")
    forget_changed()
    after = open_engine(changed)(np.zeros((1, 3, 64, 64), np.float32))
    np.testing.assert_allclose(after, before + 1, rtol=1e-5)
    assert len(list(cache.rglob("*.xml"))) == 3  # the other model's: the network, and a step in two forms


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROPLAND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "cropland"
