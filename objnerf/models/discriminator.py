"""The discriminator of uORF's adversarial loss: residual blocks after StyleGAN2, without biases."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

GAIN = 1.4
"""Makes up for what a leaky ReLU takes from the variance (uORF's rounding of √2)."""

GROUP = 4
"""Images over which the standard deviation feature is taken, at most."""


class _EqualisedConv(nn.Module):
    """Convolution whose weights are unit Gaussians, scaled when used: every layer learns at one pace."""

    def __init__(self, width_in: int, width: int, kernel: int, padding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width_in, kernel, kernel))
        self.scale = 1 / math.sqrt(width_in * kernel**2)
        self.padding = padding

    def forward(self, x: Float[Tensor, "images c h w"]) -> Float[Tensor, "images c2 h2 w2"]:
        return F.conv2d(x, self.weight * self.scale, padding=self.padding)


class _EqualisedLinear(nn.Module):
    """The same for a matrix."""

    def __init__(self, width_in: int, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width_in))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.scale = 1 / math.sqrt(width_in)

    def forward(self, x: Float[Tensor, "images c"]) -> Float[Tensor, "images c2"]:
        return F.linear(x, self.weight * self.scale, self.bias)


def _activate(x: Float[Tensor, " images *rest"]) -> Float[Tensor, " images *rest"]:
    return F.leaky_relu(x, 0.2) * GAIN


class _Block(nn.Module):
    """Two convolutions and a halving, beside a shortcut."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = _EqualisedConv(width_in, width_in, 3, padding=1)
        self.second = _EqualisedConv(width_in, width, 3, padding=1)
        self.shortcut = _EqualisedConv(width_in, width, 1, padding=0)

    def forward(self, x: Float[Tensor, "images c h w"]) -> Float[Tensor, "images c2 h2 w2"]:
        out = _activate(self.second(F.avg_pool2d(_activate(self.first(x)), 2)))
        shortcut = self.shortcut(F.avg_pool2d(x, 2)) * GAIN
        return (out + shortcut) / math.sqrt(2)


class Discriminator(nn.Module):
    """Scores images: positive for real ones.

    Args:
        size: side of the images, at least 8 pixels.
        width: channels at sides 16 and 32; half of them above, twice as many below.
    """

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        if size < 8:
            raise ValueError(f"images for the discriminator need a side of at least 8 pixels, got {size}")

        def channels(side: int) -> int:
            return width // 2 if side >= 64 else width if side >= 16 else 2 * width

        # The first layer pads although its kernel is one pixel wide (as in uORF), so that the
        # sides run 66, 33, 16, 8, 4 for images of 64 pixels.
        self.first = _EqualisedConv(3, channels(size), 1, padding=1)
        side, nominal = size + 2, size
        blocks = []
        while side >= 8:
            blocks.append(_Block(channels(nominal), channels(nominal // 2)))
            side, nominal = side // 2, nominal // 2
        self.blocks = nn.Sequential(*blocks)
        last = channels(4)
        self.mixed = _EqualisedConv(channels(nominal) + 1, last, 3, padding=1)
        self.hidden = _EqualisedLinear(last * side**2, last, bias=False)
        self.score = _EqualisedLinear(last, 1, bias=True)

    def forward(self, images: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images 1"]:
        """Scores of images in [-1, 1]."""
        # The first activation's gain comes only after the blocks, as in uORF.
        x = self.blocks(F.leaky_relu(self.first(images), 0.2)) * GAIN
        x = torch.cat([x, _spread(x)], dim=1)
        return self.score(_activate(self.hidden(_activate(self.mixed(x)).flatten(1))))


def _spread(x: Float[Tensor, "images c h w"]) -> Float[Tensor, "images 1 h w"]:
    """How much features differ between the images of a group, so that a lack of variety shows."""
    images, _, height, width = x.shape
    group = next(size for size in range(min(GROUP, images), 0, -1) if images % size == 0)
    grouped = x.unflatten(0, (group, -1))
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(images, 1, height, width)
