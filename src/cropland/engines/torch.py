"""PyTorch: the default where CUDA is, and the reference for the others."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from cropland import __version__
from cropland.engines import Engine, NoSlideError, Precision, Trained, why_not
from cropland.language import Message
from cropland.streaming.program import UnboundedError
from cropland.streaming.step import Step, plan

__all__ = ["open_engine"]


def open_engine(model: Trained, *, threads: int | None = None, precision: Precision = "fastest") -> Engine:
    """An engine on the first CUDA device, or on the CPU with `threads` threads.

    `fastest` is half precision on CUDA and float32 on the CPU.
    """
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float64 if precision == "f64" else torch.float32
    network = model.network().to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    is_half = precision == "fastest" and device.type == "cuda"

    return _TorchEngine(network, device, dtype, is_half=is_half, bands=len(model.recipe.bands))


class _TorchEngine:
    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype, *, is_half: bool, bands: int
    ) -> None:
        self._network, self._device, self._dtype = network, device, dtype
        self._is_half, self._bands = is_half, bands

    @torch.inference_mode()
    def __call__(
        self, batch: Float[np.ndarray, "batch band height width"], /
    ) -> Float[np.ndarray, "batch output height width"]:
        image = torch.from_numpy(batch).to(self._device, self._dtype, memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.float16, enabled=self._is_half):
            logits = self._network(image)
        result: np.ndarray = logits.to(self._dtype).cpu().numpy()
        return result

    def prepare(self, width: int, /) -> None:
        """Nothing takes long."""

    def slide(self, width: int, /) -> TorchSlide:
        return TorchSlide(
            self._step, width=width, device=self._device, dtype=torch.float16 if self._is_half else self._dtype
        )

    @cached_property
    def about(self) -> dict[str, Any]:
        is_cuda = self._device.type == "cuda"
        device = torch.cuda.get_device_name(self._device) if is_cuda else platform.processor() or platform.machine()
        features = torch.version.cuda if is_cuda else torch.backends.cpu.get_cpu_capability()
        precision = "f16" if self._is_half else {torch.float32: "f32", torch.float64: "f64"}[self._dtype]
        about = {"engine": "torch", "version": torch.__version__, "cropland": __version__, "precision": precision}
        return {**about, "threads": torch.get_num_threads(), "device": device, "features": [str(features)]}

    @cached_property
    def no_slide(self) -> Message | None:
        return why_not(lambda: self._step)

    @property
    def bytes_per_column(self) -> int:
        return self._step.schedule.bytes_per_column

    @cached_property
    def _step(self) -> Step:
        try:
            return plan(self._network, self._bands)
        except UnboundedError as error:
            raise NoSlideError(error.args[0]) from error


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
