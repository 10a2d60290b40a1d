"""The foreground of object volumes at points: voxels, the input view's pixels, and each slot's share."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.models.scene import SceneCode
from objnerf.models.volumes.code import VolumesCode
from objnerf.models.volumes.compositing import activated_density
from objnerf.models.volumes.grid import Grid, look_up, project
from objnerf.models.volumes.instances import seen_from_above


@dataclass(frozen=True)
class SlotGroup:
    """Slots that have the same offset, at some points."""

    slots: list[int]
    density: Float[Tensor, "scenes points"]
    """Of all objects together, per world unit."""
    colour: Float[Tensor, "scenes points 3"]
    share: Float[Tensor, "scenes group points"]
    """Of each slot in the density; 0 for slots that were taken out."""


def sample_foreground(
    code: VolumesCode, points: Float[Tensor, "scenes points 3"], grid: Grid
) -> Iterator[SlotGroup]:
    """Density and colour of the foreground at world points; slots with the same offset in one group.

    Density per world unit is softplus(raw + outline) / cell, where raw is interpolated in the volume and the
    outline is looked up in the input view. Colour is a mixture of the input view's colour at the point's
    projection (pixel-aligned) and the volume's own.

    Args:
        code: the scenes.
        points: world units.
        grid: of the volume.
    """
    rotation = code.field_from_world[:, :3, :3]
    for slots, offset in slots_by_offset(code):
        here = points - offset[:, None]
        local = here @ rotation.transpose(1, 2)
        raw = grid.sample(code.volume, local)
        where, _ = project(here, code.world_from_camera, code.pinholes)
        seen = look_up(code.pixels, where)
        inside = (local[..., :2].abs() <= grid.half).all(-1)
        inside &= (local[..., 2] >= 0) & (local[..., 2] <= grid.height)
        density = activated_density(raw[:, 0] + seen[..., 3], grid.cell) * inside
        mix = raw[:, 4].sigmoid()[..., None]
        own = raw[:, 1:4].transpose(1, 2).sigmoid()
        objects = [slot - 1 for slot in slots] if code.moved else slice(None)
        share = grid.sample_columns(code.owner[:, objects], local)
        share = share * code.active[:, 1:][:, objects, None]
        yield SlotGroup(slots, density, mix * seen[..., :3] + (1 - mix) * own, share)


def slots_by_offset(code: SceneCode) -> Iterator[tuple[list[int], Float[Tensor, "scenes 3"]]]:
    """Foreground slots that have the same offset in every scene, in groups."""
    offsets = code.offsets
    slots = offsets.shape[1]
    if not code.moved:
        yield list(range(1, slots)), offsets[:, 1]
        return
    groups: dict[tuple[float, ...], list[int]] = {}
    for slot in range(1, slots):
        groups.setdefault(tuple(offsets[:, slot].flatten().tolist()), []).append(slot)
    for group in groups.values():
        yield group, offsets[:, group[0]]


def voxel_opacity(
    volume: Float[Tensor, "scenes 5 layers rows columns"],
) -> Float[Tensor, "scenes layers rows columns"]:
    """Opacity of each voxel, seen along the side of a cell: 1 - exp(-softplus(raw density))."""
    return 1 - torch.exp(-F.softplus(volume[:, 0]))


def slot_latents(
    cells: Float[Tensor, "scenes channels rows columns"],
    volume: Float[Tensor, "scenes 5 layers rows columns"],
    owner: Float[Tensor, "scenes objects rows columns"],
) -> Float[Tensor, "scenes slots channels"]:
    """A vector for each slot: the mean of its cells' features, weighted by their opacity."""
    opacity = seen_from_above(voxel_opacity(volume))
    weight = torch.cat([1 - opacity[:, None], owner * opacity[:, None]], dim=1).flatten(2)
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
    return weight @ cells.flatten(2).transpose(1, 2)
