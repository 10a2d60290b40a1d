"""Volume rendering of several slots at once: mixing slots in a point, then compositing along a ray.

Everything here runs in float32, also where the fields were evaluated in another precision: transmittance is a
long product, and its rounding errors in sixteen bits are visible.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

SHARE_EPS = 1e-5
"""Keeps the density shares finite where no slot has any density (uORF's value)."""

LAST_STEP = 1e-2
"""Length of a ray's last step, as a share of far - near (uORF's value)."""

Mixing = Literal["share", "sum"]


@dataclass(frozen=True)
class SlotSamples:
    """Density and colour of every slot at every point."""

    density: Float[Tensor, "scenes slots points"]
    """Not negative, per (far - near) of length; zero where a slot may not have density."""
    colour: Float[Tensor, "scenes slots points 3"]
    """RGB in [0, 1]; meaningless where the density is zero."""


@dataclass(frozen=True)
class SlotRendering:
    """Every slot composited by itself, as if the others did not occlude it (uORF's way)."""

    rgb: Float[Tensor, "scenes rays slots 3"]
    """Colour in [0, 1], on black."""
    depth: Float[Tensor, "scenes rays slots"]
    """Expected planar depth, world units."""
    density_mask: Float[Tensor, "scenes rays slots"]
    """Density summed with the ray's weights: the map that uORF takes the argmax of."""


@dataclass(frozen=True)
class Rendering:
    """What rays see."""

    rgb: Float[Tensor, "scenes rays 3"]
    """Colour in [0, 1], on black."""
    depth: Float[Tensor, "scenes rays"]
    """Expected planar depth, world units."""
    opacity: Float[Tensor, "scenes rays"]
    """Sum of the ray's weights, in [0, 1]."""
    slot_opacity: Float[Tensor, "scenes rays slots"]
    """Each slot's part of the opacity, with mutual occlusion. Slot 0 is the background."""
    per_slot: SlotRendering | None = None
    """Each slot by itself, if asked for."""


def density_shares(density: Float[Tensor, "scenes slots *points"]) -> Float[Tensor, "scenes slots *points"]:
    """Each slot's share of the density at a point: sigma_k / (sum of sigma over the slots + 1e-5).

    The shares sum to just under 1, or to 0 in empty space.
    """
    return density / (density.sum(dim=1, keepdim=True) + SHARE_EPS)


def step_lengths(
    depths: Float[Tensor, "*rays samples"], directions: Float[Tensor, "*rays 3"], unit: float
) -> Float[Tensor, "*rays samples"]:
    """Length of the ray that each sample stands for: to the next sample, and ``LAST_STEP`` for the last one.

    Args:
        depths: planar depths of the samples, world units, ascending.
        directions: ray directions with camera z-depth 1; their length stretches the steps.
        unit: world units that lengths are measured in: far - near.
    """
    steps = torch.cat([depths.diff(dim=-1) / unit, torch.full_like(depths[..., :1], LAST_STEP)], dim=-1)
    return steps * directions.norm(dim=-1, keepdim=True)


def ray_weights(
    density: Float[Tensor, "*rays samples"], steps: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Share of a ray's light that comes from each sample (Max 1995; NeRF, Mildenhall et al. 2020, eq. 3).

    w_i = a_i * prod over j < i of (1 - a_j), with the opacity a_i = 1 - exp(-sigma_i * length_i).

    Args:
        density: sigma, per unit of length.
        steps: length of the ray that each sample stands for, in the same unit.
    """
    alpha = 1 - torch.exp(-density * steps)
    passed = torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha[..., :-1] + 1e-10], dim=-1)
    return alpha * passed.cumprod(dim=-1)


def expected_depth(
    weights: Float[Tensor, "*rays samples"], depths: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays"]:
    """Mean depth under the weights, sum(w d) / sum(w), each w raised by 1e-5.

    So an empty ray gets the mean depth of its samples.
    """
    raised = weights + 1e-5
    return (raised * depths).sum(dim=-1) / raised.sum(dim=-1)


def composite(
    samples: SlotSamples,
    depths: Float[Tensor, "scenes rays samples"],
    directions: Float[Tensor, "scenes rays 3"],
    *,
    unit: float,
    mixing: Mixing = "share",
    per_slot: bool = False,
) -> Rendering:
    """Colour, depth and per-slot opacity of rays.

    With the density shares s_k of the slots at a sample and the ray's weights w, the colour is the sum of
    w s_k c_k over samples and slots. The density behind w is the sum over the slots of s_k sigma_k (mixing
    ``share``, as in uORF) or of sigma_k (``sum``).

    Args:
        samples: densities and colours of the slots, with points ordered ray by ray, sample by sample.
        depths: planar depths of the samples, world units, ascending.
        directions: ray directions with camera z-depth 1; their length stretches the steps.
        unit: world units that the density is measured per: far - near.
        mixing: how the slots' densities at a point are combined.
        per_slot: also composite each slot by itself.
    Returns:
        Colours on black; see ``Rendering``. All of it in float32.
    """
    rays = depths.shape[1]
    with torch.autocast(depths.device.type, enabled=False):
        density = samples.density.float().unflatten(2, (rays, -1))
        colour = samples.colour.float().unflatten(2, (rays, -1))
        share = density_shares(density)
        total = (share * density).sum(dim=1) if mixing == "share" else density.sum(dim=1)
        steps = step_lengths(depths, directions, unit)
        weights = ray_weights(total, steps)
        slot_weights = share * weights[:, None]
        return Rendering(
            rgb=torch.einsum("bkrs,bkrsc->brc", slot_weights, colour),
            depth=expected_depth(weights, depths),
            opacity=weights.sum(dim=-1),
            slot_opacity=slot_weights.sum(dim=-1).transpose(1, 2),
            per_slot=_composite_per_slot(share, density, colour, depths, steps) if per_slot else None,
        )


def _composite_per_slot(
    share: Float[Tensor, "scenes slots rays samples"],
    density: Float[Tensor, "scenes slots rays samples"],
    colour: Float[Tensor, "scenes slots rays samples 3"],
    depths: Float[Tensor, "scenes rays samples"],
    steps: Float[Tensor, "scenes rays samples"],
) -> SlotRendering:
    shared_density = share * density
    weights = ray_weights(shared_density, steps[:, None].expand_as(density))
    return SlotRendering(
        rgb=torch.einsum("bkrs,bkrsc->brkc", weights * share, colour),
        depth=expected_depth(weights, depths[:, None].expand_as(density)).transpose(1, 2),
        density_mask=(weights * shared_density).sum(dim=-1).transpose(1, 2),
    )
