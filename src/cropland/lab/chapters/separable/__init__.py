"""Depthwise-separable convolution: why the time does not fall as the parameters do."""
