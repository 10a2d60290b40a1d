"""Convolutional networks: over the pixels of a view, over the grid seen from above, and over its voxels."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.volumes.grid import Grid


def norm(channels: int) -> nn.GroupNorm:
    """Group norm with at most 8 groups. Without norms, positions would drown the colours at first."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Residual(nn.Module):
    """x + relu(norm(conv(x))) with a 3 × 3 convolution."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm = norm(channels)

    def forward(
        self, x: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Same shape."""
        return x + F.relu(self.norm(self.conv(x)))


def down(inputs: int, outputs: int) -> nn.Sequential:
    """Half the size by a 3 × 3 convolution of stride 2."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), norm(outputs), nn.ReLU())


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class PixelNetwork(nn.Module):
    """A U-shaped network over pixels.

    Args:
        inputs: channels of the image.
        width: channels at the lowest resolution, an eighth of the input's; half of it at a quarter.
        outputs: channels of the answer, at half the input's resolution.
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        half, fine = width // 2, max(width // 4, 8)
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, fine, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(fine, fine, 3, padding=1),
            nn.ReLU(),
        )
        self.quarter = nn.Sequential(down(fine, half), Residual(half))
        self.eighth = nn.Sequential(
            down(half, width), Residual(width), Residual(width, 2), Residual(width, 4), Residual(width)
        )
        self.up_quarter = nn.Conv2d(width, half, 1)
        self.join_quarter = Residual(half)
        self.up_half = nn.Conv2d(half, fine, 1)
        self.join_half = nn.Sequential(nn.Conv2d(fine, fine, 3, padding=1), nn.ReLU())
        self.out = nn.Conv2d(fine, outputs, 1)

    def forward(
        self, images: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs half_height half_width"]:
        """Features of pixels at half the input's size."""
        half = self.stem(images)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        quarter = self.join_quarter(quarter + _enlarged(self.up_quarter(eighth), quarter))
        half = self.join_half(half + _enlarged(self.up_half(quarter), half))
        return self.out(half)


class BirdsEyeNetwork(nn.Module):
    """A U-shaped network over the grid seen from above.

    Args:
        inputs: channels of a cell: those of its voxels, stacked.
        width: channels inside.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.full = nn.Sequential(nn.Conv2d(inputs, width, 1), norm(width), nn.ReLU(), Residual(width))
        self.coarser = nn.Sequential(down(width, width), Residual(width))
        self.coarsest = nn.Sequential(
            down(width, width), Residual(width), Residual(width, 2), Residual(width)
        )
        self.join_half = Residual(width)
        self.join_full = Residual(width)

    def forward(
        self, cells: Float[Tensor, "batch inputs rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        """Features of the cells."""
        full = self.full(cells)
        half = self.coarser(full)
        half = self.join_half(half + _enlarged(self.coarsest(half), half))
        return self.join_full(full + _enlarged(half, full))


VOXEL_WIDTH = 32
"""Channels of the hidden layer of a voxel."""


class VoxelNetwork(nn.Module):
    """Raw values of voxels from what is known of each, mixed by convolutions seen from above.

    Args:
        grid: where the voxels are.
        known: channels of what is known of a voxel.
        reduced: channels of it that the bird's-eye network sees, for each height.
        width: channels of the bird's-eye network.
        mixed: channels that a voxel gets back from it; the first ones are added to the raw values.
        outputs: channels of the raw values.
    """

    def __init__(self, grid: Grid, known: int, reduced: int, width: int, mixed: int, outputs: int) -> None:
        super().__init__()
        self.cells, self.mixed, self.outputs = grid.cells, mixed, outputs
        self.reduce = nn.Conv2d(known, reduced, 1)
        self.birds_eye = BirdsEyeNetwork(grid.layers * reduced, width)
        self.spread = nn.Conv2d(width, grid.layers * mixed, 1)
        self.hidden = nn.Conv2d(known + mixed + 3, VOXEL_WIDTH, 1)
        self.out = nn.Conv2d(VOXEL_WIDTH, outputs, 1)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        self.out.weight.data.mul_(0.1)
        height = (grid.centers()[:, 2] / grid.height).unflatten(0, (grid.layers, -1))
        self.register_buffer(
            "heights", torch.stack([height, height.square(), (6 * height).sin()]), persistent=False
        )
        self.heights: Tensor

    def forward(
        self, known: Float[Tensor, "scenes known layers cells"]
    ) -> tuple[
        Float[Tensor, "scenes outputs layers rows columns"], Float[Tensor, "scenes width rows columns"]
    ]:
        """Raw values, and features of the cells seen from above.

        Args:
            known: of each voxel; the cells of a layer row by row.
        """
        sides = (self.cells, self.cells)
        stacked = self.reduce(known).unflatten(3, sides).flatten(1, 2)
        cells = self.birds_eye(stacked)
        mixed = self.spread(cells).unflatten(1, (self.mixed, -1)).flatten(3)
        heights = self.heights.expand(len(known), -1, -1, -1)
        hidden = F.relu(self.hidden(torch.cat([known, mixed, heights], dim=1)))
        raw = self.out(hidden) + mixed[:, : self.outputs]
        return raw.unflatten(3, sides), cells
