"""What runs a trained network: one contract, one engine per file.

`open_engine(model, threads=None, precision="fastest")` gives a function from a normalised batch
(batch, band, height, width) of any height and width to its logits (batch, output, height, width), both float32.
Its `slide(width)` gives one that takes a tall image of that width band by band.
"""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from cropland.catalog import names, nearest
from cropland.errors import InputError
from cropland.language import Message
from cropland.notebooks.names import is_foreign
from cropland.recipe import Recipe
from cropland.streaming.slide import Slide

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Choice",
    "Described",
    "Engine",
    "NoSlideError",
    "Precision",
    "Trained",
    "cache_folder",
    "choose_engine",
    "is_foreign",
    "open_engine",
    "why_not",
]

# OpenVINO's converter reports its use over the network unless this package is missing; a map is nobody's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how a module is made missing


class NoSlideError(Exception):
    """A network that cannot slide down an image; holds a `Message` that names what stands in the way."""

    @property
    def reason(self) -> Message:
        reason: Message = self.args[0]
        return reason


def why_not(step: Callable[[], object]) -> Message | None:
    """Why a network cannot slide, if the attempt to make its step tells."""
    try:
        step()
    except NoSlideError as error:
        return error.reason
    return None


class Described(Protocol):
    """What is known of an engine, wherever it runs."""

    @property
    def about(self) -> Mapping[str, Any]:
        """All that may change the last bits of what it computes: engine, versions, device, precision, threads."""

    @property
    def no_slide(self) -> Message | None:
        """Why the network cannot slide down an image, if it cannot."""

    @property
    def bytes_per_column(self) -> int:
        """About what a slide takes for each column of the image. Raises `NoSlideError`."""


class Engine(Described, Protocol):
    """A trained network on this machine."""

    def __call__(
        self, batch: Float[np.ndarray, "batch band height width"], /
    ) -> Float[np.ndarray, "batch output height width"]:
        """Logits of whole images."""

    def prepare(self, width: int, /) -> None:
        """Begin to make the next slide for images of that width, where that takes long; nothing waits for it."""

    def slide(self, width: int, /) -> Slide:
        """Start at the top of an image of that width. Raises `NoSlideError`."""


# `fastest` is the least precision that the device computes at full speed; `f32` and `f64` are for parity.
Precision = Literal["fastest", "f32", "f64"]


class Trained(Protocol):
    """What an engine asks of a model."""

    @property
    def digest(self) -> str: ...

    @property
    def recipe(self) -> Recipe: ...

    def network(self) -> "nn.Module": ...


@dataclass(frozen=True)
class Choice:
    """The name of an engine, and why it is that one."""

    name: str
    reason: Message


def choose_engine(name: str | None = None) -> Choice:
    """The engine asked for, or the one for this machine: `torch` where CUDA is, else `openvino`.

    Raises `InputError` for one that there is not, or whose package, which has its name, is not installed.
    """
    if name is None:
        return (
            Choice("torch", Message("CUDA is there")) if _has_cuda() else Choice("openvino", Message("no CUDA device"))
        )
    known = names("engines")
    if name not in known:
        raise InputError(
            "no '{name}' among the {shelf}; {advice}", name=name, shelf="engines", advice=nearest(name, known)
        )
    if find_spec(name) is None:
        raise InputError("the engine {name} is not installed; pip install {name}", name=name)
    return Choice(name, Message("asked for"))


def open_engine(name: str, model: Trained, *, threads: int | None = None, precision: Precision = "fastest") -> Engine:
    """The engine of that name, with the model's network in it. threads: all if None."""
    opened: Callable[..., Engine] = importlib.import_module(f"cropland.engines.{name}").open_engine
    return opened(model, threads=threads, precision=precision)


def _has_cuda() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False  # found out without importing torch
    import torch

    return torch.cuda.is_available()


def cache_folder() -> Path:
    """Where compiled networks are kept: `CROPLAND_CACHE`, or `cropland` in the platform's folder for caches."""
    if given := os.environ.get("CROPLAND_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "cropland" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cropland"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cropland"
