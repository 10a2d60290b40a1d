"""Compositing rays through a volume of voxels in front of a surface: pure functions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Samples of rays between entering the grid and the ground."""

    depths: Float[Tensor, "scenes rays samples"]
    """Planar depths, world units."""
    lengths: Float[Tensor, "scenes rays samples"]
    """Length of the ray that each sample stands for, world units; 0 where a ray misses the grid."""
    fractions: Float[Tensor, "scenes rays samples"]
    """Position of each sample in its ray's interval, in [0, 1]."""


def segments(
    fractions: Float[Tensor, "scenes rays samples"],
    first: Float[Tensor, "scenes rays"],
    last: Float[Tensor, "scenes rays"],
    directions: Float[Tensor, "scenes rays 3"],
) -> Segments:
    """Place samples in the intervals of rays.

    Args:
        fractions: ascending, in [0, 1]. A sample stands for the part of the interval that is nearer to it
            than to its neighbours.
        first: planar depth at which the interval begins.
        last: planar depth at which it ends; where it lies before ``first`` the ray sees nothing.
        directions: camera z-depth 1.
    """
    span = (last - first).clamp(min=0)
    middles = (fractions[..., 1:] + fractions[..., :-1]) / 2
    edges = torch.cat(
        [torch.zeros_like(fractions[..., :1]), middles, torch.ones_like(fractions[..., :1])], dim=-1
    )
    lengths = edges.diff(dim=-1) * (span * directions.norm(dim=-1))[..., None]
    return Segments(first[..., None] + span[..., None] * fractions, lengths, fractions)


def alphas(
    density: Float[Tensor, "*rays samples"], lengths: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Opacity of each sample: 1 - exp(-density length)."""
    return 1 - torch.exp(-density * lengths)


def transmittance(alpha: Float[Tensor, "*rays samples"]) -> Float[Tensor, "*rays samples_and_one"]:
    """Light that reaches each sample, and what passes all of them."""
    # The gradient of a cumulative product asks the device for zeros, and waits for the answer; that of a sum
    # of logarithms does not.
    passed = (1 - alpha + 1e-7).log().cumsum(dim=-1).exp()
    return torch.cat([torch.ones_like(alpha[..., :1]), passed], dim=-1)


def activated_density(raw: Tensor, cell: float) -> Tensor:
    """Density per world unit: a voxel of raw density x absorbs softplus(x) along its side."""
    return F.softplus(raw) / cell


def distortion(
    weights: Float[Tensor, "*rays samples"], fractions: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays"]:
    """Mean distance of two points drawn from a ray's weights (mip-NeRF 360, first term of equation 15)."""
    mass = weights.cumsum(-1) - weights
    moment = (weights * fractions).cumsum(-1) - weights * fractions
    return 2 * (weights * (fractions * mass - moment)).sum(-1)
