"""ONNX: the shipped model in onnxruntime, and what Deepness reads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cropland.export import Probability, export
from cropland.formats.onnx import for_deepness
from cropland.geo.statistics import Statistics
from cropland.model import ModelFile, default_model
from small_model import save_model


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model for tiles of 128, with statistics."""
    folder = tmp_path_factory.mktemp("onnx")
    model = save_model(folder / "m.safetensors")
    known = Statistics(model.bands, (51.0, 0.0, 102.0), (306.0, 255.0, 204.0))
    return export(model, "onnx", folder / "m.onnx", tile=128, statistics=known).path


@pytest.mark.parametrize("tile", [256, pytest.param(None, marks=pytest.mark.soak)])
def test_the_shipped_model_in_onnxruntime(tmp_path: Path, tile: int | None) -> None:
    """For tiles, and in the long form for images of any size, which small models are tested with as well."""
    model = ModelFile.load(default_model())
    path = export(model, "onnx", tmp_path / "m.onnx", tile=tile).path
    onnx.checker.check_model(path, full_check=True)
    session, network = onnxruntime.InferenceSession(path), Probability(model.network()).eval()
    takes = (1, 3, tile, tile) if tile else ("batch", 3, "height", "width")
    assert [each.shape for each in session.get_inputs()] == [list(takes)]
    assert [each.shape for each in session.get_outputs()] == [[takes[0], 1, *takes[2:]]]
    for shape in (takes,) if tile else ((1, 3, 1, 9), (2, 3, 33, 260), (1, 3, 512, 300)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2.2 - 0.6
        (came,) = session.run(["probability"], {"image": image.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(came, network(image), atol=1e-5)
    told = path.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in told and str(Path(__file__).parents[2]).encode() not in told


def test_deepness_finds_what_it_reads(tiled: Path) -> None:
    """Keys, JSON and types as its `model_base.py` takes them."""
    session = onnxruntime.InferenceSession(tiled)
    told = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert str(told["model_type"]).capitalize() == "Segmentor"
    names = sorted(told["class_names"].items(), key=lambda each: int(each[0]))
    assert names == [("0", "other"), ("1", "cropland")]
    assert float(told["resolution"]) == 1000.0 and int(told["tile_size"]) == 128
    assert 0 < int(told["tiles_overlap"]) <= 50 and told["tiles_overlap"] == int(told["tiles_overlap"])
    assert 0 <= float(told["seg_thresh"]) <= 1 and int(told["seg_small_segment"]) == 0
    assert [float(each) for each in told["standardization_mean"]] == [0.2, 0.0, 0.4]
    assert [float(each) for each in told["standardization_std"]] == [1.0, 1.0, 0.4]
    # its `segmentor.py` and its form
    (image,), (probability,) = session.get_inputs(), session.get_outputs()
    assert image.shape == [1, 3, 128, 128] and probability.shape == [1, 1, 128, 128]


def test_deepness_steps_give_the_probability_of_the_map(tiled: Path) -> None:
    """value / 255, less the mean, over the deviation, channels first: as its `preprocessing_utils.py` does."""
    session = onnxruntime.InferenceSession(tiled)
    told = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    tiles = np.random.default_rng(0).integers(0, 400, (1, 128, 128, 3)).astype(np.uint16)
    mean, deviation = (np.array(told[f"standardization_{key}"], np.float32) for key in ("mean", "std"))
    given = ((np.float32(tiles * 1.0 / 255.0) - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    (came,) = session.run(None, {"image": given})
    known, model = (
        Statistics.from_json(told["cropland"]["statistics"]),
        ModelFile.load(tiled.with_name("m.safetensors")),
    )
    image = known.normalise(tiles[0].transpose(2, 0, 1), np.ones((128, 128), bool))
    with torch.no_grad():
        np.testing.assert_allclose(came, torch.sigmoid(model.network()(torch.from_numpy(image)[None])), atol=1e-5)


@pytest.mark.parametrize(
    ("radius", "tile", "overlap"), [(100, 1000, 20), (549, 1024, 50), (None, 512, 50), (3, 512, 2)]
)
def test_tiles_overlap_by_the_field_at_either_side(radius: int | None, tile: int, overlap: int) -> None:
    facts = {"pixel_m": 2.5, "threshold": 0.604, "tile": tile, "radius": radius, "statistics": None}
    told = for_deepness(facts)
    assert told["tiles_overlap"] == overlap and told["seg_thresh"] == 0.6 and told["resolution"] == 250
    assert "standardization_mean" not in told


def test_without_the_extra_it_says_which_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxscript'] = None\n"
        "from cropland.cli import main\n"
        f"sys.exit(main(['export', '--to', 'onnx', '--out', {str(tmp_path / 'm.onnx')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("onnxscript is not installed, which ONNX needs; pip install 'cropland[export]'")
