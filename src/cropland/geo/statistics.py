"""Normalisation of values to the range that a network sees, by a low and a high percentile per band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

LOW, HIGH = 2, 98  # percent
FLOOR, CEILING = -0.5, 1.5  # normalised values beyond are clipped: glint and cloud must not drown the rest
MISSING = 0.5  # what an invalid pixel shows the network


@dataclass(frozen=True)
class Statistics:
    """The low and the high percentile per band, in sensor units."""

    bands: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def normalise(
        self, values: Float[np.ndarray, "band height width"], valid: Bool[np.ndarray, "height width"]
    ) -> Float32[np.ndarray, "band height width"]:
        """Values with low at 0 and high at 1, clipped to -0.5 .. 1.5; 0.5 where not valid."""
        low = np.asarray(self.low, np.float32)[:, None, None]
        scale = np.float32(1) / (np.asarray(self.high, np.float32)[:, None, None] - low)
        normal = values.astype(np.float32, copy=False) - low
        normal *= scale
        normal.clip(FLOOR, CEILING, out=normal)
        normal[:, ~valid] = MISSING
        return normal

    def to_json(self) -> dict[str, Any]:
        """Plain values for map.json and the model file."""
        return {"bands": list(self.bands), "low": list(self.low), "high": list(self.high)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Statistics:
        """The inverse of `to_json`."""
        return Statistics(tuple(values["bands"]), tuple(values["low"]), tuple(values["high"]))


def percentiles(
    values: Float[np.ndarray, "band height width"], valid: Bool[np.ndarray, "height width"], bands: Sequence[str]
) -> Statistics:
    """The 2nd and 98th percentile of each band over valid pixels (at least one); a constant band gets a range of 1."""
    low, high = np.percentile(values[:, valid], (LOW, HIGH), axis=1)
    flat = high <= low
    return Statistics(tuple(bands), tuple(map(float, low)), tuple(map(float, np.where(flat, low + 1, high))))
