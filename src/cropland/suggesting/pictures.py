"""The picture of suggested windows: of each the image, the probability, and where its views disagree."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np
from jaxtyping import UInt8

from cropland.fonts import drawable, lettering
from cropland.language import _
from cropland.mapping.picture import INK, NO_DATA, PALE, RAMP

if TYPE_CHECKING:  # it imports torch
    from cropland.suggesting.look import Look

__all__ = ["PANEL", "draw"]

PANEL = 360  # pixels of the longer side of a panel
EDGE, GAP, HEAD, CAPTION = 0.2, 0.08, 0.75, 0.42  # inches
STRONG = 0.5  # disagreement that is drawn darkest
DISAGREEMENT = ["#f7f3e8", "#ecc9a0", "#d9894f", "#a8492b", "#5c1a1a"]


@lettering()
def draw(name: str, rows: Sequence[tuple[str, UInt8[np.ndarray, "height width 3"], Look]]) -> bytes:
    """A PNG of windows, each with a sentence over its three panels; two windows beside each other if there are many."""
    # Imported here, since it takes half a second.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    ramp, disagreement = (LinearSegmentedColormap.from_list("ramp", each) for each in (RAMP, DISAGREEMENT))
    columns = 1 if len(rows) < 4 else 2
    side = PANEL / 150
    wide, high = 3 * side + 2 * GAP, side + CAPTION
    lines = ceil(len(rows) / columns)
    size = (columns * wide + (columns + 1) * EDGE, HEAD + lines * high + EDGE)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    figure.text(EDGE / size[0], 1 - 0.14 / size[1], drawable(name), fontsize=13, weight="bold", color=INK, va="top")
    titles = (_("Scene"), _("Probability"), _("Disagreement"))
    for number, (sentence, image, look) in enumerate(rows):
        line, column = divmod(number, columns)
        left, top = EDGE + column * (wide + EDGE), size[1] - HEAD - line * high
        words = "\n".join(wrap(drawable(sentence), 120))
        figure.text(left / size[0], (top - CAPTION + 0.06) / size[1], words, fontsize=8, color=INK, va="bottom")
        pictures: list[tuple[np.ndarray, dict[str, Any]]] = [
            (image, {}),
            (np.where(look.valid, look.probability, np.nan), {"cmap": ramp, "vmin": 0, "vmax": 1}),
            (np.where(look.valid, look.disagreement, np.nan), {"cmap": disagreement, "vmin": 0, "vmax": STRONG}),
        ]
        for place, (picture, style) in enumerate(pictures):
            corner = (left + place * (side + GAP)) / size[0], (top - CAPTION - side) / size[1]
            axis = figure.add_axes((*corner, side / size[0], side / size[1]), xticks=[], yticks=[], facecolor=NO_DATA)
            axis.imshow(picture, interpolation="antialiased", **style)
            axis.spines[:].set(color=PALE, linewidth=0.6)
            if line == 0:
                figure.text(corner[0], 1 - 0.5 / size[1], titles[place], fontsize=10, color=INK, va="top")
    buffer = BytesIO()
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # a letter of the name that no font of this machine has
        figure.savefig(buffer, dpi=150, facecolor="white", format="png")
    return buffer.getvalue()
