"""What a model says of a window, how much its answer changes with the view, and what its network sees there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from scipy.special import expit
from torch import Tensor, nn

from cropland.geo.scene import Image
from cropland.geo.statistics import Statistics
from cropland.model import ModelFile

__all__ = ["Look", "Looker"]

Flat = Float32[np.ndarray, "height width"]

STRETCH = 1.25  # the range of values of the darker view over the scene's, and of the scene's over the brighter view's
AT_ONCE = 5 * 256**2  # pixels in a batch: five views of a window of the usual size, for which 250 MB are enough
LARGEST = 0.5  # standard deviation of a probability: half of the views say 0, the others 1


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of a window after its views were predicted.

    probability: 0..1, of the window as it lies. disagreement: the standard deviation of the probability over all views,
    as a share of the largest that there is, 0..1. valid: where there is data. feature: what the network sees of the
    window as it lies, a number for each channel.
    """

    probability: Flat
    disagreement: Flat
    valid: Bool[np.ndarray, "height width"]
    feature: Float64[np.ndarray, " channel"]


class Looker:
    """A model's network in PyTorch, which predicts a window as it lies, mirrored, turned, darker and brighter.

    A feature is the mean over the window of the last map of the network's `encoder`; of a network without one, of the
    input of its last layer.
    """

    def __init__(self, model: ModelFile) -> None:
        self._network = model.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self._seen: dict[str, Tensor] = {}
        encoder = getattr(self._network, "encoder", None)
        if isinstance(encoder, nn.Module):
            encoder.register_forward_hook(lambda _module, _given, came: self._keep("encoder", came))
        for module in self._network.modules():
            # Whichever of them runs last is the last layer.
            if (weight := getattr(module, "weight", None)) is not None and weight.dim() > 1:
                module.register_forward_pre_hook(lambda _module, given: self._keep("last layer", given))

    def look(self, image: Image, statistics: Statistics) -> Look:
        """The look at an image of the model's bands and working pixels, under the statistics of its whole scene."""
        views = [move(_stretched(statistics, factor).normalise(image.values, image.valid)) for move, factor in VIEWS]
        logits, feature = self._predict(np.stack(views))
        back = [move(each) for each, (move, _factor) in zip(logits, VIEWS, strict=True)]
        probabilities: Float32[np.ndarray, "view height width"] = expit(np.stack(back))
        return Look(probabilities[0], probabilities.std(axis=0) / LARGEST, image.valid, feature)

    def feature(self, image: Image, statistics: Statistics) -> Float64[np.ndarray, " channel"]:
        """The feature alone, as `look` gives it."""
        return self._predict(statistics.normalise(image.values, image.valid)[None])[1]

    @torch.inference_mode()
    def _predict(
        self, views: Float32[np.ndarray, "view band height width"]
    ) -> tuple[Float32[np.ndarray, "view height width"], Float64[np.ndarray, " channel"]]:
        """The logits of cropland of each view, and the feature of the first."""
        height, width = views.shape[2:]
        parts, feature = [], None
        step = max(1, AT_ONCE // (height * width))
        for start in range(0, len(views), step):
            self._seen.clear()
            some = torch.from_numpy(views[start : start + step])
            parts.append(self._network(some.contiguous(memory_format=torch.channels_last))[:, 0].numpy())
            if feature is None:
                feature = _pooled(self._seen.get("encoder", self._seen["last layer"])[0])
        assert feature is not None, "there is a view at least"
        return np.concatenate(parts), feature

    def _keep(self, name: str, came: Any) -> None:
        """Keep the tensor in what came, the last of several."""
        tensor = came[-1] if isinstance(came, list | tuple) and len(came) else came
        if isinstance(tensor, Tensor):
            self._seen[name] = tensor


def _pooled(seen: Tensor) -> Float64[np.ndarray, " channel"]:
    """The mean of each channel; tokens, which have two axes, have their channels last."""
    mean: np.ndarray = (seen.mean(0) if seen.dim() == 2 else seen.flatten(1).mean(1)).double().numpy()
    return mean


def _as_it_lies(values: np.ndarray) -> np.ndarray:
    return values


def _mirrored(values: np.ndarray) -> np.ndarray:
    return values[..., ::-1]


def _turned(values: np.ndarray) -> np.ndarray:
    """By half: a quarter would give a window that is not square another shape, and so a batch of its own."""
    return values[..., ::-1, ::-1]


def _stretched(statistics: Statistics, factor: float) -> Statistics:
    """So much wider a range: above 1 the image is darker."""
    high = tuple(low + factor * (high - low) for low, high in zip(statistics.low, statistics.high, strict=True))
    return replace(statistics, high=high)


# How a window is moved, which undoes itself, and how its range is stretched; first as it lies.
VIEWS = ((_as_it_lies, 1.0), (_mirrored, 1.0), (_turned, 1.0), (_as_it_lies, STRETCH), (_as_it_lies, 1 / STRETCH))
