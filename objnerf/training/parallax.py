"""What stands on the ground and what is the ground: plane parallax, from pictures and poses alone.

A point of the ground z = 0 is seen by every camera where its homography says; what stands above the ground is
not. So the picture around a pixel is compared with other views of the scene at the point in which its ray
meets the ground (plane + parallax: Sawhney 1994; Irani and Anandan 1996).

- Where none of at least three views agrees, something *raised* is seen, or a place that it hides from all
  the others.
- Where three agree, the *ground* is seen. But an even surface agrees with itself wherever one looks, so this
  is weighted by the contrast around the pixel.

That finds the parts of objects which have other colours than the ground behind them. What is near by and has
the same colour belongs to them, and the views must agree on where in space something is: both are used to
find the rest (a bilateral filter, and a soft visual hull). It is still no mask, but evidence to learn from,
for a network that then tells both from one picture.
"""

from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from objnerf.rendering.rays import camera_directions, picture_coordinates, world_rays
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

REACH = 0.16
"""How far the evidence is spread, as a share of the picture's width."""

SAME_COLOUR = 0.05
"""Standard deviation of the colours, in [0, 1], of what is taken for one thing there."""

WARY = 10.0
"""How much more a raised pixel counts than one of the ground, in what is told of those near by: that the
ground is seen may be a chance, the contrary hardly."""

UNSURE = 0.05
"""Evidence of a neighbourhood, from 0 to 1, that counts as much as none at all."""

OWN = 0.5
"""What a pixel's own view counts beside all views together."""

IS_RAISED, SURELY = 0.35, 0.15
"""Score, from -1 for the ground to 1, at which half of the pixels show objects, and the logistic's width.

Counted in rooms, in CLEVR-567 and in another program's blocks, which agree: more is ground than objects."""

TOLD = 0.3
"""Distance of a score from 0 at which it counts fully: 0 is what nothing is known of."""

BEYOND = 1.2
"""How far the ground is looked at, in half sides of the box: rays through its upper part end outside."""

HULL_CELLS = 49
"""Cells along each side of the box that views are brought together in; a third as many upwards."""

HULL_HEIGHTS = (0.04, 0.6)
"""Bottom and top of that box, as shares of half its side."""


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
            pinholes = self._scenes.pinholes
            found = ground_evidence(
                self._scenes.images(self._size, index) / 2 + 0.5,
                self._scenes.world_from_camera[index],
                self._scale.focal_ratio if pinholes is None else pinholes[index],
                self._scale.obj_scale,
            )
            self._known[scene] = (found * 255).round().byte().flatten(1, 2)
        return self._known[scene].float() / 255


@torch.no_grad()
def ground_evidence(
    images: Float[Tensor, "views 3 height width"],
    world_from_camera: Float[Tensor, "views 4 4"],
    pinhole: tuple[float, float] | Float[Tensor, "views 4"],
    half: float,
) -> Float[Tensor, "views height width 2"]:
    """Evidence in [0, 1], for each pixel, that it shows the ground z = 0, and that it shows something above.

    It is worked out in three steps: agreement at the ground point of each pixel; the same for those of one
    colour near by (``_neighbourhood``); what all views together say of points above the ground
    (``_through_space``), and once more those near by.

    Args:
        images: views of one scene, in [0, 1].
        world_from_camera: their poses, OpenCV axes, world units.
        pinhole: (fx / width, fy / height) of all views, or ``pinhole_tensor`` of each.
        half: half side of the box that objects are in, world units.
    Returns:
        (ground, raised), both small where nothing can be told. At first ground needs two other views that
        see a point, raised ``VIEWS``. What lies outside of the box counts as ground: no object is there.
    """
    views, _, height, width = images.shape
    origins, directions = world_rays(
        camera_directions(pinhole, width, height, images.device).flatten(-3, -2), world_from_camera
    )
    falling = directions[..., 2].clamp(max=-1e-3)
    points = origins - directions * (origins[..., 2] / falling)[..., None]
    on_ground = (directions[..., 2] < -1e-3) & (points[..., :2].abs() <= BEYOND * half).all(-1)
    soft = _blurred(images)
    camera_from_world = torch.linalg.inv(world_from_camera)
    count = min(views - 1, MOST_VIEWS)
    differences = torch.full((views, max(count, 2), height, width), torch.inf, device=images.device)
    for view in range(views):
        for place in range(count):
            # Evenly spread over the others, which often follow each other around the scene; not beginning
            # with the neighbour, which sees nearly the same of everything.
            other = (view + 1 + (2 * place + 1) * (views - 1) // (2 * count)) % views
            seen, visible = _look_up(
                soft[other], points[view], camera_from_world[other], _of_view(pinhole, other)
            )
            apart = (seen.unflatten(1, (height, width)) - soft[view]).abs().mean(0)
            # Over three by three pixels: a single colour agrees by chance too often.
            apart = F.avg_pool2d(apart[None], 3, 1, 1, count_include_pad=False)[0]
            differences[view, place] = apart.masked_fill(~visible.unflatten(0, (height, width)), torch.inf)
    ordered = differences.sort(dim=1).values
    seen_by = differences.isfinite().sum(1)
    raised = ((ordered[:, 0].clamp(max=1) - DIFFERS) / SHARPLY).sigmoid() * (seen_by >= VIEWS)
    # Two views may agree by chance, at the foot of an object or on its even sides: the third best decides
    # where there is one.
    last = ordered[:, min(2, ordered.shape[1] - 1)]
    last = torch.where(last.isfinite(), last, ordered[:, 1])
    agrees = ((AGREES - last) / SOFTLY).sigmoid()
    mean = F.avg_pool2d(soft, 5, 1, 2, count_include_pad=False)
    square = F.avg_pool2d(soft.square(), 5, 1, 2, count_include_pad=False)
    variance = (square - mean.square()).clamp(min=0).mean(1)
    contrast = variance / (variance + CONTRAST**2)
    told = torch.stack([agrees * contrast, raised], dim=1) * on_ground.unflatten(1, (height, width))[:, None]
    ground, raised = _neighbourhood(told, images).unbind(1)
    raised, ground = raised / (raised + ground + UNSURE), ground / (ground + WARY * raised + UNSURE)
    score = (raised - ground) / (raised + ground + 2 * UNSURE)
    everywhere = _through_space(score, world_from_camera, pinhole, half)
    score = _neighbourhood(((everywhere + OWN * score) / (1 + OWN))[:, None], images)[:, 0]
    likely = ((score - IS_RAISED) / SURELY).sigmoid()
    told = (score.abs() / TOLD).clamp(max=1)
    return torch.stack([told * (1 - likely), told * likely], dim=-1)


def _neighbourhood(
    values: Float[Tensor, "views channels height width"], images: Float[Tensor, "views 3 height width"]
) -> Float[Tensor, "views channels height width"]:
    """Means over the pixels near by that have the same colour.

    Each pixel asks the others in a disc of ``REACH`` of the picture's width, weighted by Gaussians of their
    colours' difference and of their distance; every second one suffices, and in larger pictures fewer.
    """
    height, width = images.shape[-2:]
    reach = max(2, round(REACH * width))
    stride = max(2, reach // 5)
    # What lies outside of the picture has a colour like none inside.
    colours = F.pad(images, (reach,) * 4, value=9.0)
    padded = F.pad(values, (reach,) * 4)
    sums, total = torch.zeros_like(values), torch.zeros_like(values[:, :1])
    offsets = range(-(reach // stride) * stride, reach + 1, stride)
    for down, right in product(offsets, offsets):
        if down**2 + right**2 > reach**2:
            continue
        rows, columns = (
            slice(reach + down, reach + down + height),
            slice(reach + right, reach + right + width),
        )
        apart = (colours[..., rows, columns] - images).square().sum(1, keepdim=True) / SAME_COLOUR**2
        alike = torch.exp(-0.5 * (apart + (down**2 + right**2) / (reach / 2) ** 2))
        sums += alike * padded[..., rows, columns]
        total += alike
    return sums / total


def _through_space(
    score: Float[Tensor, "views height width"],
    world_from_camera: Float[Tensor, "views 4 4"],
    pinhole: tuple[float, float] | Float[Tensor, "views 4"],
    half: float,
) -> Float[Tensor, "views height width"]:
    """The best that can be said, by all views together, of any point above the ground that a pixel sees.

    A soft visual hull: what a point is worth is the mean score of the pixels that it projects to, what a
    pixel is worth that of the best point on its ray.

    Args:
        score: in [-1, 1].
        world_from_camera: poses of the views.
        pinhole: (fx / width, fy / height) of all views, or ``pinhole_tensor`` of each.
        half: half side of the box over the ground that is looked at, world units.
    Returns:
        In [-1, 1]; -1 where a ray misses the box, 0 where too few views see what it passes.
    """
    views, height, width = score.shape
    device = score.device
    side = torch.linspace(-half, half, HULL_CELLS, device=device)
    lowest, highest = half * HULL_HEIGHTS[0], half * HULL_HEIGHTS[1]
    up = torch.linspace(lowest, highest, HULL_CELLS // 3, device=device)
    points = torch.stack(torch.meshgrid(up, side, side, indexing="ij"), dim=-1).flip(-1)
    camera_from_world = torch.linalg.inv(world_from_camera)
    total, seen_by = torch.zeros_like(points[..., 0]), torch.zeros_like(points[..., 0])
    for view in range(views):
        found, visible = _look_up(
            score[view][None], points.flatten(0, 2), camera_from_world[view], _of_view(pinhole, view)
        )
        total += (found[0] * visible).view_as(total)
        seen_by += visible.view_as(total)
    worth = torch.where(seen_by >= min(VIEWS, views), total / seen_by.clamp(min=1), 0.0)

    origins, directions = world_rays(
        camera_directions(pinhole, width, height, device).flatten(-3, -2), world_from_camera
    )
    falling = directions[..., 2:].clamp(max=-1e-3)
    # From where a ray comes under the top to where it meets the bottom.
    first, last = (highest - origins[..., 2:]) / falling, (lowest - origins[..., 2:]) / falling
    share = torch.linspace(0, 1, HULL_CELLS, device=device)
    depth = first.clamp(min=0) + (last - first.clamp(min=0)) * share
    bests = []
    for view in range(views):  # one after the other, for there may be many
        along = origins[view][:, None] + directions[view][:, None] * depth[view][..., None]
        grid = along / half
        grid[..., 2] = 2 * (along[..., 2] - lowest) / (highest - lowest) - 1
        # Shifted, so that outside of the box there is -1.
        found = F.grid_sample(worth[None, None] + 1, grid[None, None], align_corners=True) - 1
        bests.append(found[0, 0, 0].amax(-1))
    best = torch.stack(bests)
    looks_down = directions[..., 2] < -1e-3
    return torch.where(looks_down, best, -1.0).unflatten(1, (height, width))


def _blurred(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views 3 height width"]:
    """Blurred by a binomial of three pixels, so that views need not agree about the finest pattern."""
    line = images.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _look_up(
    image: Float[Tensor, "channels height width"],
    points: Float[Tensor, "points 3"],
    camera_from_world: Float[Tensor, "4 4"],
    pinhole: tuple[float, float] | Float[Tensor, "4"],
) -> tuple[Float[Tensor, "channels points"], Bool[Tensor, "points"]]:
    """Colours that world points project to, and whether they lie in the picture."""
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    grid = picture_coordinates(in_camera, pinhole, 0.1)
    found = F.grid_sample(image[None], grid[None, None], align_corners=False, padding_mode="border")
    return found[0, :, 0], (grid.abs() < 1).all(-1) & (in_camera[:, 2] > 0.1)


def _of_view(
    pinhole: tuple[float, float] | Float[Tensor, "views 4"], view: int
) -> tuple[float, float] | Float[Tensor, "4"]:
    return pinhole[view] if isinstance(pinhole, Tensor) else pinhole
