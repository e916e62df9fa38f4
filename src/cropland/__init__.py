"""Cropland in satellite and aerial imagery: mask, parcels, area, and an understanding of the network."""

__version__ = "0.1.0"
