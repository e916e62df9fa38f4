"""The computed field against what a perturbed pixel does, and the networks that have none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.streaming.receptive_field import Field, field


class Stack(nn.Module):
    """A column of layers with a skip from the input, brought to its size at the far edge: what decoders do."""

    def __init__(self, layers: list[nn.Module], *, skip: bool) -> None:
        super().__init__()
        self.layers, self.skip = nn.Sequential(*layers), skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        y = F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))
        return torch.cat([x, y], 1) if self.skip else y


def positive(network: nn.Module) -> nn.Module:
    """The network in float64 with positive weights, so that no two ways of a pixel cancel."""
    network = network.double().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.uniform_(0.5, 1.0)
    return network


@st.composite
def layers(draw: st.DrawFn) -> list[nn.Module]:
    """Layers of one channel that halve and double the size equally often."""
    chosen: list[nn.Module] = []
    depth = draw(st.integers(0, 2))
    for _ in range(depth):
        chosen += draw(st.lists(st.sampled_from(SAME), max_size=2))
        chosen.append(draw(st.sampled_from(DOWN)))
    chosen += draw(st.lists(st.sampled_from(SAME), max_size=2))
    for _ in range(depth):
        chosen.append(draw(st.sampled_from(UP)))
        chosen += draw(st.lists(st.sampled_from(SAME), max_size=1))
    return chosen


def convolution(kernel: tuple[int, int] | int, **options: object) -> nn.Module:
    return nn.Conv2d(1, 1, kernel, **options)  # type: ignore[arg-type]  # options are forwarded


SAME = [
    convolution(3, padding=1),
    convolution(3, padding=4, dilation=4),
    convolution(4, padding="same"),
    convolution((1, 5), padding=(0, 2)),
    nn.Sequential(nn.ReflectionPad2d(2), convolution(5), nn.BatchNorm2d(1), nn.ReLU(inplace=True)),
    nn.MaxPool2d(3, 1, 1),
    nn.Sequential(nn.ZeroPad2d((2, 0, 1, 0)), nn.AvgPool2d((2, 3), 1)),
    nn.SiLU(),
]
DOWN = [
    convolution(3, stride=2, padding=1),
    nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), convolution(3, stride=2)),
    nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), convolution(5, stride=2)),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
    nn.AvgPool2d(3, 2, 1),
]
UP = [
    nn.ConvTranspose2d(1, 1, 2, 2),
    nn.ConvTranspose2d(1, 1, 3, 2, 1, 1),
    nn.ConvTranspose2d(1, 1, 4, 2, 1),
    nn.Upsample(scale_factor=2, mode="nearest"),
    nn.Upsample(scale_factor=2, mode="bilinear"),
]


def seen(network: nn.Module, bands: int, stride: int, *, size: int = 160) -> int:
    """How far from itself a changed pixel in the middle changes the output, over all phases of the stride."""
    middle = size // 2 // stride * stride
    image = torch.rand(1, bands, size, size, dtype=torch.float64) + 1
    farthest = 0
    with torch.no_grad():
        before = network(image)
        for phase in range(stride):
            changed = image.clone()
            changed[:, :, middle + phase, middle + phase] += 1000
            _, _, rows, columns = (network(changed) != before).nonzero(as_tuple=True)
            farthest = max([farthest, *((axis - middle - phase).abs().max().item() for axis in (rows, columns))])
    return farthest


@settings(max_examples=12, deadline=None)
@given(chosen=layers(), skip=st.booleans())
def test_radius_is_what_a_perturbation_shows(chosen: list[nn.Module], skip: bool) -> None:
    network = positive(Stack(chosen, skip=skip))
    found = field(network, 1)
    assert found.reason is None
    assert found.radius == seen(network, 1, found.stride)


@settings(max_examples=8, deadline=None)
@given(chosen=layers(), skip=st.booleans(), rows=st.integers(70, 90), columns=st.integers(70, 90))
def test_a_crop_gives_the_same_beyond_the_radius(chosen: list[nn.Module], skip: bool, rows: int, columns: int) -> None:
    network = Stack(chosen, skip=skip).double().eval()
    found = field(network, 1)
    assert found.radius is not None
    start = found.stride * 4
    image = torch.rand(1, 1, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)[..., start:rows, start:columns]
        crop = network(image[..., start:rows, start:columns])
    inner = (
        ...,
        *(slice(found.radius, max(found.radius, length - start - found.radius)) for length in (rows, columns)),
    )
    torch.testing.assert_close(crop[inner], whole[inner], rtol=0, atol=1e-12)


def test_a_convolution_and_a_doubling_by_hand() -> None:
    assert field(nn.Conv2d(3, 1, 5, padding=2), 3) == Field(2, 1)
    # Halving by pairs, 3 x 3 at half size, doubling: two rows of pairs above and below, less the row itself.
    middle = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2))
    assert field(Stack([middle], skip=False), 1) == Field(3, 2)


class Named(nn.Module):
    """A network that is one function."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function, self.convolution = function, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.convolution(x))  # type: ignore[operator, no-any-return]  # given by the test


def cut(y: Tensor, x: Tensor) -> Tensor:
    return y[..., : x.shape[-2], : x.shape[-1]]


def pad_in_the_middle(x: Tensor) -> Tensor:
    missing = -x.shape[-1] % 8
    wide = F.pad(x, (missing // 2, missing - missing // 2))
    return F.interpolate(F.max_pool2d(wide, (1, 8)), scale_factor=(1.0, 8.0))[..., missing // 2 :][..., : x.shape[-1]]


def pad_at_the_end(x: Tensor) -> Tensor:
    wide = F.pad(x, (0, -x.shape[-1] % 8, 0, -x.shape[-2] % 8))
    return cut(F.interpolate(F.max_pool2d(wide, 8), scale_factor=8.0), x)


def write_to_a_view(x: Tensor) -> Tensor:
    y = 2 * x
    y[:, :1] += F.avg_pool2d(x, 5, 1, 2)[:, :1]
    return y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x - x.mean((2, 3), keepdim=True), "mean looks at the whole image"),
        (lambda x: x * F.adaptive_avg_pool2d(x, 1), "adaptive_avg_pool2d looks at the whole image"),
        (lambda x: F.group_norm(x, 1), "group_norm looks at the whole image"),
        (lambda x: F.softmax(x, 2), "softmax looks at the whole image"),
        (lambda x: x.cumsum(3), "cumsum looks at the whole image"),
        (lambda x: x @ x.transpose(2, 3) @ x, "matmul looks at the whole image"),
        (
            lambda x: F.interpolate(F.max_pool2d(x, 2), x.shape[-2:], mode="bilinear", align_corners=True),
            "align_corners",
        ),
        (lambda x: F.interpolate(F.avg_pool2d(x, 2, ceil_mode=True), x.shape[-2:]), "with the size of the image"),
        (lambda x: x + torch.arange(x.shape[-1]), "fixed places"),
        (lambda x: x + torch.linspace(0, 1, x.shape[-2])[:, None], "fixed places"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")[..., 2:, 2:], "pad looks at the whole image"),
        (lambda x: F.max_pool2d(x, 2), "not as large"),
        (lambda x: x + F.max_pool2d(x, 2).mean(), "whole image"),
        (torch.fft.fft2, "has no row rule"),
        (pad_in_the_middle, "with the size of the image"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be exported"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_network_without_a_field_is_told_why(function: object, words: str) -> None:
    found = field(Named(function).eval(), 1)
    assert found.radius is None
    assert words in str(found.reason)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (pad_at_the_end, Field(8, 8)),
        (write_to_a_view, Field(3, 1)),
        (lambda x: write_to_a_view(torch.cat([x, x], 1)), Field(3, 1)),
        (lambda x: (x[0] + x[:, 0].expand(2, -1, -1, -1)).relu_(), Field(1, 1)),
        (lambda x: x.permute(0, 2, 3, 1).softmax(-1).permute(0, 3, 1, 2), Field(1, 1)),
        (lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (1,)).permute(0, 3, 1, 2), Field(1, 1)),
        (lambda x: x.expand(-1, 4, -1, -1).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)[:, ::2], Field(1, 1)),
        (lambda x: sum(torch.cat([x, x], 1).chunk(2, 1)), Field(1, 1)),
        (lambda x: x - x.mean(1, keepdim=True) + x.amax(1)[:, None], Field(1, 1)),
        (lambda x: cut(F.interpolate(F.avg_pool2d(x, 3, 3, ceil_mode=True), scale_factor=3), x), Field(3, 3)),
    ],
)
def test_a_network_with_rows_in_an_unusual_place(function: object, expected: Field) -> None:
    assert field(Named(function).eval(), 1) == expected
