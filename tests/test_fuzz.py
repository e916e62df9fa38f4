"""Bytes flipped and files cut short: the answer is a map or one line, never a traceback, a crash or a hang.

A process of its own imports what mapping imports and forks a child for each case, so a case costs milliseconds. It
starts neither torch nor OpenVINO, whose threads would not survive a fork: the network is a line of arithmetic.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from source_tree import ROOT

CASES = 150  # of a scene, and as many of a model
SECONDS = 60  # for one case; it takes a tenth of a second


def damaged(content: bytes, seed: int) -> bytes:
    """A file cut short, with bits flipped or bytes overwritten; headers are hit more often than pixels."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    reach = len(data) if rng.random() < 0.4 else min(len(data), 1200)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(reach)])
    for place in rng.integers(0, reach, size=rng.geometric(0.5)):
        if kind == 1:
            data[place] ^= 1 << rng.integers(8)
        elif kind == 2:
            data[place] = rng.integers(256)
        else:
            data[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    return bytes(data)


def write_scene(path: Path) -> Path:
    values = np.random.default_rng(1).integers(1, 255, (3, 48, 64), dtype=np.uint8)
    place = {"crs": "EPSG:32650", "transform": Affine(2, 0, 400_000, 0, -2, 4_000_000)}
    profile = {"driver": "GTiff", "count": 3, "height": 48, "width": 64, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values)
        file.descriptions = ("red", "green", "blue")
    return path


def write_model(path: Path) -> Path:
    """In a process of its own, as is all that imports torch here."""
    script = """
import sys
from pathlib import Path
from cropland.model import ModelFile, WorkingPixel, build_network
from cropland.recipe import Recipe
recipe = Recipe(network={"options": {"width": 2, "encoder_options": {"width": 2, "depth": 2}}})
weights = build_network(recipe).state_dict()
ModelFile(recipe, (WorkingPixel(2.0, 0.9, 0.5),), stride=2, radius=20).save(Path(sys.argv[1]), weights)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return write_scene(folder / "scene.tif"), write_model(folder / "model.safetensors")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process for each case")
@pytest.mark.parametrize("which", ["scene", "model"])
def test_damage_is_met_with_one_line(which, whole, tmp_path):
    scene, model = whole
    victim = scene if which == "scene" else model
    for seed in range(CASES):
        (tmp_path / f"{seed}{victim.suffix}").write_bytes(damaged(victim.read_bytes(), seed))
    (tmp_path / f"whole{victim.suffix}").write_bytes(victim.read_bytes())
    tried = [tmp_path / f"{seed}{victim.suffix}" for seed in [*range(CASES), "whole"]]
    lines = [f"{scene} {path}" if which == "model" else f"{path} {model}" for path in tried]
    server = [sys.executable, str(ROOT / "tests" / "fork_server.py"), str(SECONDS), str(tmp_path)]
    done = subprocess.run(server, input="\n".join(lines), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    answers = [answer.split(" ", 1) for answer in done.stdout.splitlines()]
    assert len(answers) == CASES + 1
    assert answers[-1][0] == "0", answers[-1]
    wrong = [(seed, answer) for seed, answer in enumerate(answers) if not expected(*answer, which=which)]
    assert wrong == []
    assert sum(status == "2" for status, _ in answers) > CASES / 10  # the damage was felt


def expected(status: str, said: str, *, which: str) -> bool:
    one_line = said.startswith("cropland: ") and "\\n" not in said.removesuffix("\\n")
    half_read = status == "3" and which == "scene" and "cannot be read in rows" in said
    return status == "0" or (status == "2" and one_line) or (half_read and one_line)
