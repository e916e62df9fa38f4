"""Up-sampling by a transposed convolution."""

from torch import nn

__all__ = ["transposed"]


def transposed(channels_in: int, channels_out: int) -> nn.Module:
    """A transposed 2 x 2 convolution of stride 2: every pixel becomes 2 x 2; the size is doubled. Parameters 4 I O.

    Kernel equal to stride, so no pixel is covered twice and no checkerboard of coverage arises.
    Source: Zeiler et al. 2010, doi:10.1109/CVPR.2010.5539957; Dumoulin and Visin 2016, arXiv:1603.07285.
    """
    return nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2)
