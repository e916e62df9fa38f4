"""What is known of each pixel: 1 cropland, 0 not cropland, 255 unknown.

Labels are laid on a scene once and then drawn window by window: memory holds one chip, whatever the scene's size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from cropland.geo.scene import Scene
from cropland.geo.window import Window

__all__ = ["CROPLAND", "OTHER", "UNKNOWN", "Draw", "Labels", "WholeLabels"]

CROPLAND, OTHER, UNKNOWN = 1, 0, 255

Draw = Callable[[Window], UInt8[np.ndarray, "height width"]]


class Labels(Protocol):
    """Labels that can be laid on a scene."""

    def on(self, scene: Scene) -> Draw:
        """Return the function that draws the label of a window of the scene's own grid.

        Raises:
            LabelError: the labels do not meet the scene.
        """


@dataclass(frozen=True)
class WholeLabels:
    """Image-level labels: every pixel of the scene is cropland, or none is."""

    value: int

    def on(self, scene: Scene) -> Draw:
        """Return the function that fills a window with the one value."""
        return lambda window: np.full((window.height, window.width), self.value, np.uint8)
