"""OpenVINO's files, where there is no cropland."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from cropland.export import export
from cropland.formats.openvino import OpenVINO
from small_model import save_model

READER = """
import json, sys
sys.modules["cropland"] = sys.modules["torch"] = None
import numpy, openvino
core = openvino.Core()
graph = core.read_model(sys.argv[1])
facts = json.loads(graph.get_rt_info(["cropland"]).astype(str))
image = numpy.load(sys.argv[2])
found = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"image": image})["probability"]
numpy.save(sys.argv[3], found)
print(json.dumps([facts["input"]["bands"], [str(each) for each in graph.input(0).partial_shape]]))
"""


def test_it_is_read_without_cropland_or_torch(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.safetensors")
    done = export(model, "openvino", tmp_path / "m.xml")
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "m.xml", "m.bin"}
    image = np.random.default_rng(0).random((2, 3, 90, 101), np.float32)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", READER, *map(str, (done.path, tmp_path / "image.npy", tmp_path / "found.npy"))]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", cwd=tmp_path)
    bands, shape = json.loads(told.stdout)
    assert bands == ["red", "green", "blue"] and shape == ["?", "3", "?", "?"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), OpenVINO.read(done.path)(image), atol=1e-6)


def test_a_file_that_is_replaced_brings_its_weights(tmp_path: Path) -> None:
    one, other = (save_model(tmp_path / f"{name}.safetensors", bands=("red",)) for name in ("a", "b"))
    export(one, "openvino", tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"")
    export(other, "openvino", tmp_path / "m.xml")
    assert OpenVINO.read(tmp_path / "m.xml")(np.zeros((1, 1, 64, 64), np.float32)).shape == (1, 1, 64, 64)
