"""A plane in a plain file."""

from pathlib import Path

import numpy as np

from cropland.geo.window import Window
from cropland.mapping.plane import Plane, sync


def test_a_plane_gives_back_what_was_written(tmp_path: Path) -> None:
    plane, values = Plane(tmp_path / "plane", (5, 7)), np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert not plane.rows(0, 5).any()
    for window in (Window(2, 3, 3, 4), Window(0, 0, 2, 7), Window(2, 0, 3, 3)):
        plane.write(window, values[window.slices])
        assert np.array_equal(plane.read(window), values[window.slices])
    sync(plane.path), sync(tmp_path)
    assert np.array_equal(plane.rows(1, 4), values[1:])
