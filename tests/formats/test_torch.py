"""The program of torch.export, where there is no cropland."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

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


def test_it_is_read_without_cropland(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.safetensors")
    done = export(model, "torch", tmp_path / "m.pt2")
    image = np.random.default_rng(0).random((1, 3, 37, 20), np.float32)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", READER, *map(str, (done.path, tmp_path / "image.npy", tmp_path / "found.npy"))]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", cwd=tmp_path)
    assert json.loads(told.stdout) == ["red", "green", "blue"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), TorchProgram.read(done.path)(image), atol=1e-6)


def test_it_names_no_file_of_this_machine(tmp_path: Path) -> None:
    done = export(save_model(tmp_path / "m.safetensors"), "torch", tmp_path / "m.pt2")
    assert str(Path(__file__).parents[2]).encode() not in done.path.read_bytes()
