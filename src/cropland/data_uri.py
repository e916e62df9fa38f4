"""Pictures as text that lies within a page."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any

import numpy as np

__all__ = ["encoded", "jpeg_uri"]


def jpeg_uri(pixels: np.ndarray, **options: Any) -> str:
    """Red, green and blue in bytes as a JPEG in a data URI; the options are those of Pillow's encoder."""
    return "data:image/jpeg;base64," + encoded(pixels, "jpeg", **options)


def encoded(pixels: np.ndarray, kind: str, *, palette: bytes = b"", **options: Any) -> str:
    """The pixels in the format of that name, in base64; palette: red, green, blue, of each value of one band."""
    from PIL import Image  # matplotlib needs it, so it is there

    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    if palette:
        picture.putpalette(palette)
    picture.save(buffer, kind, **options)
    return b64encode(buffer.getvalue()).decode("ascii")
