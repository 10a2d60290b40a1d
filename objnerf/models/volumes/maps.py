"""Operations on images and on maps seen from above: blurring, widening, filling in."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FILL_LEVELS = 5
"""Halvings of the image that hidden parts are filled in from."""

FILL_TRUST = 0.05
"""Share of visible pixels in a block at which its mean counts by half."""


def gaussian(sigma: float, reach: int, device: torch.device | str | None = None) -> Float[Tensor, " side"]:
    """Weights of a Gaussian at whole steps from ``-reach`` to ``reach``; they sum to 1."""
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / sigma).square())
    return weights / weights.sum()


def blur(maps: Float[Tensor, "scenes rows columns"], sigma: float) -> Float[Tensor, "scenes rows columns"]:
    """Gaussian blur; ``sigma`` in cells. Beyond the map, there is nothing."""
    reach = max(1, round(3 * sigma))
    kernel = gaussian(sigma, reach, maps.device).to(maps)
    maps = F.conv2d(maps[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(maps, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]


def widen(mask: Float[Tensor, "scenes 1 rows columns"], reach: int) -> Float[Tensor, "scenes 1 rows columns"]:
    """The largest value within ``reach`` rows and columns."""
    return F.max_pool2d(mask, 2 * reach + 1, 1, reach)


def fill_in(
    images: Float[Tensor, "scenes 3 height width"], visible: Float[Tensor, "scenes 1 height width"]
) -> Float[Tensor, "scenes 3 height width"]:
    """What is visible, and where nothing is, the mean of what is visible around it, ever more coarsely.

    Args:
        images: colours.
        visible: weight in [0, 1] of each pixel.
    """
    weighted, weight = images * visible, visible
    levels = [(weighted, weight)]
    for _ in range(FILL_LEVELS):
        weighted, weight = (
            F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (weighted, weight)
        )
        levels.append((weighted, weight))
    mean = weighted.mean((2, 3), keepdim=True) / weight.mean((2, 3), keepdim=True).clamp(min=1e-3)
    filled = mean.expand_as(weighted)
    for weighted, weight in reversed(levels):
        filled = F.interpolate(filled, size=weighted.shape[-2:], mode="bilinear", align_corners=False)
        trust = weight / (weight + FILL_TRUST)
        filled = filled + trust * (weighted / weight.clamp(min=1e-3) - filled)
    return filled
