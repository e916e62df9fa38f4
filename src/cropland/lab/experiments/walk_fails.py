"""Where the map of the sample tile is wrong: one chip, and what its errors have in common."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from cropland.data.cut_scene import windows
from cropland.evaluation.confusion import count
from cropland.evaluation.pictures import verdict
from cropland.evaluation.score import Picture
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.experiments.walk import Ground, ground_of
from cropland.lab.experiments.walk_detail import probability
from cropland.lab.measure import Budget, exactly, quartiles

__all__ = ["walk_fails"]

EDGE = 128  # working pixels of a chip: 256 m
SOME = 0.05  # share of a chip that must be cropland, else its IoU says little
BORDER_M = 10.0  # nearer than this to the edge of a drawn field counts as at its edge
UNSURE = 0.25  # from the threshold, in probability
BINS = np.linspace(0, 1, 11)


def walk_fails(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The chip with the worst IoU; how many errors are at edges; how many the network is unsure of."""
    ground = ground_of(device)
    with torch.no_grad():
        p = probability(ground)
    yield _edges(ground, p)
    yield _unsure(ground, p)


def _edges(ground: Ground, p: np.ndarray) -> Finding:
    said, true = p >= ground.threshold, ground.label == 1
    wrong, away = said != true, ground.pixel_m * to_edge(true)
    cut = [window.slices for window in windows(true.shape, size=EDGE)]
    scores = {i: _iou(said[its], true[its]) for i, its in enumerate(cut) if np.mean(true[its]) >= SOME}
    worst = cut[min(scores, key=scores.__getitem__)]
    shares = [float(np.mean(away[its][wrong[its]] <= BORDER_M)) for its in cut if wrong[its].any()]
    distances = [4.0, 6.0, 10.0, 20.0, 40.0, 80.0]
    numbers = {
        "edge": exactly(_mean(away[wrong] <= BORDER_M)),
        "land": exactly(_mean(away <= BORDER_M)),
        "iou": exactly(_iou(said, true)),
        "worst": exactly(min(scores.values())),
        "chips": quartiles(shares),
    }
    curves = {
        "wrong pixels": [exactly(_mean(away[wrong] <= metres)) for metres in distances],
        "all pixels": [exactly(_mean(away <= metres)) for metres in distances],
    }
    line = Lines("Share that is nearer to a field's edge than this", "metres", "share", distances, curves, log_x=True)
    shown = ground.cut(*worst)
    panels = [
        Panel("the chip with the worst IoU", raster(shown.picture), shape=f"IoU {min(scores.values()):.2f}"),
        Panel("fields as people drew them", heat(true[worst], low=0, high=1)),
        Panel("probability", heat(p[worst], low=0, high=1)),
        Panel("green found, orange false, blue missed", raster(_verdict(shown.picture, said[worst], true[worst]))),
    ]
    return Finding("walk_fails.edges", numbers, [Panels("Where it fails", panels), line])


def to_edge(true: np.ndarray) -> np.ndarray:
    """Pixels from every pixel's centre to the nearest of the other class."""
    inside, outside = distance_transform_edt(true), distance_transform_edt(~true)
    found: np.ndarray = np.where(true, inside, outside)
    return found


def _iou(said: np.ndarray, true: np.ndarray) -> float:
    return count(said.astype(np.uint8), true.astype(np.uint8)).iou


def _verdict(picture: np.ndarray, said: np.ndarray, true: np.ndarray) -> np.ndarray:
    return verdict(Picture(picture, said.astype(np.uint8), true.astype(np.uint8)))


def _mean(which: np.ndarray) -> float:
    return float(np.mean(which))


def _unsure(ground: Ground, p: np.ndarray) -> Finding:
    true = ground.label == 1
    wrong, unsure = (p >= ground.threshold) != true, np.abs(p - ground.threshold) <= UNSURE
    numbers = {
        "wrong": exactly(_mean(unsure[wrong])),
        "right": exactly(_mean(unsure[~wrong])),
        "caught": exactly(_mean(wrong[unsure])),
    }
    places = np.digitize(p, BINS[1:-1])
    said = [exactly(_mean(true[places == i])) if (places == i).any() else None for i in range(len(BINS) - 1)]
    middles = [float(each) for each in (BINS[:-1] + BINS[1:]) / 2]
    line = Lines(
        "Of the pixels with this probability, how many are cropland",
        "probability",
        "share",
        middles,
        {"the network": said, "if probabilities were right": [exactly(each) for each in middles]},
    )
    bars = Bars("Near the threshold", "share", {"wrong pixels": numbers["wrong"], "right pixels": numbers["right"]})
    return Finding("walk_fails.unsure", numbers, [line, bars])
