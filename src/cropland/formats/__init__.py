"""What a model is exported to: one contract, one file format per file.

Every file takes `image` (batch, band, height, width), float32: each band with its low percentile at 0 and its high one
at 1, no data at 0.5; the file itself clips to -0.5 .. 1.5. It gives `probability` (batch, channel, height, width),
float32: that the pixel is cropland, and in a second channel, if asked for, that it lies in the boundary of a field.
What else is needed stands in the file as JSON under `cropland` (see `cropland.export`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["INPUT", "KEY", "OUTPUT", "Format", "Run"]

INPUT, OUTPUT, KEY = "image", "probability", "cropland"
Run = Callable[
    [Float32[np.ndarray, "batch band height width"]], Float32[np.ndarray, "batch channel height width"]
]  # fmt: skip


class Format(Protocol):
    """A file format: how a program and its facts are written, and read again by the library that others use."""

    suffix: ClassVar[str]

    @staticmethod
    def write(program: "ExportedProgram", facts: Mapping[str, Any], path: Path) -> None:
        """Write one file, and beside it what belongs to it under the same stem."""

    @staticmethod
    def read(path: Path) -> Run:
        """What was written, as a function."""
