import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objnerf.dataset import cameras

EXAMPLE = np.array(
    [
        [0.87944, -0.30801, 0.36292, -4.49662],
        [-0.47601, -0.56906, 0.67051, -8.30771],
        [0.0, -0.76243, -0.64707, 8.01728],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@st.composite
def camera_poses(draw):
    """A camera on a shell that looks near the origin."""
    azimuth = draw(st.floats(0, 2 * np.pi))
    elevation = np.radians(draw(st.floats(5, 80)))
    radius = draw(st.floats(2, 30))
    target = np.array(draw(st.tuples(*[st.floats(-0.5, 0.5)] * 3)))
    around = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(elevation)
    return cameras.look_at(radius * np.array([*around, np.sin(elevation)]), target)


def test_the_documented_example_is_camera_to_world_in_opencv_axes():
    distance, elevation = cameras.distance_elevation(EXAMPLE)
    assert distance == pytest.approx(12.39, abs=0.005)
    assert elevation == pytest.approx(40.3, abs=0.05)
    # The third column is the viewing direction: from the camera it points at the origin.
    position = EXAMPLE[:3, 3]
    np.testing.assert_allclose(EXAMPLE[:3, 2], -position / np.linalg.norm(position), atol=1e-5)
    # The second column points down: its world z is negative.
    assert EXAMPLE[2, 1] < 0


@given(camera_poses())
def test_look_at_is_a_rotation_that_is_upright(world_from_camera):
    rotation = world_from_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert abs(rotation[2, 0]) < 1e-12  # x is horizontal: no roll
    assert rotation[2, 1] < 0  # y points down


@given(camera_poses())
def test_inverse_and_axis_flip_are_their_own_inverses(world_from_camera):
    np.testing.assert_allclose(cameras.invert(world_from_camera) @ world_from_camera, np.eye(4), atol=1e-10)
    twice = cameras.opencv_from_blender(cameras.opencv_from_blender(world_from_camera))
    np.testing.assert_array_equal(twice, world_from_camera)


def test_blenders_default_camera_looks_down():
    # Blender's identity camera looks along -z with y up; in OpenCV axes z forward is the world's -z
    # and y down is the world's -y.
    pose = cameras.opencv_from_blender(np.eye(4))
    np.testing.assert_array_equal(pose[:3, 2], [0, 0, -1])
    np.testing.assert_array_equal(pose[:3, 1], [0, -1, 0])
    np.testing.assert_array_equal(pose[:3, 0], [1, 0, 0])


@given(camera_poses(), st.integers(0, 2**32 - 1))
def test_unproject_then_project_gives_the_pixels_back(world_from_camera, seed):
    intrinsics = cameras.Intrinsics.from_focal_ratio(cameras.REFERENCE_FOCAL_RATIO, 8, 6)
    depth = np.random.default_rng(seed).uniform(1, 20, (6, 8))
    points = cameras.unproject(depth, intrinsics, world_from_camera)
    pixels, depth_again = cameras.project(points, intrinsics, world_from_camera)
    np.testing.assert_allclose(pixels[..., 0], np.tile(np.arange(8), (6, 1)), atol=1e-7)
    np.testing.assert_allclose(pixels[..., 1], np.tile(np.arange(6)[:, None], (1, 8)), atol=1e-7)
    np.testing.assert_allclose(depth_again, depth, rtol=1e-9)


def test_a_projection_worked_by_hand():
    # Camera at (0, -10, 0) looking along +y: right is +x, down is -z. f = (350/320) * 320 = 350 both ways
    # at 320×240. The point (1, 0, 2) is at depth 10, 1 to the right and 2 up:
    # u = 159.5 + 350 * 1/10 = 194.5, v = 119.5 - 350 * 2/10 = 49.5.
    pose = cameras.look_at(np.array([0.0, -10.0, 0.0]), np.zeros(3))
    intrinsics = cameras.Intrinsics.from_focal_ratio(cameras.REFERENCE_FOCAL_RATIO, 320, 240)
    pixel, depth = cameras.project(np.array([1.0, 0.0, 2.0]), intrinsics, pose)
    np.testing.assert_allclose(pixel, [194.5, 49.5])
    assert depth == pytest.approx(10)


def test_the_azimuth_frame_turns_with_the_camera():
    world_from_azimuth = cameras.world_from_azimuth(EXAMPLE)
    np.testing.assert_allclose(world_from_azimuth @ [1, 0, 0], EXAMPLE[:3, 0], atol=1e-4)
    forward = world_from_azimuth @ [0, 1, 0]
    assert forward[2] == 0
    # Parallel to the horizontal part of the viewing direction.
    np.testing.assert_allclose(np.cross(forward[:2], EXAMPLE[:2, 2]), 0, atol=1e-12)
    assert forward[:2] @ EXAMPLE[:2, 2] > 0
    with pytest.raises(ValueError, match="no azimuth"):
        cameras.world_from_azimuth(cameras.opencv_from_blender(np.eye(4)))


@given(st.lists(camera_poses(), min_size=2, max_size=6), st.tuples(*[st.floats(-5, 5)] * 3))
def test_the_focus_moves_with_the_world(poses, shift):
    poses = np.stack(poses)
    moved = poses.copy()
    moved[:, :3, 3] += shift
    directions = poses[:, :3, 2]
    if np.linalg.cond((np.eye(3) - directions[:, :, None] * directions[:, None]).sum(0)) > 1e4:
        return  # nearly parallel axes: the focus is not determined
    np.testing.assert_allclose(
        cameras.lookat_focus(moved), cameras.lookat_focus(poses) + np.array(shift), atol=1e-5
    )


def test_the_focus_of_cameras_that_look_at_one_point_is_that_point():
    target = np.array([1.0, 2.0, 0.5])
    poses = np.stack(
        [cameras.look_at(np.array([9.0 * c, 9.0 * s, 7.0]), target) for c, s in [(1, 0), (0, 1)]]
    )
    np.testing.assert_allclose(cameras.lookat_focus(poses), target, atol=1e-9)
    # Parallel axes leave depth open: the answer stays at the centroid's depth.
    parallel = np.stack([cameras.opencv_from_blender(np.eye(4))] * 2)
    parallel[1, 0, 3] = 2.0
    np.testing.assert_allclose(cameras.lookat_focus(parallel), [1, 0, 0], atol=1e-9)


def test_rays_and_the_box_by_hand():
    # From (-10, 0, 0) along x the cube of half side 4.5 spans 5.5 … 14.5; a ray at y = 5 misses.
    origins = np.array([[-10.0, 0, 0], [-10.0, 5, 0], [-10.0, 4.5, 0]])
    directions = np.tile([1.0, 0, 0], (3, 1))
    enter, leave = cameras.ray_box(origins, directions, 4.5)
    assert (enter[0], leave[0]) == (5.5, 14.5)
    assert enter[1] > leave[1]
    assert (enter[2], leave[2]) == (5.5, 14.5)  # in the plane of a face: still touches the box
    # With the floor raised to 1 the first ray, at z = 0, passes below.
    enter, leave = cameras.ray_box(origins, directions, 4.5, bottom=1.0)
    assert (enter > leave).all()


@pytest.mark.parametrize(("obj_scale", "share"), [(4.5, 0.938), (3.5, 0.789), (2.5, 0.445)])
def test_the_documented_shares_of_pixels_that_meet_the_box(obj_scale, share):
    intrinsics = cameras.Intrinsics.from_focal_ratio(cameras.REFERENCE_FOCAL_RATIO, 64, 48)
    assert cameras.box_pixel_share(intrinsics, EXAMPLE, obj_scale) == pytest.approx(share, abs=0.004)


def test_the_documented_depth_of_the_boxs_near_corner():
    assert cameras.box_depth_range(EXAMPLE, 4.5)[0] == pytest.approx(4.83, abs=0.01)


def test_frustum_corners_project_to_the_images_corners():
    intrinsics = cameras.Intrinsics.from_focal_ratio(cameras.REFERENCE_FOCAL_RATIO, 64, 48)
    corners = cameras.frustum_corners(intrinsics, EXAMPLE, 3.0)
    pixels, depths = cameras.project(corners, intrinsics, EXAMPLE)
    np.testing.assert_allclose(depths, 3.0, atol=1e-3)
    np.testing.assert_allclose(pixels, [[-0.5, -0.5], [63.5, -0.5], [63.5, 47.5], [-0.5, 47.5]], atol=1e-2)


def test_degenerate_cameras_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        cameras.look_at(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="parallel to up"):
        cameras.look_at(np.array([0.0, 0.0, 5.0]), np.zeros(3))
    with pytest.raises(ValueError, match="two views"):
        cameras.lookat_focus(EXAMPLE[None])
