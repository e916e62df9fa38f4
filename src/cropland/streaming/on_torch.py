"""A step in torch: the kept rows are tensors that go from call to call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from cropland.streaming.plan import Step

__all__ = ["TorchSlide"]

Rows = Float[np.ndarray, "1 channel rows width"]


class TorchSlide:
    """Slides down one image of one width on a device."""

    def __init__(self, step: Step, *, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self.schedule, self.band = step.schedule, step.schedule.band(width)
        self._inside, self._edge = (form.to(device, dtype) for form in (step.inside, step.edge))
        self._device, self._dtype = device, dtype
        self._kept = [torch.from_numpy(kept).to(device, dtype) for kept in step.schedule.first(width)]

    @torch.inference_mode()
    def __call__(self, image: Rows, masks: Sequence[np.ndarray]) -> Rows:
        """The next band, and for an edge its masks: the rows that come out."""
        rows = torch.from_numpy(image).to(self._device, self._dtype, memory_format=torch.channels_last)
        given = [torch.from_numpy(mask).to(self._device) for mask in masks]
        out, *self._kept = (self._edge if given else self._inside)(rows, *given, *self._kept)
        found: np.ndarray = out.to(torch.promote_types(self._dtype, torch.float32)).cpu().numpy()
        return found
