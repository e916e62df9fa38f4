"""Windows of a grid, and tiles that cover it: the core to write and the larger window to read."""

from itertools import product
from typing import NamedTuple

from rasterio.windows import Window as FileWindow

__all__ = ["Tile", "Window", "round_up", "tiles"]


class Window(NamedTuple):
    """A rectangle of pixels: its first row and column, and its size."""

    row: int
    col: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns as slices of an array of the whole grid."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def in_file(self) -> FileWindow:
        """The window as rasterio takes it."""
        return FileWindow(self.col, self.row, self.width, self.height)

    def within(self, outer: "Window") -> "Window":
        """This window counted from the first pixel of `outer`."""
        return self._replace(row=self.row - outer.row, col=self.col - outer.col)

    def widened(self, pixels: int, *, shape: tuple[int, int]) -> "Window":
        """This window and as many pixels around it as a grid of that shape has."""
        row, col = max(0, self.row - pixels), max(0, self.col - pixels)
        bottom, right = min(shape[0], self.row + self.height + pixels), min(shape[1], self.col + self.width + pixels)
        return Window(row, col, bottom - row, right - col)


class Tile(NamedTuple):
    """A window to write (`core`) and the larger one to read (`padded`)."""

    core: Window
    padded: Window

    @property
    def inner(self) -> Window:
        """The core counted from the first pixel of the padded window."""
        return self.core.within(self.padded)


def tiles(shape: tuple[int, int], *, size: int, halo: int, stride: int) -> list[Tile]:
    """Cut a grid into tiles, row by row.

    Cores partition `shape`; padded windows reach `halo` further and are clipped to the shape, and their origins are
    multiples of `stride`, as a network of that stride needs to give the same values as on the whole scene.
    `size` and `halo` (pixels) are rounded up to multiples of `stride`.
    """
    assert size > 0 and stride > 0 and halo >= 0, (size, stride, halo)
    rows, cols = (_spans(length, round_up(size, stride), halo=round_up(halo, stride)) for length in shape)
    return [
        Tile(*(Window(r[0], c[0], r[1], c[1]) for r, c in zip(row, col, strict=True)))
        for row, col in product(rows, cols)
    ]


def round_up(value: int, multiple: int) -> int:
    """The next multiple, or the value where it is one."""
    return -(-value // multiple) * multiple


def _spans(length: int, size: int, *, halo: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Per tile along one axis: (start, count) of the core and of the padded window."""
    spans = []
    for start in range(0, length, size):
        stop = min(start + size, length)
        low, high = max(0, start - halo), min(length, stop + halo)
        spans.append(((start, stop - start), (low, high - low)))
    return spans
