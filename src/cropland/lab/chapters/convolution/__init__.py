"""Convolution: a matrix product, as fast as arithmetic and memory allow."""
