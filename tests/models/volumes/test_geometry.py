"""Voxels, pixels, ground and walls: where they correspond."""

import math

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import Intrinsics, look_at
from objnerf.dataset.cameras import project as project_in_numpy
from objnerf.models.volumes.background import source_image
from objnerf.models.volumes.grid import Grid, ground_depth, in_view, look_up, project
from objnerf.models.volumes.layout import (
    DIRECTIONS,
    NEAREST,
    STEPS,
    STRIDE,
    behind_wall,
    distance_at,
    mean_distances,
    wall_depth,
)
from objnerf.models.volumes.lifting import ground_map
from objnerf.models.volumes.maps import fill_in
from objnerf.rendering.rays import camera_directions, world_rays

GRID = Grid(half=2.0, height=1.5, cells=8, layers=3)
PINHOLE = torch.tensor([[1.1, 1.5, 0.0, 0.0]])


def _pose(x: float, y: float, z: float) -> torch.Tensor:
    return torch.tensor(look_at(np.array([x, y, z]), np.zeros(3)), dtype=torch.float32)[None]


def test_a_voxels_centre_holds_its_value():
    """Voxel (layer 1, row 2, column 5): y = -2 + 2.5 · 0.5, x = -2 + 5.5 · 0.5, z = 1.5 · 0.5."""
    volume = torch.zeros(1, 1, 3, 8, 8)
    volume[0, 0, 1, 2, 5] = 1.0
    points = GRID.centers()[None]
    assert torch.allclose(GRID.sample(volume, points)[0, 0], volume.flatten(), atol=1e-6)
    index = int(GRID.sample(volume, points)[0, 0].argmax())
    assert points[0, index].tolist() == pytest.approx([0.75, -0.75, 0.75])


def test_columns_are_the_voxels_seen_from_above():
    centers = GRID.centers().view(3, 8, 8, 3)
    assert torch.equal(centers[2, ..., :2], GRID.columns())
    maps = torch.arange(64.0).view(1, 1, 8, 8)
    found = GRID.sample_columns(maps, centers[0].view(1, -1, 3))[0, 0]
    assert torch.allclose(found, torch.arange(64.0), atol=1e-4)


def test_a_ray_meets_the_grid_between_its_faces():
    """From (0, -4, 1) along +y it enters at y = -2 and leaves at y = 2; from above it misses beside."""
    origin, along = torch.tensor([0.0, -4.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    enter, leave = GRID.intersect(origin, along)
    assert (enter.item(), leave.item()) == pytest.approx((2.0, 6.0))
    enter, leave = GRID.intersect(torch.tensor([3.0, 0.0, 5.0]), torch.tensor([0.0, 0.0, -1.0]))
    assert enter > leave


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.05, -0.02)])
def test_points_project_as_the_dataset_says(offset: tuple[float, float]):
    pose = _pose(6.0, -5.0, 4.0)
    points = torch.tensor([[0.3, -0.2, 0.5], [1.0, 1.0, 0.0], [-1.0, 0.4, 1.2]])
    where, depth = project(points[None], pose, torch.tensor([[1.1, 1.5, *offset]]))
    width, height = 64, 48
    intrinsics = Intrinsics(width, height, 1.1 * width, 1.5 * height, offset[0] * width, offset[1] * height)
    for point, at, ahead in zip(points, where[0], depth[0], strict=True):
        pixel, expected = project_in_numpy(point.double().numpy(), intrinsics, pose[0].double().numpy())
        assert ahead.item() == pytest.approx(float(expected), abs=1e-5)
        column = (pixel[0] + 0.5) / width * 2 - 1
        row = (pixel[1] + 0.5) / height * 2 - 1
        assert at.tolist() == pytest.approx([column, row], abs=1e-5)


def test_a_pixels_ground_point_is_seen_in_that_pixel():
    """The homography of a view onto itself is the identity."""
    pose = _pose(6.0, -5.0, 5.0)
    origins, directions = world_rays(camera_directions(PINHOLE, 16, 12).flatten(1, 2), pose)
    depth = ground_depth(origins, directions, 1.0, 100.0)
    points = origins + depth[..., None] * directions
    assert points[..., 2].abs().max() < 1e-4
    image = torch.rand(1, 3, 12, 16)
    where, ahead = project(points, pose, PINHOLE)
    assert in_view(where, ahead).all()
    assert torch.allclose(look_up(image, where)[0], image[0].flatten(1).T, atol=1e-4)


def test_rays_that_rise_meet_no_ground():
    up = torch.tensor([[0.0, 1.0, 0.2], [0.0, 1.0, -0.5]])
    depth = ground_depth(torch.tensor([[0.0, 0.0, 2.0]] * 2), up, 1.0, 20.0)
    assert depth.tolist() == pytest.approx([20.0, 4.0])


def test_the_ground_map_points_at_the_ground():
    """Near by it is the ground point over the reach; the horizon is squashed to a length of two."""
    pose = _pose(6.0, -5.0, 5.0)
    found = ground_map(pose, PINHOLE, torch.eye(3)[None], (16, 12), 50.0)
    origins, directions = world_rays(camera_directions(PINHOLE, 16, 12).flatten(1, 2), pose)
    depth = ground_depth(origins, directions, 1.0, 1000.0)
    points = (origins + depth[..., None] * directions)[..., :2] / 50
    close = points.norm(dim=-1) < 1
    assert close.any()
    assert torch.allclose(found.flatten(2).transpose(1, 2)[close], points[close], atol=1e-4)
    assert found.norm(dim=1).max() < 2


@pytest.mark.parametrize("radius", [4.0, 7.5])
def test_a_round_room_is_left_where_the_circle_is_crossed(radius: float):
    """x² + y² = r² along the ray: the greater root; the origin of the ray may lie anywhere inside."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand(1, 50, 3, generator=generator) * 4 - 2
    directions = torch.randn(1, 50, 3, generator=generator)
    layout = torch.full((1, DIRECTIONS), radius)
    found = wall_depth(layout, origins, directions, 0.0, 60.0)
    a = directions[..., :2].square().sum(-1)
    b = (origins[..., :2] * directions[..., :2]).sum(-1)
    c = origins[..., :2].square().sum(-1) - radius**2
    expected = (-b + (b * b - a * c).sqrt()) / a
    reached = expected < 55
    assert reached.sum() > 30
    assert torch.allclose(found[reached], expected[reached], rtol=0.03, atol=0.02)


def test_a_wall_that_is_moved_moves_its_depth():
    """One unit further out along +y is one unit of depth more for a ray along +y."""
    layout = torch.full((1, DIRECTIONS), 5.0, requires_grad=True)
    origins = torch.tensor([[[0.0, -1.0, 1.0], [0.0, 1.0, 1.0]]])
    directions = torch.tensor([[[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]])
    depth = wall_depth(layout, origins, directions, 0.0, 40.0)
    assert depth[0].tolist() == pytest.approx([6.0, 6.0], abs=1e-3)
    (slope,) = torch.autograd.grad(depth[0, 0], layout)
    assert slope.sum().item() == pytest.approx(1.0, abs=1e-3)
    assert slope[0, DIRECTIONS // 4].item() == pytest.approx(1.0, abs=1e-3)


def test_distances_are_interpolated_around_the_circle():
    layout = torch.arange(float(DIRECTIONS))[None]
    step = 2 * math.pi / DIRECTIONS
    turns = torch.tensor([0.0, 1.5 * step, -0.5 * step])
    points = torch.stack([turns.cos(), turns.sin()], dim=-1)[None] * 3
    found = distance_at(layout, points)[0].tolist()
    assert found == pytest.approx([0.0, 1.5, (DIRECTIONS - 1) / 2], abs=1e-3)


def _wall_at(step: int) -> torch.Tensor:
    """A round room whose wall has one candidate's distance; the last one is none."""
    return torch.eye(STEPS + 1)[step].expand(1, DIRECTIONS, -1).contiguous()


def test_points_lie_behind_a_wall_from_its_distance_on():
    """A candidate stands for half a stride on both sides, so at its own distance it is as likely as not."""
    scale, step = 3.0, 5
    radius = scale * NEAREST * math.exp(STRIDE * step)
    assert mean_distances(_wall_at(step), scale)[0, 0].item() == pytest.approx(radius, rel=1e-3)
    turns = torch.linspace(0, 2 * math.pi, 9)
    circle = torch.stack([turns.cos(), turns.sin()], dim=-1)[None]
    quarter = math.exp(-STRIDE / 4)
    for factor, expected in ((0, 0.0), (0.5, 0.0), (quarter, 0.25), (1, 0.5), (1.2, 1.0), (1e6, 1.0)):
        found = behind_wall(_wall_at(step), circle * (radius * factor), scale)
        assert found[0].tolist() == pytest.approx([expected] * 9, abs=1e-3)
    assert behind_wall(_wall_at(STEPS), circle * 1e6, scale).abs().max() < 1e-6


def test_a_wall_that_is_thought_too_far_away_can_be_brought_back():
    """A ray that shows a wall where none is expected must tell the network so: the gradient is not zero."""
    logits = torch.zeros(1, DIRECTIONS, STEPS + 1)
    logits[..., STEPS - 1] = 8
    logits.requires_grad_(True)
    behind = behind_wall(logits.softmax(-1), torch.tensor([[[6.0, 0.0]]]), 3.0)
    assert behind.item() < 0.01
    (slope,) = torch.autograd.grad(behind.log().sum(), logits)
    nearer = 3.0 * NEAREST * (STRIDE * torch.arange(STEPS)).exp() < 5.5
    assert (slope[0, 0, :STEPS][nearer] > 0.05).all()
    assert slope[0, 0, STEPS - 1] < -0.5


def test_what_is_hidden_is_filled_from_around_it():
    """A red square on grey, hidden: the fill is grey. What is visible stays as it is."""
    image = torch.full((1, 3, 32, 32), 0.5)
    image[..., 12:20, 12:20] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    hidden = torch.zeros(1, 1, 32, 32)
    hidden[..., 11:21, 11:21] = 1.0
    filled = fill_in(image, 1 - hidden)
    assert torch.allclose(filled, torch.full_like(filled, 0.5), atol=0.02)
    source = source_image(image, hidden)
    assert torch.equal(source[:, :3], image)
    assert torch.equal(source[:, 6:7], 1 - hidden)
    assert torch.equal(source[:, 7:], 1 - hidden)


def test_no_place_is_filled_with_the_fringe_of_an_object():
    """What may show a little of the red square is seen where it is, but fills nothing."""
    image = torch.full((1, 3, 32, 32), 0.5)
    image[..., 11:21, 11:21] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    hidden, around = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    hidden[..., 13:19, 13:19] = 1.0
    around[..., 10:22, 10:22] = 1.0
    source = source_image(image, hidden, around)
    assert torch.allclose(source[:, 3:6], torch.full_like(image, 0.5), atol=0.02)
    assert torch.equal(source[:, 6:7], 1 - hidden)
    assert torch.equal(source[:, 7:], 1 - around)


def test_an_image_that_is_all_hidden_is_filled_with_something():
    assert torch.isfinite(fill_in(torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16))).all()
