"""Batch normalisation."""

from torch import nn

__all__ = ["batch_norm"]


def batch_norm(channels: int) -> nn.Module:
    """Normalise each channel by its mean and variance over batch and pixels; at inference a fixed scale and shift.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta; the running statistics serve at inference, where the block
    folds into the convolution before it. Shape kept.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167. Epsilon 1e-3 is that of the EfficientNet weights.
    """
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
