"""Atrous convolution: it looks further with the same parameters."""
