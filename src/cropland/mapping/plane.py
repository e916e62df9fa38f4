"""A plane of bytes on disk: what is computed of a scene, in a plain file; and waiting until things are there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cropland.geo.window import Window

__all__ = ["Plane", "sync"]


@dataclass(frozen=True)
class Plane:
    """A plane of uint8 in a plain file. Written by seeking: a full disk then raises, where a memory map would crash."""

    path: Path
    shape: tuple[int, int]

    def write(self, window: Window, values: UInt8[np.ndarray, "height width"]) -> None:
        """Write a window; the file grows as needed."""
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            if window.width == self.shape[1]:
                file.seek(window.row * window.width)
                file.write(np.ascontiguousarray(values).data)
                return
            for row, line in enumerate(values, window.row):
                file.seek(row * self.shape[1] + window.col)
                file.write(line.tobytes())

    def read(self, window: Window) -> UInt8[np.ndarray, "height width"]:
        """A window; what was never written is 0, also beyond the end of the file."""
        values = np.zeros(window.shape, np.uint8)
        if not self.path.exists():
            return values
        with self.path.open("rb") as file:
            if window.width == self.shape[1]:
                file.seek(window.row * window.width)
                file.readinto(values.data)
                return values
            for row, line in enumerate(values, window.row):
                file.seek(row * self.shape[1] + window.col)
                file.readinto(line.data)
        return values

    def rows(self, start: int, count: int) -> UInt8[np.ndarray, "rows width"]:
        """Some whole rows."""
        return self.read(Window(start, 0, count, self.shape[1]))


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
