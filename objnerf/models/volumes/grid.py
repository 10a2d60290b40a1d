"""The voxel grid that objects live in, and how world points, grid points and pixels correspond.

The grid stands on the ground around the world's origin, in the *field frame*: the input view's azimuth frame
(x the camera's right, y its horizontal forward, z up), world units. Voxels are stored height first,
``[z, y, x]``, so that a layer is a map seen from above with rows along y and columns along x.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from objnerf.rendering.rays import image_coordinates


@dataclass(frozen=True)
class Square:
    """Extent and resolution of a map of the ground around the world's origin, field frame."""

    half: float
    """Half side, world units."""
    cells: int
    """Along x and along y."""

    @property
    def cell(self) -> float:
        """Side of a cell, world units."""
        return 2 * self.half / self.cells

    def columns(self, device: torch.device | str | None = None) -> Float[Tensor, "cells cells 2"]:
        """Centres of the cells, field frame, world units; rows along y."""
        side = (torch.arange(self.cells, device=device) + 0.5) * self.cell - self.half
        y, x = torch.meshgrid(side, side, indexing="ij")
        return torch.stack([x, y], dim=-1)

    def sample_columns(
        self,
        maps: Float[Tensor, "scenes channels rows columns"],
        points: Float[Tensor, "scenes points coords"],
        beyond: Literal["border", "zeros"] = "border",
    ) -> Float[Tensor, "scenes channels points"]:
        """Bilinear look-up in maps, at the x and y of field-frame points.

        Args:
            maps: of the square.
            points: world units.
            beyond: what is found outside of the square: the value at its border, or zeros.
        """
        where = (points[..., :2] / self.half)[:, None]
        return F.grid_sample(maps, where, align_corners=False, padding_mode=beyond)[:, :, 0]


@dataclass(frozen=True)
class Grid(Square):
    """Extent and resolution of the voxel grid, which stands on a square of the ground."""

    height: float
    """World units above the ground."""
    layers: int
    """Voxels along z."""

    def centers(self, device: torch.device | str | None = None) -> Float[Tensor, "voxels 3"]:
        """Voxel centres in the field frame, world units; z slowest, x fastest."""
        side = (torch.arange(self.cells, device=device) + 0.5) * self.cell - self.half
        up = (torch.arange(self.layers, device=device) + 0.5) * (self.height / self.layers)
        z, y, x = torch.meshgrid(up, side, side, indexing="ij")
        return torch.stack([x, y, z], dim=-1).flatten(0, 2)

    def normalised(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Field-frame points as ``grid_sample`` wants them: the grid's outer faces at -1 and 1."""
        x, y, z = points.unbind(-1)
        return torch.stack([x / self.half, y / self.half, 2 * z / self.height - 1], dim=-1)

    def intersect(
        self, origins: Float[Tensor, "*rays 3"], directions: Float[Tensor, "*rays 3"]
    ) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"]]:
        """Interval of the ray parameter inside the grid; empty (first >= second) where a ray misses it.

        Args:
            origins: field frame, world units.
            directions: camera z-depth 1, so that the parameter is planar depth.
        """
        safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
        (x, y, z), (along_x, along_y, along_z) = origins.unbind(-1), safe.unbind(-1)
        first = torch.stack([(-self.half - x) / along_x, (-self.half - y) / along_y, -z / along_z])
        second = torch.stack(
            [(self.half - x) / along_x, (self.half - y) / along_y, (self.height - z) / along_z]
        )
        return torch.minimum(first, second).amax(0), torch.maximum(first, second).amin(0)

    def sample(
        self,
        volume: Float[Tensor, "scenes channels layers rows columns"],
        points: Float[Tensor, "scenes points 3"],
    ) -> Float[Tensor, "scenes channels points"]:
        """Trilinear look-up at field-frame points; points outside take the value at the nearest face."""
        where = self.normalised(points)[:, None, None]
        return F.grid_sample(volume, where, align_corners=False, padding_mode="border")[:, :, 0, 0]


def project(
    points: Float[Tensor, "scenes points 3"],
    world_from_camera: Float[Tensor, "scenes 4 4"],
    pinholes: Float[Tensor, "scenes 4"],
) -> tuple[Float[Tensor, "scenes points 2"], Float[Tensor, "scenes points"]]:
    """Where world points appear in a view, for ``look_up``, and their planar depths (negative: behind).

    Args:
        points: world units.
        world_from_camera: poses, OpenCV axes.
        pinholes: the views' lenses; see ``rays.pinhole_tensor``.
    Returns:
        Coordinates with the image's outer edges at -1 and 1, and depths in world units.
    """
    local = (points - world_from_camera[:, None, :3, 3]) @ world_from_camera[:, :3, :3]
    depth = local[..., 2]
    return image_coordinates(local, pinholes[:, None], 1e-3), depth


def look_up_channels(
    images: Float[Tensor, "scenes channels height width"], where: Float[Tensor, "scenes points 2"]
) -> Float[Tensor, "scenes channels points"]:
    """Bilinear look-up at the coordinates of ``project``; outside, the value at the nearest edge."""
    return F.grid_sample(images, where[:, None], align_corners=False, padding_mode="border")[:, :, 0]


def look_up(
    images: Float[Tensor, "scenes channels height width"], where: Float[Tensor, "scenes points 2"]
) -> Float[Tensor, "scenes points channels"]:
    """``look_up_channels``, a point's channels after each other."""
    return look_up_channels(images, where).transpose(1, 2)


def in_view(
    where: Float[Tensor, "scenes points 2"], depth: Float[Tensor, "scenes points"]
) -> Bool[Tensor, "scenes points"]:
    """Which projected points lie in the image and in front of the camera."""
    return (where.abs() < 1).all(-1) & (depth > 1e-3)


def ground_depth(
    origins: Float[Tensor, "*rays 3"], directions: Float[Tensor, "*rays 3"], near: float, far: float
) -> Float[Tensor, "*rays"]:
    """Planar depth at which rays meet the ground z = 0, kept between near and far; far for rays that rise."""
    falling = directions[..., 2]
    depth = -origins[..., 2] / falling.clamp(max=-1e-6)
    return torch.where(falling < -1e-6, depth.clamp(near, far), torch.full_like(depth, far))
