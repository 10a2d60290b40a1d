"""What stands on the ground and what is the ground: plane parallax, from pictures and poses alone.

A point of the ground z = 0 is seen by every camera where its homography says; what stands above the ground is
not. So the picture around a pixel is compared with other views of the scene at the point in which its ray
meets the ground (plane + parallax: Sawhney 1994; Irani and Anandan 1996).

- Where none of at least three views agrees, something *raised* is seen, or a place that it hides from all
  the others.
- Where most agree, the *ground* is seen. But an even surface agrees with itself wherever one looks, so this
  is weighted by the contrast around the pixel.

Neither finds all there is, and raised things are found by the part of them that has other colours than the
ground behind. It is evidence to learn from, for a network that then tells both from one picture.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from objnerf.rendering.rays import camera_directions, world_rays
from objnerf.training.data import Scenes
from objnerf.training.recipe import Scale

AGREES, SOFTLY = 0.06, 0.018
"""Mean difference of colours in [0, 1] at which a pixel is ground by half, and the logistic's width."""

DIFFERS, SHARPLY = 0.15, 0.02
"""The same for something raised."""

VIEWS = 3
"""Other views that must see the point before anything is called raised."""

MOST_VIEWS = 4
"""Other views that are looked at: among many, one always agrees by chance."""

CONTRAST = 0.04
"""Standard deviation of the colours around a pixel at which its agreement counts by half."""


class GroundEvidence:
    """The evidence for every pixel of some scenes, worked out when a scene is first asked for.

    Args:
        scenes: pictures at ``size``, and poses.
        size: (width, height), pixels.
        scale: focal ratio and size of the locality box, as far as which the ground is looked at.
    """

    def __init__(self, scenes: Scenes, size: tuple[int, int], scale: Scale) -> None:
        self._scenes = scenes
        self._size = size
        self._scale = scale
        self._known: dict[int, Tensor] = {}

    def of_scene(self, scene: int) -> Float[Tensor, "views pixels 2"]:
        """Evidence for each row-major pixel of a scene, given its position in the set; ``ground_evidence``.

        Kept as bytes, on the device of the poses.
        """
        if scene not in self._known:
            first, count = self._scenes.first[scene], self._scenes.count[scene]
            index = torch.arange(first, first + count, device=self._scenes.device)
            found = ground_evidence(
                self._scenes.images(self._size, index) / 2 + 0.5,
                self._scenes.world_from_camera[index],
                self._scale.focal_ratio,
                1.2 * self._scale.obj_scale,
            )
            self._known[scene] = (found * 255).round().byte().flatten(1, 2)
        return self._known[scene].float() / 255


@torch.no_grad()
def ground_evidence(
    images: Float[Tensor, "views 3 height width"],
    world_from_camera: Float[Tensor, "views 4 4"],
    focal_ratio: tuple[float, float],
    extent: float,
) -> Float[Tensor, "views height width 2"]:
    """Evidence in [0, 1], for each pixel, that it shows the ground z = 0, and that it shows something above.

    Args:
        images: views of one scene, in [0, 1].
        world_from_camera: their poses, OpenCV axes, world units.
        focal_ratio: (fx / width, fy / height).
        extent: the ground is looked at where |x| and |y| are at most this, world units.
    Returns:
        (ground, raised). Both are 0 beyond the extent and where too few other views see the point: ground
        needs two of them, raised ``VIEWS``.
    """
    views, _, height, width = images.shape
    origins, directions = world_rays(
        camera_directions(focal_ratio, width, height, images.device).flatten(0, 1), world_from_camera
    )
    falling = directions[..., 2].clamp(max=-1e-3)
    points = origins - directions * (origins[..., 2] / falling)[..., None]
    on_ground = (directions[..., 2] < -1e-3) & (points[..., :2].abs() <= extent).all(-1)
    soft = _blurred(images)
    camera_from_world = torch.linalg.inv(world_from_camera)
    count = min(views - 1, MOST_VIEWS)
    differences = torch.full((views, max(count, 2), height, width), torch.inf, device=images.device)
    for view in range(views):
        for place in range(count):
            # Evenly spread over the others, which often follow each other around the scene; not beginning
            # with the neighbour, which sees nearly the same of everything.
            other = (view + 1 + (2 * place + 1) * (views - 1) // (2 * count)) % views
            seen, visible = _look_up(soft[other], points[view], camera_from_world[other], focal_ratio)
            apart = (seen.unflatten(1, (height, width)) - soft[view]).abs().mean(0)
            # Over three by three pixels: a single colour agrees by chance too often.
            apart = F.avg_pool2d(apart[None], 3, 1, 1, count_include_pad=False)[0]
            differences[view, place] = apart.masked_fill(~visible.unflatten(0, (height, width)), torch.inf)
    ordered = differences.sort(dim=1).values
    seen_by = differences.isfinite().sum(1)
    raised = ((ordered[:, 0].clamp(max=1) - DIFFERS) / SHARPLY).sigmoid() * (seen_by >= VIEWS)
    # The best view may agree by chance; in the others the point may be hidden. The second best decides.
    agrees = ((AGREES - ordered[:, 1]) / SOFTLY).sigmoid()
    mean = F.avg_pool2d(soft, 5, 1, 2, count_include_pad=False)
    square = F.avg_pool2d(soft.square(), 5, 1, 2, count_include_pad=False)
    variance = (square - mean.square()).clamp(min=0).mean(1)
    contrast = variance / (variance + CONTRAST**2)
    return torch.stack([agrees * contrast, raised], -1) * on_ground.unflatten(1, (height, width))[..., None]


def _blurred(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views 3 height width"]:
    """Blurred by a binomial of three pixels, so that views need not agree about the finest pattern."""
    line = images.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _look_up(
    image: Float[Tensor, "3 height width"],
    points: Float[Tensor, "points 3"],
    camera_from_world: Float[Tensor, "4 4"],
    focal_ratio: tuple[float, float],
) -> tuple[Float[Tensor, "3 points"], Bool[Tensor, "points"]]:
    """Colours that world points project to, and whether they lie in the picture."""
    x, y, depth = (points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]).unbind(-1)
    ahead = depth.clamp(min=0.1)
    # From -1 at the picture's left or upper edge to 1 at the other, which is what grid_sample expects.
    grid = torch.stack([2 * focal_ratio[0] * x / ahead, 2 * focal_ratio[1] * y / ahead], dim=-1)
    found = F.grid_sample(image[None], grid[None, None], align_corners=False, padding_mode="border")
    return found[0, :, 0], (grid.abs() < 1).all(-1) & (depth > 0.1)
