"""Cropland in satellite and aerial imagery: mask, parcels, area, and an understanding of the network.

The public names; none of them imports anything before it is used (PEP 562). What type they have stands in __init__.pyi.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "Model",
    "__version__",
    "compare",
    "cut_chips",
    "deliver",
    "design_sample",
    "doctor",
    "estimate_area",
    "evaluate",
    "find",
    "map",
    "open",
    "suggest",
    "train",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("cropland.api"), name)


def __dir__() -> list[str]:
    return __all__
