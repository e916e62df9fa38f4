"""Polygons that somebody holds, compared with a map or with two; reading starts at compare."""
