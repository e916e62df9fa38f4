"""What a network sees with, one encoder per file.

An encoder takes `bands` and keyword arguments, has `channels` (one count per feature map) and `strides` (the pixel of
each map in pixels of the input), and turns an image into that list of maps, fine to coarse. Map sizes are ceil(size /
stride).
"""
