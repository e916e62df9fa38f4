"""`cropland export`: what is written is what torch computes, or nothing is; wrong input in one line."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from cropland.catalog import find, names
from cropland.cli import main
from cropland.errors import ModelError, RecipeError
from cropland.export import Probability, export, facts
from cropland.geo.statistics import Statistics
from cropland.model import ModelFile, default_model
from small_model import save_model

FORMATS = names("formats")
OWN = """
import torch
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 2, 3, padding=1)
    def forward(self, x):
        y = self.convolution(x)
        {branch}
        return y
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "m.safetensors", outputs=("cropland", "roads", "boundary"))


def own(folder: Path, branch: str = "") -> ModelFile:
    """A model of the user's own network, of two classes."""
    source = folder / "own.py"
    source.write_text(OWN.format(branch=branch), encoding="utf-8")
    return save_model(folder / "own.safetensors", name=f"{source}:Own", options={})


def expected(model: ModelFile, image: np.ndarray, *, channels: Sequence[int] = (0,)) -> np.ndarray:
    """In torch, from the definition."""
    with torch.no_grad():
        logits = model.network()(torch.from_numpy(image.clip(-0.5, 1.5)))
    return torch.sigmoid(logits[:, channels]).numpy()


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_gives_the_probability_of_cropland_at_any_size(model: ModelFile, tmp_path: Path, to: str) -> None:
    made = find("formats", to)
    done = export(model, to, tmp_path / f"m{made.suffix}")
    assert done.apart <= 1e-5 and len(done.sizes) == 2
    run = made.read(done.path)
    for shape in ((1, 3, 64, 64), (3, 3, 97, 130), (1, 3, 65, 300)):
        image = np.random.default_rng(0).normal(0.5, 1, shape).astype(np.float32)
        np.testing.assert_allclose(run(image), expected(model, image), atol=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_the_boundary_is_a_second_channel(model: ModelFile, tmp_path: Path, to: str) -> None:
    made = find("formats", to)
    done = export(model, to, tmp_path / f"m{made.suffix}", boundary=True)
    image = np.random.default_rng(0).normal(0.5, 1, (1, 3, 70, 66)).astype(np.float32)
    np.testing.assert_allclose(made.read(done.path)(image), expected(model, image, channels=(0, 2)), atol=1e-5)
    assert facts(model, boundary=True)["output"]["channels"] == ["cropland", "boundary"]


def test_a_model_without_a_boundary_is_told_so(tmp_path: Path) -> None:
    alone = save_model(tmp_path / "alone.safetensors", outputs=("cropland",))
    with pytest.raises(ModelError, match="gives no boundary"):
        export(alone, "torch", tmp_path / "alone.pt2", boundary=True)


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_of_one_tile_takes_no_other(model: ModelFile, tmp_path: Path, to: str) -> None:
    made = find("formats", to)
    run = made.read(export(model, to, tmp_path / f"m{made.suffix}", tile=64).path)
    assert run(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 1, 64, 64)
    with pytest.raises(Exception, match=r"(?i)64"):
        run(np.zeros((1, 3, 96, 96), np.float32))


@pytest.mark.parametrize("to", FORMATS)
def test_a_network_of_the_users_own(tmp_path: Path, to: str) -> None:
    made, model = find("formats", to), own(tmp_path)
    model = ModelFile.load(tmp_path / "own.safetensors", trust=True)
    run = made.read(export(model, to, tmp_path / f"own{made.suffix}").path)
    image = np.random.default_rng(0).random((1, 3, 71, 80), np.float32)
    np.testing.assert_allclose(run(image), expected(model, image), atol=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_a_branch_by_size_is_refused_and_nothing_is_kept(tmp_path: Path, to: str) -> None:
    made = find("formats", to)
    model = own(tmp_path, "y = y + y.new_tensor([[[0]], [[9]]]) if x.shape[-1] % 2 else y")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError):
        export(model, to, tmp_path / f"own{made.suffix}")
    assert sorted(tmp_path.iterdir()) == before


def test_facts_say_what_else_is_needed(model: ModelFile) -> None:
    known = Statistics(model.bands, (10.0, 20.0, 30.0), (110.0, 220.0, 330.0))
    told = json.loads(json.dumps(facts(model, tile=512, statistics=known)))
    assert told["sha256"] == model.digest and told["stride"] == model.stride and told["radius"] == model.radius
    assert told["input"]["bands"] == ["red", "green", "blue"] and told["input"]["no_data"] == 0.5
    assert told["statistics"] == known.to_json() and told["threshold"] == 0.5 and told["tile"] == 512
    assert facts(model)["statistics"] is None


def test_the_facts_hold_for_the_pixel_asked_for() -> None:
    shipped = ModelFile.load(default_model())
    assert facts(shipped)["pixel_m"] == 2.0
    assert facts(shipped, pixel_m=9.0)["threshold"] == shipped.nearest_pixel(10.0).threshold


def test_facts_do_not_tell_where_a_users_network_lay(tmp_path: Path) -> None:
    own(tmp_path)
    told = facts(ModelFile.load(tmp_path / "own.safetensors", trust=True))
    assert str(tmp_path) not in json.dumps(told) and "code" not in told


def test_normalised_by_the_facts_it_is_the_map(model: ModelFile) -> None:
    """What a reader computes from `statistics` alone is what `Statistics.normalise` gives."""
    known = Statistics(model.bands, (10.0, 20.0, 30.0), (110.0, 220.0, 330.0))
    values = np.random.default_rng(0).integers(0, 400, (3, 64, 64)).astype(np.float32)
    told = facts(model, statistics=known)["statistics"]
    low, high = (np.array(told[key], np.float32)[:, None, None] for key in ("low", "high"))
    network = Probability(model.network()).eval()
    with torch.no_grad():
        one = network(torch.from_numpy((values - low) / (high - low))[None])
        other = torch.sigmoid(model.network()(torch.from_numpy(known.normalise(values, values[0] >= 0))[None])[:, :1])
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_command_says_how_near_it_is(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model.path), "--to", "torch", "--tile", "64"]) == 0
    said = capsys.readouterr().out
    assert "cropland.pt2: image (batch, 3, 64, 64)" in said and "largest difference from PyTorch at 64 x 64: " in said
    assert main(["export", str(model.path), "--to", "torch", "--tile", "64"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(model.path), "--to", "torch", "--tile", "64", "--overwrite"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["cropland.pt2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.safetensors", "--to", "torch"], "no model no.safetensors"),
        (["--to", "tensorflow"], "there are: onnx, openvino, torch"),
        (["--to", "onnx", "--out", "model.pb"], "must end in .onnx"),
        (["--to", "onnx", "--tile", "0"], "--tile"),
        (["--to", "onnx", "--statistics", "map.json"], "no file map.json"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not [*tmp_path.iterdir()]


def test_statistics_of_other_bands_are_refused(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Statistics(("nir",), (0.0,), (1.0,))
    (tmp_path / "map.json").write_text(json.dumps({"statistics": other.to_json()}), encoding="utf-8")
    place = ["--out", str(tmp_path / "m.pt2"), "--statistics", str(tmp_path / "map.json")]
    assert main(["export", str(model.path), "--to", "torch", *place]) == 2
    assert "the statistics are of nir" in capsys.readouterr().err


def test_an_unknown_format_names_those_there_are(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'onnx'"):
        export(model, "onx", tmp_path / "m.onnx")
