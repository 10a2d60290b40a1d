"""From the pixels of the input view to a volume: lift features into voxels, mix them seen from above."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.volumes.grid import Grid, in_view, look_up_channels, project
from objnerf.models.volumes.networks import PixelNetwork, VoxelNetwork
from objnerf.rendering.rays import camera_directions

CHANNELS = 5
"""Of the volume: raw density, three raw colours, raw share of the looked-up colour."""

EMPTY_RAW = -3.0
"""Raw density of an untrained volume: nearly transparent."""


class Lifting(nn.Module):
    """Predicts a volume and a map seen from above from one posed view.

    Args:
        grid: where the voxels are.
        width: channels of the pixel network's and the bird's-eye network's widest layers.
        features: channels that a pixel hands to the voxels on its ray.
        mixed: channels that a voxel gets back from the bird's-eye network.
    """

    def __init__(self, grid: Grid, width: int, features: int, mixed: int) -> None:
        super().__init__()
        self.grid = grid
        self.pixels = PixelNetwork(5, width, features)
        # The pixel's features and colour, and whether the voxel is in the view at all.
        self.voxels = VoxelNetwork(grid, features + 4, features // 2 + 3, width, mixed, CHANNELS)
        self.register_buffer("centers", grid.centers(), persistent=False)
        self.centers: Tensor

    def forward(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        ground: Float[Tensor, "scenes 2 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        pinholes: Float[Tensor, "scenes 4"],
        field_from_world: Float[Tensor, "scenes 3 3"],
    ) -> tuple[
        Float[Tensor, "scenes 5 layers rows columns"],
        Float[Tensor, "scenes cell_channels rows columns"],
        Float[Tensor, "scenes channels half_height half_width"],
    ]:
        """The volume of raw values, the features of its cells seen from above, and those of the pixels.

        Args:
            images: the input views, in [-1, 1].
            ground: where each pixel's ray meets the ground; see ``ground_map``.
            world_from_camera: poses, OpenCV axes.
            pinholes: the views' lenses; see ``rays.pinhole_tensor``.
            field_from_world: rotation into the field frame.
        """
        grid = self.grid
        features = self.pixels(torch.cat([images, ground], dim=1))
        # The voxels see the colours at the features' resolution: finer ones would only flicker.
        seen = torch.cat([features, F.avg_pool2d(images, 2)], dim=1)
        # Rows of field points times field_from_world are world points.
        world = self.centers @ field_from_world
        where, depth = project(world, world_from_camera, pinholes)
        inside = in_view(where, depth)[:, None].to(seen)
        known = torch.cat([look_up_channels(seen, where) * inside, inside], dim=1)
        raw, cells = self.voxels(known.unflatten(2, (grid.layers, -1)))
        return torch.cat([raw[:, :1] + EMPTY_RAW, raw[:, 1:]], dim=1), cells, seen


def ground_map(
    world_from_camera: Float[Tensor, "scenes 4 4"],
    pinholes: Float[Tensor, "scenes 4"],
    field_from_world: Float[Tensor, "scenes 3 3"],
    size: tuple[int, int],
    reach: float,
) -> Float[Tensor, "scenes 2 height width"]:
    """Where each pixel's ray meets the ground, field frame, in units of ``reach``, squashed beyond it.

    Args:
        world_from_camera: poses, OpenCV axes.
        pinholes: the views' lenses; see ``rays.pinhole_tensor``.
        field_from_world: rotation into the field frame.
        size: (width, height), pixels.
        reach: distance on the ground, world units, that is mapped to about 1.
    """
    width, height = size
    directions = camera_directions(pinholes, width, height).flatten(1, 2)
    directions = directions @ world_from_camera[:, :3, :3].transpose(1, 2)
    falling = directions[..., 2].clamp(max=-1e-3)
    depth = -world_from_camera[:, None, 2, 3] / falling
    points = world_from_camera[:, None, :3, 3] + directions * depth[..., None]
    points = (points @ field_from_world.transpose(1, 2))[..., :2] / reach
    # A ray along the horizon meets the ground far away: direction matters there, distance does not.
    length = points.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    points = points / length * torch.where(length > 1, 2 - 1 / length, length)
    return points.transpose(1, 2).unflatten(2, (height, width))
