"""Rays and depths: agreement with the numpy core, boxes, jitter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from objnerf.dataset import cameras
from objnerf.rendering import rays


def _pose(eye: tuple[float, float, float], target: tuple[float, float, float] = (0, 0, 0)) -> torch.Tensor:
    matrix = cameras.look_at(np.array(eye, dtype=float), np.array(target, dtype=float))
    return torch.from_numpy(matrix).float()


def test_pixel_centres():
    """4 × 2 pixels, fx = 2·4 = 8, fy = 1·2 = 2: corner (0, 0) is ((0 - 1.5)/8, (0 - 0.5)/2, 1)."""
    directions = rays.camera_directions((2.0, 1.0), 4, 2)
    assert directions.shape == (2, 4, 3)
    assert directions[0, 0].tolist() == [-1.5 / 8, -0.25, 1]
    assert directions[1, 3].tolist() == [1.5 / 8, 0.25, 1]
    torch.testing.assert_close(directions.mean(dim=(0, 1)), torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("eye", [(3.0, -7.0, 5.0), (-6.0, 1.0, 9.0)])
def test_agrees_with_the_numpy_core(eye: tuple[float, float, float]):
    intrinsics = cameras.Intrinsics.from_focal_ratio((1.1, 1.4), 6, 5)
    pose = _pose(eye)
    origin, expected = cameras.world_rays(intrinsics, pose.numpy().astype(float))
    origins, directions = rays.world_rays(rays.camera_directions((1.1, 1.4), 6, 5).flatten(0, 1), pose)
    np.testing.assert_allclose(directions.unflatten(0, (5, 6)), expected, atol=1e-5)
    np.testing.assert_allclose(origins[7], origin, atol=1e-6)
    np.testing.assert_allclose(
        rays.azimuth_rotation(pose), cameras.world_from_azimuth(pose.numpy().astype(float)), atol=1e-6
    )


pinholes = st.builds(
    cameras.Pinhole,
    st.tuples(st.floats(0.3, 4.0), st.floats(0.3, 4.0)),
    st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
)


@given(st.lists(pinholes, min_size=1, max_size=3), st.integers(2, 9), st.integers(2, 7))
def test_lenses_of_several_cameras_agree_with_the_numpy_core(
    lenses: list[cameras.Pinhole], width: int, height: int
):
    pinholes = rays.pinhole_tensor(lenses)
    directions = rays.camera_directions(pinholes, width, height)
    expected = np.stack([cameras.camera_rays(lens.at(width, height)) for lens in lenses])
    np.testing.assert_allclose(directions, expected, atol=1e-5)
    # What a ray meets is seen in its pixel: edges at -1 and 1, pixel u's centre at (2 u + 1) / width - 1.
    seen = rays.image_coordinates(5 * directions, pinholes[:, None, None], 0.1)
    columns = (2 * torch.arange(width) + 1) / width - 1
    np.testing.assert_allclose(seen[..., 0], columns.expand(len(lenses), height, width), atol=1e-4)
    rows = ((2 * torch.arange(height) + 1) / height - 1)[:, None]
    np.testing.assert_allclose(seen[..., 1], rows.expand(len(lenses), height, width), atol=1e-4)


def test_points_have_the_planar_depth_asked_for():
    poses = torch.stack([_pose((3, -7, 5)), _pose((-6, 1, 9))])
    origins, directions = rays.world_rays(rays.camera_directions((1.0, 1.0), 3, 3).flatten(0, 1), poses)
    depths = rays.uniform_depths(6.0, 20.0, 4).expand(2, 9, 4)
    points = rays.points_on_rays(origins, directions, depths)
    camera_from_world = torch.linalg.inv(poses)
    seen = torch.einsum("vij,vrsj->vrsi", camera_from_world[:, :3, :3], points)
    seen = seen + camera_from_world[:, None, None, :3, 3]
    torch.testing.assert_close(seen[..., 2], depths, rtol=1e-5, atol=1e-5)


def test_azimuth_frame():
    """Right, horizontal forward and up of the camera become x, y and z."""
    pose = _pose((4, 3, 5))
    azimuth_from_world = rays.azimuth_rotation(pose).T
    torch.testing.assert_close(azimuth_from_world @ pose[:3, 0], torch.tensor([1.0, 0, 0]), rtol=0, atol=1e-6)
    forward = azimuth_from_world @ torch.tensor([-0.8, -0.6, 0])  # from (4, 3) to the origin, length 5
    torch.testing.assert_close(forward, torch.tensor([0, 1.0, 0]), rtol=0, atol=1e-6)


def test_uniform_depths_have_both_ends():
    assert rays.uniform_depths(6.0, 20.0, 8).tolist() == pytest.approx([6, 8, 10, 12, 14, 16, 18, 20])


def test_stratified_depths_stay_in_their_bins():
    near, far = torch.full((5, 7), 2.0), torch.linspace(1, 10, 35).view(5, 7)
    depths = rays.stratified_depths(near, far, 4, torch.Generator().manual_seed(3))
    length = (far - near).clamp(min=0)[..., None]
    edges = near[..., None] + length * torch.arange(5) / 4
    assert (depths >= edges[..., :-1] - 1e-6).all()
    assert (depths <= edges[..., 1:] + 1e-6).all()
    again = rays.stratified_depths(near, far, 4, torch.Generator().manual_seed(3))
    assert torch.equal(depths, again)
    assert not torch.equal(depths, rays.stratified_depths(near, far, 4, torch.Generator().manual_seed(4)))


def test_box_interval_by_hand():
    """From (0, 0, 10) along (0, 0, -2) into a cube of half side 4: z = 4 at t = 3, z = -4 at t = 7."""
    origin, down = torch.tensor([0.0, 0.0, 10.0]), torch.tensor([0.0, 0.0, -2.0])
    assert [t.item() for t in rays.ray_box(origin, down, 4.0)] == [3, 7]
    assert [t.item() for t in rays.ray_box(origin, down, 4.0, bottom=0.0)] == [3, 5]
    aside = torch.tensor([5.0, 0.0, 10.0])
    t_near, t_far = rays.ray_box(aside, down, 4.0)
    assert t_near > t_far


def test_box_interval_agrees_with_the_points_inside():
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand((200, 3), generator=generator) * 16 - 8
    directions = torch.randn((200, 3), generator=generator)
    t_near, t_far = rays.ray_box(origins, directions, 3.0)
    depths = torch.linspace(-30, 30, 500).expand(200, 500)
    inside = rays.inside_box(rays.points_on_rays(origins, directions, depths), 3.0)
    between = (depths >= t_near[:, None]) & (depths <= t_far[:, None])
    boundary = ((depths - t_near[:, None]).abs() < 1e-3) | ((depths - t_far[:, None]).abs() < 1e-3)
    assert ((inside == between) | boundary).all()
    assert 0.01 < inside.float().mean() < 0.5
    expected = cameras.ray_box(origins.double().numpy(), directions.double().numpy(), 3.0)
    hit = (t_near < t_far).numpy()
    np.testing.assert_allclose(t_near.numpy()[hit], expected[0][hit], rtol=1e-3, atol=1e-4)
    assert (hit == (expected[0] < expected[1])).mean() > 0.99


def test_the_box_is_closed():
    points = torch.tensor([[4.0, -4.0, 4.0], [4.0, math.nextafter(4.0, 5.0) + 1e-6, 0.0]])
    assert rays.inside_box(points, 4.0).tolist() == [True, False]
