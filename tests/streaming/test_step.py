"""A network that slides down an image gives what it gives for the whole of it, first and last rows included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.catalog import find
from cropland.streaming.program import UnboundedError
from cropland.streaming.step import Step, plan


def slide(step: Step, image: Tensor, band: int) -> Tensor:
    """Band by band; the rows after the last hold nonsense."""
    schedule, (height, width) = step.schedule, image.shape[2:]
    kept = [torch.from_numpy(each).to(image.dtype) for each in schedule.first(width)]
    steps = schedule.steps(height, band)
    image = F.pad(image, (0, 0, 0, steps * band - height), value=1e6)
    out = []
    for number, part in enumerate(image.split(band, 2)):
        if schedule.is_inside(number, band, height):
            rows, *kept = step.inside(part, *kept)
        else:
            rows, *kept = step.edge(part, *map(torch.from_numpy, schedule.masks(number, band, height)), *kept)
        out.append(rows[:, :, schedule.rows(number, band, height)])
    return torch.cat(out, 2)


def trained(network: nn.Module) -> nn.Module:
    """In float64, with statistics and biases that turn zeros into something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return network.double().eval()


def check(network: nn.Module, bands: int, heights: list[int], *, width: int = 37, times: int = 1) -> None:
    step = plan(network, bands)
    band = step.schedule.stride * times
    for height in heights:
        image = torch.randn(1, bands, height, width, dtype=torch.float64)
        with torch.no_grad():
            expected, found = network(image), slide(step, image, band)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-12 * max(1, float(expected.abs().max())), (height, band)


NETWORKS = {
    "unet": {"width": 4, "encoder_options": {"width": 4, "depth": 3}},
    "unet transposed average": {
        "width": 4,
        "up": "transposed",
        "encoder_options": {"width": 4, "depth": 2, "down": "average_pool"},
    },
    "unet strided separable channel_norm": {
        "width": 4,
        "norm": "channel_norm",
        "convolution": "separable",
        "encoder_options": {"width": 4, "depth": 2, "down": "strided"},
    },
    "resunet": {"width": 4},
    "deeplab_v3_plus": {"width": 8, "encoder_options": {"width": 4, "depth": 4}},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_shelf(name: str) -> None:
    torch.manual_seed(0)
    network = trained(find("networks", name.split()[0])(3, **NETWORKS[name]))
    check(network, 3, [1, 33, 97, 256])
    check(network, 3, [65, 600], times=3)


def test_the_encoder_that_ships_pads_one_side_more() -> None:
    network = trained(find("networks", "unet")(3, width=4, encoder="efficientnet_lite0"))
    check(network, 3, [31, 700], width=50, times=2)


class Stack(nn.Module):
    """A column of layers, brought to the size of the image at the far edge, and joined with it."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        y = F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))
        return torch.cat([x, y], 1)


SAME = [
    nn.Conv2d(1, 1, 3, padding=1),
    nn.Conv2d(1, 1, 3, padding=4, dilation=4),
    nn.Conv2d(1, 1, 5, padding="same"),
    nn.Conv2d(1, 1, (7, 1), padding=(3, 0)),
    nn.Sequential(nn.ReplicationPad2d(2), nn.Conv2d(1, 1, 5), nn.BatchNorm2d(1), nn.ReLU(inplace=True)),
    nn.Sequential(nn.ConstantPad2d(1, 2.5), nn.Conv2d(1, 1, 3)),
    nn.MaxPool2d(3, 1, 1),
    nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    nn.Sequential(nn.ZeroPad2d((2, 0, 1, 0)), nn.AvgPool2d((2, 3), 1)),
    nn.SiLU(),
]
DOWN = [
    nn.Conv2d(1, 1, 3, stride=2, padding=1),
    nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 3, stride=2)),
    nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, 1, 5, stride=2)),
    nn.Conv2d(1, 1, 1, stride=2),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1),
]
UP = [
    nn.ConvTranspose2d(1, 1, 2, 2),
    nn.ConvTranspose2d(1, 1, 3, 2, 1, 1),
    nn.ConvTranspose2d(1, 1, 4, 2, 1),
    nn.ConvTranspose2d(1, 1, 1, 2, 0, 1),
    nn.Upsample(scale_factor=2, mode="nearest"),
    nn.Upsample(scale_factor=2, mode="nearest-exact"),
    nn.Upsample(scale_factor=2, mode="bilinear"),
]


@st.composite
def stacks(draw: st.DrawFn) -> nn.Module:
    """Layers of one channel that halve and double the size equally often."""
    chosen: list[nn.Module] = []
    depth = draw(st.integers(0, 2))
    for _ in range(depth):
        chosen += draw(st.lists(st.sampled_from(SAME), max_size=2))
        chosen.append(draw(st.sampled_from(DOWN)))
    chosen += draw(st.lists(st.sampled_from(SAME), min_size=1, max_size=2))
    for _ in range(depth):
        chosen.append(draw(st.sampled_from(UP)))
        chosen += draw(st.lists(st.sampled_from(SAME), max_size=1))
    return trained(Stack(chosen))


@given(stacks(), st.integers(8, 80), st.integers(9, 40), st.integers(1, 4), st.sampled_from([1e-3, 20, 1e9]))
@settings(max_examples=60, deadline=None)
def test_any_stack_of_layers(network: nn.Module, height: int, width: int, times: int, products: float) -> None:
    """Also where nearly all rows are kept, and where nearly all are computed again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cropland.streaming.kept_rows.PRODUCTS", products)
        check(network, 1, [height], width=width, times=times)


class TwoWays(nn.Module):
    """A branch that looks far and one that does not: the second waits."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.far = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=reach, dilation=reach) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.far(x) + x * x.mean(1, keepdim=True)).permute(0, 2, 3, 1).softmax(-1).permute(0, 3, 1, 2)[:, :1]


def test_a_branch_that_is_ahead_waits_and_axes_may_change_places() -> None:
    check(trained(TwoWays(9)), 2, [5, 40, 130], times=7)


@pytest.mark.parametrize("products", [1e-3, 20])  # with the first, rows of the far branch are kept, not its image's
@pytest.mark.parametrize("band", [7, 192, 211, 213, 500])
def test_a_queue_of_more_than_a_usual_band_is_right_for_any_band(
    band: int, products: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropland.streaming.kept_rows.PRODUCTS", products)
    ways = TwoWays(70)
    ways.far.insert(0, nn.Conv2d(2, 2, 3, padding=1))
    network = trained(nn.Sequential(ways, nn.Conv2d(1, 1, 5, padding=2)))
    check(network, 2, [1, 140, 600], times=band)


class Views(nn.Module):
    """Rows keep an axis of their own through a change of shape."""

    def forward(self, x: Tensor) -> Tensor:
        batch, bands, height, width = x.shape
        y = F.max_pool2d(x.reshape(batch * bands, 1, height, width), 3, 1, 1)
        return y.view(batch, bands, height, width).mean(1, keepdim=True)


def test_shapes_that_name_the_rows() -> None:
    check(Views().eval(), 3, [1, 21], times=5)


class Places(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[2], dtype=x.dtype)[:, None]


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "group_norm looks at the whole image"),
        (nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 1, 3)), "mirrors the edge"),
        (nn.Conv2d(3, 1, 4, padding="same"), "pads one side more than the other"),
        (
            nn.Sequential(nn.Upsample(scale_factor=1.5), nn.MaxPool2d(3, 3), nn.Upsample(scale_factor=2)),
            "no whole number",
        ),
        (nn.MaxPool2d(2), "not as large as the image"),
        (Places(), "fixed places"),
    ],
)
def test_what_cannot_stream_is_named(network: nn.Module, told: str) -> None:
    with pytest.raises(UnboundedError) as caught:
        plan(network.eval(), 3)
    assert told in str(caught.value)
