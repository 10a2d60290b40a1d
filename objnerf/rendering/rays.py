"""Rays through pixels, the depths sampled along them, and where they meet the locality box.

Camera axes are OpenCV's (x right, y down, z forward); poses are ``world_from_camera``. Directions have a
camera z-component of 1, so the ray parameter ``t`` *is* the planar z-depth in world units and a point is
``origin + t * direction``.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from objnerf.dataset.cameras import Pinhole


def camera_directions(
    pinhole: tuple[float, float] | Float[Tensor, "*cameras 4"],
    width: int,
    height: int,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*cameras height width 3"]:
    """Directions through the pixel centres, in the camera frame, with z = 1.

    Pixel centres are integers and the principal point is ((width - 1) / 2, (height - 1) / 2), unless the
    pinhole says otherwise.

    Args:
        pinhole: (fx / width, fy / height) of one camera, or ``pinhole_tensor`` of several.
        width: image width in pixels.
        height: image height in pixels.
        device: where the tensor lives.
    Returns:
        Row-major directions: ``[v, u]`` is the ray of the pixel in row v, column u.
    """
    if isinstance(pinhole, Tensor):
        pixels = torch.arange(width * height, device=pinhole.device)
        found = pixel_directions(pinhole[..., None, :], pixels, width, height)
        return found.unflatten(-2, (height, width))
    focal_ratio = pinhole
    columns = torch.arange(width, device=device, dtype=torch.float32)
    rows = torch.arange(height, device=device, dtype=torch.float32)
    x = (columns - (width - 1) / 2) / (focal_ratio[0] * width)
    y = (rows - (height - 1) / 2) / (focal_ratio[1] * height)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def pinhole_tensor(pinholes: Sequence[Pinhole], device: torch.device | str | None = None) -> Tensor:
    """Pinholes as numbers, (cameras, 4): fx / width, fy / height, and ``principal_offset`` of each."""
    return torch.tensor(
        [[*pinhole.focal_ratio, *pinhole.principal_offset] for pinhole in pinholes],
        dtype=torch.float32,
        device=device,
    )


def pixel_directions(
    pinholes: Float[Tensor, "*#rays 4"], pixels: Int[Tensor, "*#rays"], width: int, height: int
) -> Float[Tensor, "*rays 3"]:
    """Directions through single pixels of cameras that differ, in each one's frame, with z = 1.

    Args:
        pinholes: each ray's camera, as ``pinhole_tensor`` has it.
        pixels: row-major positions in images of ``width`` × ``height``.
    """
    fx, fy, offset_x, offset_y = pinholes.unbind(-1)
    x = ((pixels % width - (width - 1) / 2) / width - offset_x) / fx
    y = ((torch.div(pixels, width, rounding_mode="floor") - (height - 1) / 2) / height - offset_y) / fy
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def raster_coordinates(pixels: Int[Tensor, "*pixels"], width: int, height: int) -> Float[Tensor, "*pixels 2"]:
    """Where the centres of row-major pixels are seen, as ``image_coordinates`` says it.

    Args:
        pixels: row-major positions in images of ``width`` × ``height``.
    """
    columns, rows = pixels % width, torch.div(pixels, width, rounding_mode="floor")
    return torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)


def image_coordinates(
    in_camera: Float[Tensor, "*points 3"],
    pinhole: tuple[float, float] | Float[Tensor, "*#points 4"],
    nearest: float,
) -> Float[Tensor, "*points 2"]:
    """Where points are seen, from -1 at an image's left or upper edge to 1 at the other.

    Args:
        in_camera: camera frame, OpenCV axes.
        pinhole: as for ``camera_directions``.
        nearest: points that are nearer, or behind the camera, are taken to have this depth.
    """
    x, y, depth = in_camera.unbind(-1)
    ahead = depth.clamp(min=nearest)
    if not isinstance(pinhole, Tensor):
        return torch.stack([2 * pinhole[0] * x / ahead, 2 * pinhole[1] * y / ahead], dim=-1)
    fx, fy, offset_x, offset_y = pinhole.unbind(-1)
    return torch.stack([2 * (fx * x / ahead + offset_x), 2 * (fy * y / ahead + offset_y)], dim=-1)


def world_rays(
    directions: Float[Tensor, "*#batch rays 3"], world_from_camera: Float[Tensor, "*batch 4 4"]
) -> tuple[Float[Tensor, "*batch rays 3"], Float[Tensor, "*batch rays 3"]]:
    """Origins and directions in the world of rays given in the camera frame.

    Args:
        directions: camera-frame directions with z = 1; broadcast over the leading axes of the poses.
        world_from_camera: camera-to-world poses, OpenCV axes.
    Returns:
        (origins, directions), world units; the directions keep their camera z-depth of 1.
    """
    rotated = directions @ world_from_camera[..., :3, :3].transpose(-1, -2)
    origins = world_from_camera[..., None, :3, 3].expand(rotated.shape)
    return origins, rotated


def uniform_depths(
    near: float, far: float, samples: int, device: torch.device | str | None = None
) -> Float[Tensor, " samples"]:
    """Evenly spaced planar depths from near to far, both included: uORF's sampling."""
    return torch.linspace(near, far, samples, device=device)


def stratified_depths(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*rays samples"]:
    """One planar depth drawn uniformly from each of ``samples`` equal bins between near and far.

    Args:
        near: start of each ray's interval, world units.
        far: end of each ray's interval; where it lies before ``near`` the depths all equal ``near``.
        samples: how many bins.
        generator: source of the jitter, on the tensors' device.
    Returns:
        Depths in ascending order.
    """
    jitter = torch.rand((*near.shape, samples), generator=generator, device=near.device, dtype=near.dtype)
    fractions = (torch.arange(samples, device=near.device, dtype=near.dtype) + jitter) / samples
    return near[..., None] + (far - near).clamp(min=0)[..., None] * fractions


def points_on_rays(
    origins: Float[Tensor, "*rays 3"],
    directions: Float[Tensor, "*rays 3"],
    depths: Float[Tensor, "*rays samples"],
) -> Float[Tensor, "*rays samples 3"]:
    """World points at the given planar depths."""
    return origins[..., None, :] + depths[..., None] * directions[..., None, :]


def ray_box(
    origins: Float[Tensor, "*rays 3"],
    directions: Float[Tensor, "*rays 3"],
    half: float,
    bottom: float | None = None,
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"]]:
    """Interval of planar depth in which rays lie inside a cube centred on the origin.

    Args:
        origins: ray origins, in the frame whose axes the box follows.
        directions: ray directions with camera z-depth 1.
        half: half side of the box, world units.
        bottom: lowest z of the box; ``-half`` when None.
    Returns:
        (t_near, t_far). A ray that misses the box has t_near > t_far.
    """
    low = origins.new_tensor([-half, -half, -half if bottom is None else bottom])
    high = origins.new_tensor([half, half, half])
    # A zero component divides to ±inf, which the minimum and maximum below treat rightly unless the
    # origin lies exactly in a slab's plane (0 / 0); the nudge keeps that case finite.
    safe = torch.where(directions == 0, torch.full_like(directions, 1e-12), directions)
    first = (low - origins) / safe
    second = (high - origins) / safe
    t_near = torch.minimum(first, second).amax(dim=-1)
    t_far = torch.maximum(first, second).amin(dim=-1)
    return t_near, t_far


def inside_box(points: Float[Tensor, "*points 3"], half: float) -> Bool[Tensor, "*points"]:
    """Which points lie in the closed cube of half side ``half`` centred on the origin."""
    return (points.abs() <= half).all(dim=-1)


def azimuth_rotation(world_from_camera: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about world z that takes a camera's azimuth frame to the world.

    The azimuth frame's x is the camera's right, its y the camera's horizontal forward, its z up.

    Args:
        world_from_camera: camera-to-world poses, OpenCV axes, not looking straight up or down (nan then).
    """
    forward = world_from_camera[..., :2, 2]
    x, y = (forward / forward.norm(dim=-1, keepdim=True)).unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([y, x, zero, -x, y, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
