"""Shadows: which light on the ground an object takes, so that it goes with the object.

The ground is looked up in the input view with the shadows that lie on it. They belong to the objects: one
that is taken out of the scene, or moved, must not leave its shadow behind. So the light on the ground away
from all objects is extended to where they stand, and what is missing there is their shadow, each part given
to the object that is nearest. Nothing is learned, and a scene that is not edited is rendered as if there were
no shadows: what the objects take is what they bring.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.models.volumes.grid import Square
from objnerf.models.volumes.instances import blur

REACH = 0.5
"""How far from an object its shadow is looked for, in obj_scale."""

FOOTPRINT = 0.3
"""Opacity of a column of voxels from which an object stands there."""

DARKEST = 0.2
"""Least light that a shadow leaves."""

LEAST_DARKER = 0.03
"""Logarithm of the light that may be missing without a shadow, at least."""

DEVIATIONS = 1.5
"""The same in standard deviations of the light away from all objects: floors are never quite even."""

SEEN_AROUND = 0.3
"""Share of what is around a cell that must be seen for its light to be known."""

LEAST_SEEN = 0.02
"""Share of the map that must be seen away from all objects."""


@torch.no_grad()
def find_shadows(
    light: Float[Tensor, "scenes 3 side side"],
    seen: Float[Tensor, "scenes 1 side side"],
    shade: Float[Tensor, "scenes 1 side side"],
    shares: Float[Tensor, "scenes objects side side"],
    square: Square,
    scale: float,
) -> Float[Tensor, "scenes objects side side"]:
    """Logarithm of the light that each object leaves on the ground, at most 0.

    Args:
        light: of the ground seen from above, times its mean colour; in [0, 1].
        seen: weight in [0, 1] of each cell.
        shade: logarithm of the light that the model takes from the ground, beside what the view shows.
        shares: opacity of each object's columns, 0 where there is none.
        square: extent of the map.
        scale: obj_scale, world units.
    """
    reach = max(1, round(REACH * scale / square.cell))
    stands = (shares.sum(1, keepdim=True) > FOOTPRINT).to(light)
    near = _widen(stands, reach)
    level = light.mean(1, keepdim=True).clamp(min=1e-3).log()
    expected, deviation, known = _extend(level, seen * (1 - near))
    missing = (level - expected).clamp(min=math.log(DARKEST))
    missing = (missing + (DEVIATIONS * deviation).clamp(min=LEAST_DARKER)[:, None, None, None]).clamp(max=0)
    # What is hidden is lit as what is seen around it; far from anything that is seen, nothing is known.
    sure = (blur(seen[:, 0], reach / 3) / SEEN_AROUND).clamp(max=1)[:, None]
    missing = missing * sure * known[:, None, None, None] + shade
    # Shadows end softly where they are no longer looked for.
    missing = missing * blur(_widen(stands, reach // 2)[:, 0], reach / 6)[:, None]
    around = blur((shares * stands).flatten(0, 1), reach / 2).view_as(shares) + 1e-9
    own = around * (shares.amax((2, 3), keepdim=True) > FOOTPRINT)
    return missing * own / own.sum(1, keepdim=True).clamp(min=1e-9)


def _widen(mask: Float[Tensor, "scenes 1 side side"], reach: int) -> Float[Tensor, "scenes 1 side side"]:
    return F.max_pool2d(mask, 2 * reach + 1, 1, reach)


def _extend(
    level: Float[Tensor, "scenes 1 side side"], weight: Float[Tensor, "scenes 1 side side"]
) -> tuple[Float[Tensor, "scenes 1 side side"], Float[Tensor, " scenes"], Float[Tensor, " scenes"]]:
    """A surface of second order through a map where it counts, the deviation from it, and 1 where it counts
    enough."""
    side = level.shape[-1]
    along = torch.linspace(-1, 1, side, device=level.device, dtype=torch.float64)
    y, x = torch.meshgrid(along, along, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=-1).flatten(0, 1)
    value, counts = level.flatten(1).double(), weight.flatten(1).double()
    weighted = terms * counts[..., None]
    # A little pull towards an even light, where the floor is seen from one side only.
    pull = torch.diag(terms.new_tensor([1e-6, 1e-2, 1e-2, 1e-1, 1e-1, 1e-1])) * counts.sum(1)[:, None, None]
    pull = pull + 1e-9 * torch.eye(len(pull[0]), device=pull.device)
    found = torch.linalg.solve(
        weighted.transpose(1, 2) @ terms + pull, weighted.transpose(1, 2) @ value[..., None]
    )
    surface = (terms @ found)[..., 0]
    total = counts.sum(1)
    deviation = ((counts * (value - surface).square()).sum(1) / total.clamp(min=1e-9)).sqrt()
    enough = total >= LEAST_SEEN * counts.shape[1]
    return surface.view_as(level).to(level), deviation.to(level), enough.to(level)
