"""Losses of object volumes beside the colour error, as pure functions."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def ramp(step: int | Tensor, begin: int, end: int) -> float | Tensor:
    """Share of the way from step ``begin`` to step ``end``: 0 before the first, 1 after the second."""
    share = (step - begin) / max(1, end - begin)
    return share.clamp(0, 1) if isinstance(share, Tensor) else min(1.0, max(0.0, share))


def decided(opacity: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """4 a (1 - a): 1 for a ray that half of the light passes, 0 for one that sees an object or none."""
    return (4 * opacity * (1 - opacity)).mean()


def unsupported(opacity: Float[Tensor, "scenes layers rows columns"]) -> Float[Tensor, ""]:
    """How much more opaque the voxels above a voxel are than itself, on average: objects stand on the ground.

    Raises what is below, and never lowers what is above.
    """
    above = opacity.detach().flip(1).cummax(1).values.flip(1)
    # Not clamp: its gradient at 0 would also raise the topmost voxel of every column.
    return F.relu(above - opacity).mean()


def center_heat(
    columns: Float[Tensor, "rows columns 2"],
    centers: Float[Tensor, "scenes count 2"],
    exists: Bool[Tensor, "scenes count"],
    sigma: float,
) -> Float[Tensor, "scenes rows columns"]:
    """Gaussians of height 1 around the centres; where they overlap, the higher one.

    Args:
        columns: centres of the cells, world units.
        centers: field frame, world units.
        exists: which of them count.
        sigma: standard deviation, world units.
    """
    squares = (columns[None, None] - centers[:, :, None, None]).square().sum(-1)
    heat = torch.exp(-squares / (2 * sigma**2)) * exists[:, :, None, None]
    return heat.amax(1)


def instance_losses(
    heat: Float[Tensor, "scenes rows columns"],
    votes: Float[Tensor, "scenes rows columns 2"],
    columns: Float[Tensor, "rows columns 2"],
    labels: Int[Tensor, "scenes rows columns"],
    centers: Float[Tensor, "scenes count 2"],
    exists: Bool[Tensor, "scenes count"],
    sigma: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Losses of the centre heatmap and of the votes against a teacher's objects.

    Args:
        heat: logits.
        votes: offsets to the centres, world units.
        columns: centres of the cells.
        labels: the teacher's object of each cell, from 1; 0 where there is none.
        centers: of the teacher's objects.
        exists: which of them there are.
        sigma: of the target's Gaussians, world units.
    Returns:
        Cross-entropy, and mean absolute error of votes in world units.
    """
    target = center_heat(columns, centers, exists, sigma)
    # Centres are rare: cells near one count more.
    each = F.binary_cross_entropy_with_logits(heat, target, reduction="none")
    heat_loss = (each * (1 + 8 * target)).mean()
    own = torch.cat([torch.zeros_like(centers[:, :1]), centers], dim=1)
    goal = own.gather(1, labels.flatten(1)[..., None].expand(-1, -1, 2)).unflatten(1, labels.shape[1:])
    error = (votes + columns - goal).abs().sum(-1)
    counted = labels > 0
    return heat_loss, (error * counted).sum() / counted.sum().clamp(min=1)
