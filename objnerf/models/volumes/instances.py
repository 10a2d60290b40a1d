"""Which object a part of the volume belongs to: centres and votes, seen from above.

Every cell of the map seen from above has the probability that an object's centre lies in it, and an offset to
the centre of the object above it (the centre heatmap and offsets of Panoptic-DeepLab, Cheng et al. 2020).
Peaks of the heatmap are the objects; a cell belongs to the peak that its vote comes nearest to, and so do all
voxels above it.

The pseudo-labels that both are trained on need no annotation. The volume that ``fusion`` predicts from all
views of a training scene shows every object whole. Seen from above, it is split where its opacity has
valleys.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from objnerf.models.volumes.maps import blur
from objnerf.models.volumes.networks import Residual

VOTE_REACH = 0.6
"""How far a cell's vote reaches, in half sides of the grid."""


class InstanceHead(nn.Module):
    """Centre heatmap and votes of the cells.

    Args:
        width: channels of a cell's features.
        half: half side of the grid, world units.
    """

    def __init__(self, width: int, half: float) -> None:
        super().__init__()
        self.reach = VOTE_REACH * half
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.out = nn.Conv2d(width, 3, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        self.out.bias.data = torch.tensor([-3.0, 0.0, 0.0])

    def forward(
        self, cells: Float[Tensor, "scenes width rows columns"]
    ) -> tuple[Float[Tensor, "scenes rows columns"], Float[Tensor, "scenes rows columns 2"]]:
        """Logits of the heatmap, and offsets from cells to their centres, field frame, world units."""
        heat, votes = self.out(self.body(cells)).split([1, 2], dim=1)
        return heat[:, 0], self.reach * votes.permute(0, 2, 3, 1).tanh()


def find_centers(
    heat: Float[Tensor, "scenes rows columns"],
    columns: Float[Tensor, "rows columns 2"],
    count: int,
    threshold: float,
    apart: int,
) -> tuple[Float[Tensor, "scenes count 2"], Bool[Tensor, "scenes count"]]:
    """The highest peaks of a heatmap.

    Args:
        heat: in [0, 1].
        columns: centres of the cells, world units.
        count: peaks at most.
        threshold: height that a peak needs; the highest one of a scene always counts.
        apart: no other cell within so many rows and columns is higher than a peak.
    Returns:
        Positions, field frame, world units, highest first, and which of them are peaks.
    """
    # Of equal neighbours one is the peak: a slope just above the rounding of float32.
    heat = heat + 2e-7 * torch.arange(heat[0].numel(), device=heat.device).view(heat.shape[1:])
    peak = heat == F.max_pool2d(heat[:, None], 2 * apart + 1, 1, apart)[:, 0]
    score, index = (heat * peak).flatten(1).topk(count, dim=1)
    active = torch.cat([torch.ones_like(score[:, :1], dtype=torch.bool), score[:, 1:] > threshold], dim=1)
    return columns.flatten(0, 1)[index], active


def assign(
    votes: Float[Tensor, "scenes rows columns 2"],
    columns: Float[Tensor, "rows columns 2"],
    centers: Float[Tensor, "scenes count 2"],
    active: Bool[Tensor, "scenes count"],
    softness: float,
) -> Float[Tensor, "scenes count rows columns"]:
    """Share of each object in each cell: a softmax over squared distances of the cell's vote to the centres.

    Args:
        votes: offsets to the centres, world units.
        columns: centres of the cells.
        centers: of the objects, field frame.
        active: which of them count.
        softness: distance at which a vote is undecided, world units.
    """
    targets = (columns + votes).flatten(1, 2)
    squares = (targets[:, None] - centers[:, :, None]).square().sum(-1) / (2 * softness**2)
    share = (-squares).masked_fill(~active[..., None], -torch.inf).softmax(dim=1)
    return share.unflatten(2, votes.shape[1:3])


def seen_from_above(
    opacity: Float[Tensor, "scenes layers rows columns"],
) -> Float[Tensor, "scenes rows columns"]:
    """Opacity of whole columns of voxels."""
    return 1 - (1 - opacity).clamp(1e-6, 1).log().sum(1).exp()


def climb(heights: Float[Tensor, "scenes rows columns"], reach: int) -> Int[Tensor, "scenes rows columns"]:
    """Index of the summit that each cell's way uphill leads to: a watershed without a queue.

    Each step goes to the highest cell within ``reach`` rows and columns; ways are doubled until all have
    arrived.
    """
    rows, columns = heights.shape[1:]
    side = 2 * reach + 1
    padded = F.pad(heights[:, None], (reach,) * 4, value=-1.0)
    best = F.unfold(padded, side).argmax(dim=1)
    cell = torch.arange(rows * columns, device=heights.device)
    row, column = cell // columns + best // side - reach, cell % columns + best % side - reach
    target = row * columns + column
    for _ in range(max(1, (rows * columns).bit_length())):
        target = target.gather(1, target)
    return target.unflatten(1, (rows, columns))


@torch.no_grad()
def split(
    occupancy: Float[Tensor, "scenes rows columns"],
    columns: Float[Tensor, "rows columns 2"],
    *,
    count: int,
    sigma: float,
    reach: int,
    threshold: float,
) -> tuple[Int[Tensor, "scenes rows columns"], Float[Tensor, "scenes count 2"], Bool[Tensor, "scenes count"]]:
    """Objects of fused volumes seen from above.

    Args:
        occupancy: opacity of the columns, in [0, 1].
        columns: centres of the cells, world units.
        count: objects at most, the largest ones.
        sigma: blur before valleys are looked for, cells.
        reach: summits are farther apart than this, cells.
        threshold: opacity from which a cell belongs to an object.
    Returns:
        Labels from 1 (0: no object), centres of mass, and which of these exist.
    """
    scenes = len(occupancy)
    summit = climb(blur(occupancy, sigma), reach).flatten(1)
    mass = (occupancy * (occupancy > threshold)).flatten(1)
    total = torch.zeros_like(mass).scatter_add(1, summit, mass)
    size, kept = total.topk(count, dim=1)
    exists = size > 2.0
    rank = torch.zeros_like(summit).scatter(
        1, kept, torch.arange(1, count + 1, device=kept.device).expand(scenes, -1) * exists
    )
    labels = rank.gather(1, summit) * (mass > 0)
    flat = columns.flatten(0, 1)
    moment = torch.zeros(scenes, count + 1, 2, device=mass.device)
    moment = moment.scatter_add(1, labels[..., None].expand(-1, -1, 2), mass[..., None] * flat)
    weight = torch.zeros(scenes, count + 1, device=mass.device).scatter_add(1, labels, mass)
    centers = moment[:, 1:] / weight[:, 1:, None].clamp(min=1e-6)
    return labels.unflatten(1, occupancy.shape[1:]), centers, exists
