"""A network whose every weight, bias and statistic matters."""

import torch
from torch import nn


def shaken(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with random non-zero biases, norms and running statistics: none of them is
    trivial."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.dim() == 1:
            value.copy_(0.5 + 0.2 * torch.randn(value.shape, generator=generator))
    return network.eval()
