"""A small mask with its truth, and a sample of it that somebody has looked at."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
from scipy.ndimage import gaussian_filter

from rasters import write_raster

SHAPE = (120, 150)


def truth() -> np.ndarray:
    """Fields, as blobs over about half of the ground."""
    return (gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 6) > 0).astype(np.uint8)


def mask_of(values: np.ndarray) -> np.ndarray:
    """A map of the truth that is wrong along edges, with a corner without data."""
    mask = (gaussian_filter(values.astype(float), 3) > 0.45).astype(np.uint8)
    mask[:20, :30] = 255
    return mask


def write_mask(path: Path, **profile: object) -> Path:
    return write_raster(path, mask_of(truth()), **profile)


def design_of(sample: Path) -> dict[str, object]:
    return json.loads((sample.parent / "design.json").read_text(encoding="utf-8"))


def look_at(sample: Path, values: np.ndarray) -> None:
    """Fill the column reference of a sample with what is true."""
    rows, cols, _ = np.array(design_of(sample)["pixels"]).T
    frame = gpd.read_file(sample)
    frame["reference"] = values[rows, cols][frame["id"] - 1]
    frame.to_file(sample, layer="sample")


def write_answers(path: Path, sample: str, answers: Mapping[int, str], *, interpreter: str = "li") -> Path:
    rows: Sequence[object] = [(sample, number, answer, interpreter) for number, answer in answers.items()]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("sample", "id", "reference", "interpreter"), *rows])
    return path
