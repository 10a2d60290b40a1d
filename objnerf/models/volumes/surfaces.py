"""Where rays meet the ground and the walls behind the objects."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from objnerf.dataset.card import SceneScale
from objnerf.models.volumes.code import VolumesCode
from objnerf.models.volumes.grid import ground_depth
from objnerf.models.volumes.layout import behind_wall, mean_distances, wall_depth

BEYOND = 1e3
"""Depth, in far, that is behind any wall."""


@dataclass(frozen=True)
class Surfaces:
    """Where rays meet the ground and the walls behind it."""

    ground: Float[Tensor, "scenes rays subrays 3"]
    """Points of the ground, world units: several for each ray, spread over its pixel."""
    wall: Float[Tensor, "scenes rays subrays 3"]
    """Points of the walls."""
    is_wall: Float[Tensor, "scenes rays"]
    """How surely the wall is met first, in [0, 1]."""

    @property
    def met(self) -> Float[Tensor, "scenes rays 3"]:
        """What the rays meet, ground or wall, in the middle of their pixels."""
        ground = self.ground.mean(2)
        return ground + self.is_wall[..., None] * (self.wall.mean(2) - ground)


def find_surfaces(
    code: VolumesCode,
    origins: Float[Tensor, "scenes rays 3"],
    directions: Float[Tensor, "scenes rays 3"],
    geometry: SceneScale,
    pixel: float = 0.0,
    subrays: int = 1,
) -> tuple[Surfaces, Float[Tensor, "scenes rays"]]:
    """Where rays meet the background, and at which planar depth.

    Args:
        code: the scenes, with their walls.
        origins: world units.
        directions: camera z-depth 1.
        geometry: near, far and obj_scale.
        pixel: side of the rays' pixels in the plane of depth 1; 0 for rays without width.
        subrays: rays along each side of a pixel, if it has width.
    """
    near, far = geometry.near, geometry.far
    ground = ground_depth(origins, directions, near, far)
    frame = code.ground_field_from_world.transpose(1, 2)
    start, along = origins @ frame, directions @ frame
    distances = mean_distances(code.walls, geometry.obj_scale)
    # Rays that rise can meet a wall beyond far, which is a wall all the same.
    wall = wall_depth(distances, start, along, near, 2 * far)
    reached = ground < far
    wall = torch.where(reached, torch.minimum(wall, ground), wall)
    # A ray that never meets the ground leaves the room, if there is one.
    there = start + torch.where(reached, ground, BEYOND * far)[..., None] * along
    is_wall = behind_wall(code.walls, there, geometry.obj_scale)
    spread = spread_over_pixel(directions, pixel, subrays)
    origins = origins[:, :, None].expand(spread.shape)
    return (
        Surfaces(
            ground=origins + ground_depth(origins, spread, near, far)[..., None] * spread,
            wall=origins + wall[..., None, None] * spread,
            is_wall=is_wall,
        ),
        ground + is_wall * (torch.minimum(ground, wall) - ground),
    )


def spread_over_pixel(
    directions: Float[Tensor, "scenes rays 3"], pixel: float, count: int
) -> Float[Tensor, "scenes rays subrays 3"]:
    """Directions spread evenly over each ray's pixel; only the ray itself where ``pixel`` is 0."""
    if pixel == 0:
        return directions[:, :, None]
    x, y, _ = directions.unbind(-1)
    right = F.normalize(torch.stack([y, -x, torch.zeros_like(x)], dim=-1), dim=-1, eps=1e-6)
    down = F.normalize(torch.cross(directions, right, dim=-1), dim=-1, eps=1e-6)
    return torch.stack(
        [directions + pixel * (x * right + y * down) for x, y in subpixel_offsets(count)], dim=2
    )


def subpixel_offsets(count: int) -> list[tuple[float, float]]:
    """Centres of ``count`` × ``count`` equal parts of a pixel, as offsets from its centre in pixels."""
    steps = [(i + 0.5) / count - 0.5 for i in range(count)]
    return [(x, y) for y in steps for x in steps]
