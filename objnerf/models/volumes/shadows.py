"""Shadows: which light on the ground an object takes, so that it goes with the object.

The ground is looked up in the input view with the shadows that lie on it. They belong to the objects: one
that is taken out of the scene, or moved, must not leave its shadow behind. So the light on the ground away
from all objects is extended to where they stand, and what is darker around an object is its shadow. Where an
object has gone, the ground is shown as it is without shadows, and where it has come to, it is darkened.
Nothing is learned, and nothing changes in a scene that is not edited.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from objnerf.models.volumes.grid import Square
from objnerf.models.volumes.maps import blur, widen
from objnerf.models.volumes.pattern import FINE, Continued, smooth

REACH = 0.5
"""How far from an object its shadow is looked for, in obj_scale."""

EDGE = 0.06
"""How far shadows and objects reach beyond what is clearly theirs, in obj_scale."""

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


@dataclass(frozen=True)
class Shadows:
    """What objects do to the ground, seen from above."""

    cast: Float[Tensor, "scenes objects side side"]
    """Logarithm of the light that each object leaves, at most 0."""
    zones: Float[Tensor, "scenes objects side side"]
    """Where the ground differs from what it would be without the object, each from 0 to 1."""
    cleared: Float[Tensor, "scenes 3 side side"]
    """The ground without shadows and objects, in [0, 1]."""


@torch.no_grad()
def find_shadows(
    ground: Continued,
    seen: Float[Tensor, "scenes 1 side side"],
    shade: Float[Tensor, "scenes 1 side side"],
    shares: Float[Tensor, "scenes objects side side"],
    square: Square,
    scale: float,
) -> Shadows:
    """The shadows of objects, each part given to the object that is nearest.

    Args:
        ground: seen from above.
        seen: weight in [0, 1] of each cell.
        shade: logarithm of the light that the model takes from the ground, beside what the view shows.
        shares: opacity of each object's columns, 0 where there is none.
        square: extent of the map.
        scale: obj_scale, world units.
    """
    reach = max(2, round(REACH * scale / square.cell))
    edge = max(1, round(EDGE * scale / square.cell))
    stands = (shares.sum(1, keepdim=True) > FOOTPRINT).to(shade)
    near = widen(stands, reach)
    level = _brightness(ground.light)
    expected, deviation, known = _extend(level, seen * (1 - near))
    darker = (DEVIATIONS * deviation).clamp(min=LEAST_DARKER)[:, None, None, None]
    dark = (level < expected - darker) * known[:, None, None, None] * near
    zone = widen(torch.maximum(dark, stands), edge)
    # From now on only what is surely lit counts, so that the ground joins what is around it.
    light = smooth(ground.light, seen * (1 - zone), FINE)
    missing = (level - _brightness(light)).clamp(math.log(DARKEST), 0)
    # What is hidden is lit as what is seen around it; far from anything that is seen, nothing is known.
    sure = (blur(seen[:, 0], reach / 3) / SEEN_AROUND).clamp(max=1)[:, None]
    zone = blur(zone[:, 0], edge / 2)[:, None]
    # The share of the nearest object: of two blurred footprints, the nearer one is far larger.
    around = blur((shares * stands).flatten(0, 1), reach / 3).view_as(shares) + 1e-6
    around = around.square() * (shares.amax((2, 3), keepdim=True) > FOOTPRINT)
    own = around / around.sum(1, keepdim=True).clamp(min=1e-15)
    return Shadows((missing * sure + shade) * zone * own, zone * own, (light + ground.copied).clamp(0, 1))


def _brightness(light: Float[Tensor, "scenes 3 side side"]) -> Float[Tensor, "scenes 1 side side"]:
    """Logarithm of the mean over the colours."""
    return light.mean(1, keepdim=True).clamp(min=1e-3).log()


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
