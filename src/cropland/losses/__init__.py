"""The losses, one per file.

A loss takes `logit`, `target` (0 or 1) and `valid` (False where the label is unknown or the pixel missing), each
(batch, height, width), and returns one value per chip. Pixels that are not valid contribute nothing, to values or
gradients; a chip without a valid pixel has loss 0.
"""
