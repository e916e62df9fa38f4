"""Where the pixels are: scenes, grids, sensors and vectors. Never imports torch."""
