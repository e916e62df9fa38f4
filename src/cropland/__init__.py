"""Cropland in satellite and aerial imagery: a mask, parcels and an honest area from a scene, and an understanding of the network that makes them."""

__version__ = "0.1.0"
