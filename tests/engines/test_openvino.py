"""OpenVINO against torch at float32, and its cache."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cropland.code import forget_changed
from cropland.engines import cache_folder
from cropland.engines.openvino import open_engine
from cropland.errors import ModelError
from cropland.model import Model
from small_model import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return save_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def warm(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the model."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROPLAND_CACHE", str(folder))
        open_engine(model)
    return folder


@pytest.fixture(autouse=True)
def cache(warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for one test to use or to spoil."""
    shutil.copytree(warm, tmp_path / "cache")
    monkeypatch.setenv("CROPLAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (97, 130)])
def test_logits_are_those_of_torch(model: Model, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    with torch.no_grad():
        expected = model.network()(torch.from_numpy(image)).numpy()
    came = open_engine(model, precision="f32", threads=1)(image)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, expected, atol=1e-5)


def test_results_are_not_overwritten_by_the_next(model: Model) -> None:
    engine = open_engine(model, threads=1)
    first = engine(np.zeros((1, 3, 64, 64), np.float32))
    kept = first.copy()
    engine(np.ones((1, 3, 64, 64), np.float32))
    np.testing.assert_array_equal(first, kept)


def run_warm(model: Model) -> str:
    code = (
        "import sys, numpy; from pathlib import Path; from cropland.model import Model;"
        "from cropland.engines.openvino import open_engine;"
        f"engine = open_engine(Model.load(Path({str(model.path)!r})));"
        "print(engine(numpy.zeros((1, 3, 70, 64), numpy.float32)).shape, 'torch' in sys.modules,"
        "'openvino_telemetry' in sys.modules and sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    return done.stdout.strip()


def test_a_warm_cache_runs_without_torch_and_talks_to_nobody(model: Model) -> None:
    assert run_warm(model) == "(1, 1, 70, 64) False None"


def test_a_damaged_cache_is_made_again(model: Model, cache: Path) -> None:
    (weights,) = cache.rglob("*.xml")
    weights.write_text("<net", encoding="utf-8")
    assert open_engine(model)(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 1, 64, 64)
    assert run_warm(model).endswith("False None")


def test_a_truncated_cache_is_made_again(model: Model, cache: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    expected = open_engine(model, precision="f32")(image)
    (weights,) = cache.rglob("*.bin")
    weights.write_bytes(weights.read_bytes()[:100])
    np.testing.assert_array_equal(open_engine(model, precision="f32")(image), expected)


def test_a_cache_that_cannot_be_written_is_done_without(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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


def own_model(tmp_path: Path, branch: str) -> Model:
    """A model whose network is a file of the user's, with a branch of its own."""
    source = tmp_path / "own.py"
    source.write_text(OWN.format(branch=branch), encoding="utf-8")
    return save_model(tmp_path / "own.safetensors", name=f"{source}:Own", options={})


def test_a_branch_by_size_is_seen_or_refused(tmp_path: Path) -> None:
    model = own_model(tmp_path, "y = y + 1 if x.shape[-1] % 2 else y")
    with pytest.raises(ModelError, match="otherwise than torch"):
        open_engine(model)


def test_a_network_of_the_users_own_is_not_cached(tmp_path: Path, cache: Path) -> None:
    engine = open_engine(own_model(tmp_path, "y = y + 1"))
    before = engine(np.zeros((1, 3, 64, 64), np.float32))
    changed = own_model(tmp_path, "y = y + 2")
    forget_changed()
    after = open_engine(changed)(np.zeros((1, 3, 64, 64), np.float32))
    np.testing.assert_allclose(after, before + 1, rtol=1e-5)
    assert len(list(cache.rglob("*.xml"))) == 1  # the other model's


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROPLAND_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "cropland"
