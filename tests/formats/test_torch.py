"""The program of torch.export, where there is no cropland."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cropland.export import export
from cropland.formats.torch import TorchProgram
from small_model import save_model

READER = """
import json, sys
sys.modules["cropland"] = None
import numpy, torch
held = {"cropland": ""}
network = torch.export.load(sys.argv[1], extra_files=held).module()
image = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], network(image).detach().numpy())
print(json.dumps(json.loads(held["cropland"])["input"]["bands"]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    return export(save_model(folder / "m.safetensors"), "torch", folder / "m.pt2").path


def test_it_is_read_without_cropland(program: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((1, 3, 37, 20), np.float32)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", READER, *map(str, (program, tmp_path / "image.npy", tmp_path / "found.npy"))]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", cwd=tmp_path)
    assert json.loads(told.stdout) == ["red", "green", "blue"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), TorchProgram.read(program)(image), atol=1e-6)


def test_it_names_no_file_of_this_machine(program: Path) -> None:
    assert str(Path(__file__).parents[2]).encode() not in program.read_bytes()
