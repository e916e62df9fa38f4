"""A table of polygons of any length: the polygons in a temporary file, their figures in memory."""

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
import shapely
from jaxtyping import Int64

__all__ = ["Spill"]


class Spill:
    """Polygons that are added in any order and read in any other; some 12 bytes each stay in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lengths: list[np.ndarray] = []
        self._columns: dict[str, list[np.ndarray]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lengths))

    def add(self, polygons: np.ndarray, figures: Mapping[str, np.ndarray]) -> None:
        """Append polygons and their figures, the same ones each time."""
        records = shapely.to_wkb(polygons)
        self._file.seek(0, 2)
        self._file.writelines(records)
        self._lengths.append(np.fromiter(map(len, records), np.int32, len(records)))
        for name, values in figures.items():
            self._columns.setdefault(name, []).append(values)

    def figures(self, name: str) -> np.ndarray:
        """One figure of all polygons, in the order in which they came."""
        return np.concatenate(self._columns[name])

    def polygons(self, numbers: Int64[np.ndarray, "polygon"]) -> np.ndarray:
        """The polygons of these numbers (0 for the first that came)."""
        lengths = np.concatenate(self._lengths)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        records = np.empty(len(numbers), object)
        for place in np.argsort(numbers):  # forward through the file
            self._file.seek(starts[numbers[place]])
            records[place] = self._file.read(lengths[numbers[place]])
        found: np.ndarray = shapely.from_wkb(records)
        return found
