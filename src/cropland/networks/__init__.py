"""The architectures, one per file, built only from blocks and encoders.

A network takes `bands` and `outputs` (numbers of channels) and keyword arguments; it turns (batch, bands, height,
width)
of normalised values into (batch, outputs, height, width) of logits, channel 0 cropland, at any height and width.
"""
