"""Up, focus and similarity of camera poses move with their world, and nothing else does."""

import numpy as np
import pytest

from objnerf.dataset import rigid
from objnerf.dataset.cameras import look_at


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def random_similarity(rng: np.random.Generator) -> rigid.Similarity:
    return rigid.Similarity(float(np.exp(rng.normal())), random_rotation(rng), rng.normal(0, 20, 3))


def orbit(views: int, arc: float = 360.0, elevation: float = 40.0, distance: float = 12.0) -> np.ndarray:
    azimuth = np.radians(np.arange(views) * arc / views)
    height = np.radians(elevation)
    eyes = distance * np.stack(
        [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.full(views, np.sin(height))],
        axis=1,
    )
    return np.stack([look_at(eye, np.zeros(3)) for eye in eyes])


def rolled(poses: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Cameras turned about their optical axes."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.zeros((len(poses), 4, 4))
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = c, -s, s, c
    turn[:, 2, 2] = turn[:, 3, 3] = 1.0
    return poses @ turn


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


@pytest.mark.parametrize("views", [3, 4, 16])
@pytest.mark.parametrize("arc", [40.0, 360.0])
def test_up_and_focus_move_with_the_world(views: int, arc: float) -> None:
    rng = np.random.default_rng(views)
    poses = orbit(views, arc)
    for _ in range(10):
        world = random_similarity(rng)
        moved = world.apply(poses)
        up = rigid.estimate_up(moved)
        assert angle(up.direction, world.rotation @ [0, 0, 1]) < 0.5
        assert up.roll_degrees < 0.2
        focus = rigid.estimate_focus(moved)
        np.testing.assert_allclose(focus.point, world.shift, atol=1e-6 * (1 + np.abs(world.shift).max()))
        assert focus.ahead == 1.0
        assert focus.is_crossing
        assert focus.distance == pytest.approx(12.0 * world.scale)


def test_up_of_rolled_cameras_is_that_of_the_world_within_its_uncertainty() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        poses = rolled(orbit(24), rng.normal(0, 10, 24))
        up = rigid.estimate_up(poses)
        assert angle(up.direction, np.array([0.0, 0, 1])) < 4.5 * up.uncertainty_degrees
        assert 1.0 < up.uncertainty_degrees < 6.0


def test_cameras_on_their_head_or_on_their_side_do_not_pull_up() -> None:
    rolls = np.zeros(16)
    rolls[[3, 9]] = 180.0
    rolls[[0, 5, 12]] = 90.0
    assert angle(rigid.estimate_up(rolled(orbit(16), rolls)).direction, np.array([0.0, 0, 1])) < 0.1


def test_one_camera_alone_gives_its_own_up() -> None:
    up = rigid.estimate_up(orbit(1, elevation=40.0))
    # It looks down by 40°, and nothing says so.
    assert angle(up.direction, np.array([0.0, 0, 1])) == pytest.approx(40.0, abs=1e-6)
    assert up.uncertainty_degrees > 20.0


def test_ups_that_cancel_are_said_to_be_unknown() -> None:
    pose = np.eye(4)
    upside_down = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert rigid.estimate_up(np.stack([pose, upside_down])).uncertainty_degrees >= 90.0


def test_a_camera_that_looks_elsewhere_does_not_pull_the_focus() -> None:
    poses = orbit(8)
    poses[2] = look_at(poses[2, :3, 3], np.array([9.0, 9.0, 4.0]))
    np.testing.assert_allclose(rigid.estimate_focus(poses).point, 0.0, atol=0.02)


def test_parallel_axes_do_not_cross() -> None:
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = np.arange(5.0)
    assert not rigid.estimate_focus(poses).is_crossing


def test_turn_to_z_is_the_smallest_rotation() -> None:
    rng = np.random.default_rng(1)
    for up in [
        *rng.normal(size=(50, 3)),
        np.array([0.0, 0, -1]),
        np.array([0.0, 0, 2]),
        np.array([0.0, 1, 0]),
    ]:
        turn = rigid.turn_to_z(up)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        np.testing.assert_allclose(turn @ up / np.linalg.norm(up), [0, 0, 1], atol=1e-9)
        assert (np.trace(turn) - 1) / 2 == pytest.approx(np.cos(np.radians(angle(up, np.array([0.0, 0, 1])))))
    # (x, y, z) → (x, -z, y), by hand.
    np.testing.assert_allclose(rigid.turn_to_z(np.array([0.0, 1, 0])), [[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    with pytest.raises(ValueError, match="length 0"):
        rigid.turn_to_z(np.zeros(3))


@pytest.mark.parametrize("views", [1, 2, 3, 20])
def test_a_similarity_is_found_again(views: int) -> None:
    rng = np.random.default_rng(views)
    poses = orbit(views)
    for _ in range(10):
        world = random_similarity(rng)
        fit = rigid.fit_similarity(poses, world.apply(poses))
        assert fit.is_exact()
        np.testing.assert_allclose(fit.similarity.rotation, world.rotation, atol=1e-9)
        if views > 1:
            assert fit.similarity.scale == pytest.approx(world.scale)


def test_poses_and_their_mirror_image_are_not_one() -> None:
    poses = orbit(9)
    poses[4, :3, 3] *= 1.2
    mirror = np.diag([1.0, -1.0, 1.0])
    mirrored = poses.copy()
    mirrored[:, :3] = mirror @ poses[:, :3]
    assert rigid.fit_similarity(poses, mirrored, mirrored=True).is_exact()
    assert not rigid.fit_similarity(poses, mirrored).is_exact()


def test_what_one_view_was_turned_by_is_measured() -> None:
    poses = orbit(30)
    changed = poses.copy()
    changed[7] = rolled(poses[7:8], np.array([5.0]))[0]
    angles = rigid.fit_similarity(poses, changed).angles
    assert int(angles.argmax()) == 7
    assert angles[7] == pytest.approx(5.0, abs=0.3)
