"""The scenes of an area and a time, from a STAC API; reading starts at find.py."""
