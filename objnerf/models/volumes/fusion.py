"""One volume from all views of a training scene: the teacher of the volumes that single views give.

One view leaves open how deep and how high things are, and what they hide. Several views do not: what is
occupied looks alike from wherever it is seen, and no view sees the background through it. So the features of
all views of a scene are pooled in each voxel, their means and their spreads, as in multi-view stereo.
With them goes what speaks for and against an object on the views' rays: their outlines, and whether other
views explain the pixel by the background. Single-view volumes are taught the result, voxel by voxel
(``teacher``). Outside of training it is not used.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models.volumes.grid import Grid, in_view, look_up_channels, project
from objnerf.models.volumes.lifting import CHANNELS, EMPTY_RAW
from objnerf.models.volumes.networks import VoxelNetwork

REDUCED = 10
"""Channels of a voxel that the bird's-eye network sees."""

OWN_COLOUR_RAW = -10.0
"""Raw share of the looked-up colour: none, since no view is the input."""


class Fusion(nn.Module):
    """Predicts a volume from several posed views of a scene.

    Args:
        grid: where the voxels are.
        width: channels of the bird's-eye network.
        features: channels that a pixel hands to the voxels on its ray, beside its colour.
        mixed: channels that a voxel gets back from the bird's-eye network.
    """

    def __init__(self, grid: Grid, width: int, features: int, mixed: int) -> None:
        super().__init__()
        self.grid = grid
        self.voxels = VoxelNetwork(grid, 2 * (features + 3) + 7, REDUCED, width, mixed, CHANNELS - 1)
        self.register_buffer("centers", grid.centers(), persistent=False)
        self.centers: Tensor

    def forward(
        self,
        seen: Float[Tensor, "inputs channels half_height half_width"],
        evidence: Float[Tensor, "inputs 3 half_height half_width"],
        world_from_camera: Float[Tensor, "inputs 4 4"],
        pinholes: Float[Tensor, "inputs 4"],
        field_from_world: Float[Tensor, "scenes 3 3"],
    ) -> Float[Tensor, "scenes 5 layers rows columns"]:
        """Volumes of raw values.

        Args:
            seen: features and, last, colours in [-1, 1] of the views; those of one scene after each other.
            evidence: how surely the background explains each pixel, an outline contains it, and
                its colour is not the background's; in [0, 1].
            world_from_camera: poses, OpenCV axes.
            pinholes: the views' lenses; see ``rays.pinhole_tensor``.
            field_from_world: rotation into the frame of each scene's volume.
        """
        scenes = (len(field_from_world), -1)
        views = len(seen) // len(field_from_world)
        world = (self.centers @ field_from_world).repeat_interleave(views, 0)
        where, depth = project(world, world_from_camera, pinholes)
        inside = in_view(where, depth)[:, None].to(seen).unflatten(0, scenes)
        found = look_up_channels(torch.cat([seen, evidence], dim=1), where).unflatten(0, scenes)
        there, explained, outline, foreign = found.split([seen.shape[1], 1, 1, 1], dim=2)
        known = pool_views(there, explained, outline, foreign, inside)
        raw, _ = self.voxels(known.unflatten(2, (self.grid.layers, -1)))
        # Colours start from the mean of what the views show, so that the first gradients are those of stereo.
        mean = known[:, seen.shape[1] - 3 : seen.shape[1]].unflatten(2, raw.shape[2:])
        colour = torch.logit(((mean + 1) / 2).clamp(0.02, 0.98))
        looked_up = torch.full_like(raw[:, :1], OWN_COLOUR_RAW)
        return torch.cat([raw[:, :1] + EMPTY_RAW, raw[:, 1:] + colour, looked_up], dim=1)


def pool_views(
    seen: Float[Tensor, "scenes views channels voxels"],
    explained: Float[Tensor, "scenes views 1 voxels"],
    outline: Float[Tensor, "scenes views 1 voxels"],
    foreign: Float[Tensor, "scenes views 1 voxels"],
    inside: Float[Tensor, "scenes views 1 voxels"],
) -> Float[Tensor, "scenes pooled voxels"]:
    """What is known of voxels from all views that contain them, whatever their number and order.

    Args:
        seen: features and colours at the voxels' projections.
        explained: how surely the background explains these pixels.
        outline: how surely an outline contains them.
        foreign: how surely their colours are not the background's.
        inside: 1 where a voxel is in the view, 0 elsewhere.
    Returns:
        Means and standard deviations of ``seen``; greatest and mean ``explained``; least and mean
        ``outline``, least and mean ``foreign``; share of the views that contain the voxel.
    """
    count = inside.sum(1)
    share = inside / count.clamp(min=1)[:, None]
    mean = (share * seen).sum(1)
    variance = (share * (seen - mean[:, None]).square()).sum(1)
    # The square root has no gradient at 0, which is also the spread of a single view.
    spread = (variance + 1e-6).sqrt() * (count > 1)
    return torch.cat(
        [
            mean,
            spread,
            (inside * explained).amax(1),
            (share * explained).sum(1),
            1 - (inside * (1 - outline)).amax(1),
            (share * outline).sum(1),
            1 - (inside * (1 - foreign)).amax(1),
            (share * foreign).sum(1),
            count / seen.shape[1],
        ],
        dim=1,
    )
