"""What a network is made of, against numbers worked out by hand."""

import dataclasses
import json

import pytest
import shapely
from torch import nn

from cropland.cli import main
from cropland.data.ground import TrainingGround
from cropland.geo.window import Window
from cropland.model import ModelFile
from cropland.show import anatomy
from small_model import save_model


class TwoConvolutions(nn.Module):
    """3 x 3 with stride 2, then its transpose: 27 x 4 + 4 and 4 x 4 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2, bias=False)

    def forward(self, x):
        return self.up(self.down(x))[..., : x.shape[-2], : x.shape[-1]]


def test_numbers_of_a_network_by_hand():
    network = TwoConvolutions()
    seen = anatomy(network, 3)
    assert network.down.weight.device.type == "cpu"  # it is still there to be used
    down, up = seen.layers
    assert (seen.parameters, seen.stride) == (27 * 4 + 4 + 16, 2)
    # Output row 1 comes from row 0 of the middle map, which saw rows -1..1; output row 0 saw them too.
    assert seen.radius == 2
    assert (down.name, down.channels, down.stride, down.multiply_adds) == ("down", 4, 2, 27 * 4 / 4)
    assert (up.name, up.channels, up.stride, up.multiply_adds) == ("up", 1, 1, 4)
    assert seen.multiply_adds == 27 + 4


def test_json_accounts_for_every_parameter_and_operation(capsys):
    assert main(["show", "unet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"]["network"]["name"] == "unet"
    seen = found["anatomy"]
    for number in ("parameters", "multiply_adds"):
        assert sum(layer[number] for layer in seen["layers"]) == pytest.approx(seen[number])


def test_tables_fit_a_terminal(capsys):
    assert main(["show", "unet"]) == 0
    shown = capsys.readouterr().out
    assert "receptive field" in shown and "encoder" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_model_says_its_temperature_and_its_training_ground(tmp_path, capsys):
    older = save_model(tmp_path / "m.safetensors")
    assert main(["show", str(older.path)]) == 0
    shown = capsys.readouterr().out
    assert "none was fitted" in shown and "it does not say" in shown
    ground = TrainingGround(shapely.box(10, 50, 10.1, 50.1), {"a": (Window(0, 0, 8, 8),)}, is_complete=False)
    metrics = {"validation_ece": 0.03, "validation_ece_calibrated": 0.01}
    newer = dataclasses.replace(older, temperature=1.5, metrics=metrics, trained_on=ground)
    newer.save(older.path, older.network().state_dict())
    assert main(["show", str(older.path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1.500 (calibration error 3.00%, with it 1.00%)" in shown
    assert "7,966 ha of ground, images without a CRS: 1" in shown and "which they do not say" in shown
    assert main(["show", str(older.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["temperature"] == 1.5 and found["trained_on"]["bounds"] == [10, 50, 10.1, 50.1]
    assert ModelFile.load(older.path).trained_on == ground


@pytest.mark.parametrize("name", ["nothing.toml", "nothing.safetensors", "unte"])
def test_what_is_not_there_gets_one_line(name, capsys):
    assert main(["show", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
