"""Whether the mask of the model that ships follows the image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from cropland.data.statistics import scene_statistics
from cropland.demo import TILE
from cropland.evaluation.boundary import boundary, distance_m
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.lab.charts import Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly
from cropland.model import Model, default_model
from cropland.training.device import place_network

__all__ = ["pooling_shipped"]

PIXEL_M, MARGIN = 2.0, 64  # zeros beyond the edge are felt most within so many pixels of it
NEAR_M = 4.0


def pooling_shipped(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The mask under shifts of the window."""
    yield _mask(device, budget)


def _mask(device: torch.device, budget: Budget) -> Finding:
    model = Model.load(default_model())
    shifts = [*range(9), model.stride]
    images = shifted(picture(), budget.size + 2 * MARGIN, shifts)
    threshold = model.nearest_pixel(PIXEL_M).threshold
    masks = moved_masks(
        place_network(model.network(), device), images, shifts, limit=math.log(threshold / (1 - threshold))
    )
    changed, first = masks[1:] != masks[0], masks[0].astype(np.uint8)
    shares = changed.mean((1, 2))
    close = distance_m(boundary(first, np.ones_like(first, bool)), (PIXEL_M, PIXEL_M)) <= NEAR_M
    ever = changed[:-1].any(0)
    numbers = {
        "changed": exactly(shares[:-1].max()),
        "stride": exactly(model.stride),
        "whole": exactly(shares[-1]),
        "ever": exactly(ever.mean()),
        "near": exactly((ever & close).sum() / max(1, ever.sum())),
        "area_near": exactly(close.mean()),
    }
    shown = _inside(images[0], 0).permute(1, 2, 0).clamp(0, 1).mul(255).byte().numpy()
    panels = Panels(
        "Where the decision depends on where the window begins",
        [
            Panel("the image", raster(np.ascontiguousarray(shown))),
            Panel("the mask", heat(first, low=0, high=1)),
            Panel("in how many of 8 shifts it differs", heat(changed[:-1].sum(0), low=0, high=8)),
        ],
    )
    curves = {"the model that ships": [exactly(share) for share in shares[:-1]]}
    lines = Lines(
        "Pixels that change sides",
        "shift in pixels",
        "share",
        shifts[1:-1],
        curves,
        levels={f"shift by {model.stride} pixels": float(shares[-1])},
    )
    return Finding("pooling_shipped.mask", numbers, [lines, panels])


@torch.inference_mode()
def moved_masks(
    network: nn.Module, images: Tensor, shifts: Sequence[int], *, limit: float
) -> Bool[np.ndarray, "shift rows cols"]:
    """Where the logits reach `limit` in the middle of the first image, as seen in each of the shifted windows."""
    device = next(network.parameters()).device
    logits = (network.eval()(image[None].to(device))[0, 0].cpu() for image in images)
    return np.stack([(_inside(one, by) >= limit).numpy() for one, by in zip(logits, shifts, strict=True)])


def _inside(one: Tensor, shift: int) -> Tensor:
    """The part that shows the middle of the first image, in a window that begins `shift` pixels further right."""
    # Up to the stride further left: the margin is wider.
    return one[..., MARGIN:-MARGIN, MARGIN - shift : one.shape[-1] - MARGIN - shift]


def picture() -> Tensor:
    """The sample tile at 2 m, normalised as for a network: (3, 512, 512)."""
    scene = open_scene(TILE)
    image = scene.read(Window(0, 0, *scene.working_grid(2.0).shape), bands=scene.bands, ratio=2.0)
    return torch.from_numpy(scene_statistics(scene, scene.bands).normalise(image.values, image.valid))


def shifted(whole: Tensor, edge: int, shifts: Sequence[int]) -> Tensor:
    """Windows in the middle, each as many columns further right as the shifts say: (shift, band, edge, edge)."""
    edge = min(edge, whole.shape[-1] - max(shifts))
    top, left = ((length - edge - more) // 2 for length, more in zip(whole.shape[-2:], (0, max(shifts)), strict=True))
    return torch.stack([whole[:, top : top + edge, left + shift : left + shift + edge] for shift in shifts])
