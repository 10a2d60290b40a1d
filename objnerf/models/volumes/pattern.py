"""Patterns: what a view does not show of the ground, copied from where it shows the same pattern.

Floors repeat. Tiles, boards and chequers do by their nature, and a texture that is laid out again and again
does with whatever it shows. So the ground, seen from above, is compared with itself moved by every distance:
a move at which it agrees with itself is a period. Points that are hidden, or outside of the image, then take
the colour that is seen a period away.

Light and shadow do not repeat. So what changes slowly is left out of the comparison, and what copies and
colours differ by, where both are known, is continued smoothly. Nothing here is learned; how well each point
is known is told beside its colour, and the background's network learns how far to trust it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.models.volumes.maps import fill_in

COARSE = 12
"""Cells along each side of the blocks whose means are left out when the ground is compared with itself."""

FINE = 4
"""The same for what copies and colours differ by."""

APART = 4
"""Distance between the moves of a range, cells, since those around the best one are nearly as good."""

FARTHEST = 0.5
"""Longest move along each axis, as a share of the map's side: beyond, too little overlaps to be compared."""

NEAREST = 4
"""Length of the shortest moves, cells: any texture resembles itself a little aside."""

RANGES = 3
"""Of lengths, in geometric progression, that moves are taken from: the best of all may be too short to reach
what is not seen, as the moves along a board are."""

MOVES = 3
"""Moves of each range that colours are copied by, forwards and backwards."""

SHARPNESS = 12.0
"""Natural logarithm by which a copy weighs less than another whose error is greater by 1."""

OVERLAP = 0.02
"""Share of the seen cells by which each comparison is pulled towards no likeness at all."""

ROUNDS = 2
"""Times that copies are made; each time, they reach a period further."""

DECAY = 4.0
"""Natural logarithm by which a copy of a copy with an error of 1 weighs less than what is seen."""

LEAST_TOTAL = 1e-4
"""Weight of all copies together from which a cell counts as known."""

LEAST_VARIANCE = 1e-5
"""Of colours in [0, 1], from which they count as a pattern: that of an 8-bit image's rounding is smaller."""


@dataclass(frozen=True)
class Moves:
    """By which a ground's pattern comes to lie on itself."""

    by: Float[Tensor, "scenes moves 2"]
    """Along x and y, cells."""
    errors: Float[Tensor, "scenes moves"]
    """Squared difference of the ground and the moved ground, 1 for unrelated ones."""


@dataclass(frozen=True)
class Continued:
    """The ground with its pattern continued where it is not seen."""

    colours: Float[Tensor, "scenes 3 side side"]
    """In [0, 1]."""
    known: Float[Tensor, "scenes 1 side side"]
    """From 0, where nothing is known but the colours around, to 1."""
    light: Float[Tensor, "scenes 3 side side"]
    """The colours without the pattern: its mean, as it is lit."""
    copied: Float[Tensor, "scenes 3 side side"]
    """The pattern without the light, as it is copied: what is to be added to the light."""


@torch.no_grad()
def continue_pattern(
    colours: Float[Tensor, "scenes 3 side side"], seen: Float[Tensor, "scenes 1 side side"]
) -> Continued:
    """Continue the ground's pattern where it is not seen.

    Args:
        colours: of the ground seen from above, in [0, 1]; any where it is not seen.
        seen: weight in [0, 1] of each cell.
    """
    # Fourier transforms want single precision, whatever the networks before have used.
    colours, seen = colours.float(), seen.float()
    detail = (colours - smooth(colours, seen, COARSE)) * (seen > 0)
    moves = find_moves(self_differences(detail, seen))
    copied, error, found = _copy(detail, seen, moves)
    known = seen + (1 - seen) * found * (1 - error)
    # What copies and colours differ by where both are known is light, which is continued smoothly.
    light = smooth(colours - copied, seen, FINE)
    mixed = light + copied + seen * (colours - copied - light)
    return Continued(mixed.clamp(0, 1), known, light, copied)


def smooth(
    colours: Float[Tensor, "scenes 3 side side"], seen: Float[Tensor, "scenes 1 side side"], block: int
) -> Float[Tensor, "scenes 3 side side"]:
    """Means of what is seen in blocks of ``block`` cells, interpolated, and filled in where nothing is."""
    weight = F.avg_pool2d(seen, block, ceil_mode=True)
    mean = F.avg_pool2d(colours * seen, block, ceil_mode=True) / weight.clamp(min=1e-6)
    filled = fill_in(mean, weight)
    return F.interpolate(filled, size=colours.shape[-2:], mode="bilinear", align_corners=False)


def self_differences(
    detail: Float[Tensor, "scenes 3 side side"], seen: Float[Tensor, "scenes 1 side side"]
) -> Float[Tensor, "scenes rows columns"]:
    """How a ground differs from itself when moved by whole cells: 0 if not at all, 1 if as unrelated ones do.

    Args:
        detail: colours without their smooth part; 0 where nothing is seen.
        seen: weight in [0, 1] of each cell.
    Returns:
        For moves along y from 0 and along x from -n to n, n being ``FARTHEST`` of the side: the others are
        their mirror images.
    """
    side = detail.shape[-1]
    farthest = int(side * FARTHEST)
    padded = side + farthest
    weights, weighted = _spectrum(seen, padded), _spectrum(seen * detail, padded)
    squares = _spectrum((seen * detail.square()).sum(1, keepdim=True), padded)
    # The sum over cells p of w(p) w(p + s) |c(p) - c(p + s)|², for all moves s: three correlations.
    crossed = 2 * (squares.conj() * weights).real - 2 * weighted.abs().square().sum(1, keepdim=True)
    pairs = weights.abs().square()
    both = torch.fft.irfft2(torch.cat([crossed / 3, pairs], dim=1) + 0j, s=(padded, padded))
    across = torch.arange(-farthest, farthest + 1, device=both.device) % padded
    difference, overlap = both[:, :, : farthest + 1].index_select(3, across).clamp(min=0).unbind(1)
    total = seen.sum((1, 2, 3))[:, None, None].clamp(min=1)
    variance = (seen * detail.square()).sum((1, 2, 3))[:, None, None] / (3 * total)
    unrelated = 2 * variance.clamp(min=LEAST_VARIANCE)
    return (difference / unrelated + OVERLAP * total) / (overlap + OVERLAP * total)


def find_moves(differences: Float[Tensor, "scenes rows columns"]) -> Moves:
    """The moves of each range at which a ground differs least from itself, to fractions of a cell.

    Args:
        differences: see ``self_differences``. The opposite of a move is one as well.
    """
    rows, columns = differences.shape[-2:]
    device = differences.device
    along = torch.arange(rows, device=device)[:, None].expand(rows, columns)
    across = (torch.arange(columns, device=device) - columns // 2).expand(rows, columns)
    length = torch.hypot(along.float(), across.float())
    ranges = torch.arange(RANGES + 1, device=device)
    edges = torch.where(ranges < RANGES, NEAREST * (rows / NEAREST) ** (ranges / RANGES), math.inf)
    # Of a move along x its opposite is in the map as well.
    inside = (length >= edges[:-1, None, None]) & (length < edges[1:, None, None])
    inside &= (along > 0) | (across > 0)
    flat = differences.flatten(1)
    left = torch.where(inside, differences[:, None], math.inf).flatten(2)
    chosen = []
    for _ in range(MOVES):
        lowest = left.argmin(-1, keepdim=True)
        chosen.append(lowest[..., 0])
        near = (along.flatten() - lowest // columns).square() + (
            across.flatten() - (lowest % columns - columns // 2)
        ).square()
        left = torch.where(near < APART**2, math.inf, left)
    index = torch.cat(chosen, dim=1)
    errors = flat.gather(1, index)

    def between(step: int, line: Tensor, last: int) -> Tensor:
        """Where a parabola through three neighbours is lowest."""
        inner = (line > 0) & (line < last)
        before, here, after = (flat.gather(1, (index + at * step * inner)) for at in (-1, 0, 1))
        return ((before - after) / 2 / (before - 2 * here + after).clamp(min=1e-6)).clamp(-0.5, 0.5)

    row, column = index // columns, index % columns
    by = torch.stack(
        [
            column - columns // 2 + between(1, column, columns - 1),
            row + between(columns, row, rows - 1),
        ],
        dim=-1,
    )
    return Moves(by, errors.clamp(max=1))


def _copy(
    detail: Float[Tensor, "scenes 3 side side"], seen: Float[Tensor, "scenes 1 side side"], moves: Moves
) -> tuple[
    Float[Tensor, "scenes 3 side side"],
    Float[Tensor, "scenes 1 side side"],
    Float[Tensor, "scenes 1 side side"],
]:
    """Means of the details that all moves bring to each cell, their errors, and 1 where there is one."""
    side = detail.shape[-1]
    padded = side + int(side * FARTHEST)
    weights = torch.exp(-SHARPNESS * moves.errors)
    # What all moves bring together is a correlation with an image of the moves.
    brings, errs = (
        _spectrum(_both_ways(moves.by, x, padded), padded) for x in (weights, weights * moves.errors)
    )
    copied, error, found = torch.zeros_like(detail), torch.zeros_like(seen), torch.zeros_like(seen)
    for _ in range(ROUNDS):
        trust = seen + (1 - seen) * found * torch.exp(-DECAY * error)
        values = [seen * detail + (1 - seen) * copied, torch.ones_like(seen), (1 - seen) * error]
        given = _spectrum(torch.cat(values, dim=1) * trust, padded)
        given = torch.cat([brings * given, errs * given[:, 3:4]], dim=1)
        given = torch.fft.irfft2(given, s=(padded, padded))[..., :side, :side]
        colour, total, inherited, own = given.split([3, 1, 1, 1], dim=1)
        found = (total > LEAST_TOTAL).to(detail)
        total = total.clamp(min=LEAST_TOTAL)
        copied = colour / total * found
        error = ((own + inherited) / total).clamp(0, 1)
    # Half of the squared difference to a copy is the copy's own deviation from what they have in common.
    return copied * (1 - error.square()), error, found


def _both_ways(
    by: Float[Tensor, "scenes moves 2"], weights: Float[Tensor, "scenes moves"], side: int
) -> Float[Tensor, "scenes 1 side side"]:
    """An image of weighted moves and their opposites, those back and to the left at its far ends."""
    image = by.new_zeros(len(by), side * side)
    for way in (by, -by):
        corner = way.floor()
        x_share, y_share = (way - corner).unbind(-1)
        column, row = corner.long().unbind(-1)
        for down, y_weight in ((0, 1 - y_share), (1, y_share)):
            for right, x_weight in ((0, 1 - x_share), (1, x_share)):
                place = (row + down) % side * side + (column + right) % side
                image.scatter_add_(1, place, weights * y_weight * x_weight)
    return image.unflatten(1, (1, side, side))


def _spectrum(values: Tensor, side: int) -> Tensor:
    """Fourier transform over the last two axes, padded with zeros to ``side``."""
    return torch.fft.rfft2(values, s=(side, side))
