"""Pose conventions in worlds that are turned; copies that are proven before they are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import validate
from objnerf.dataset import DatasetCard, Intrinsics, open_dataset, write_card
from objnerf.dataset.cameras import camera_rays, look_at
from objnerf.dataset.files import write_depth, write_matrix
from objnerf.dataset.rigid import estimate_up, fit_similarity
from validate.result import Report

CopyOf = Callable[[str], Path]


def poses_of(folder: Path) -> np.ndarray:
    return np.stack([view.pose() for view in open_dataset(folder).views()])


def rewrite(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Other poses beside the same pictures, without azimuth files, which would belong to the old ones."""
    for view in list(open_dataset(folder).views()):
        write_matrix(view.pose_path, change(view.pose()))
        for path in folder.glob(f"{view.stem}_azi_rot.txt"):
            path.unlink()


def similarity(seed: int) -> np.ndarray:
    """A turn, a shift and no change of scale, which validate leaves to WORLD-SCALE."""
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    matrix[:3, 3] = generator.uniform(-3, 3, 3)
    return matrix


def ids(report: Report, severity: str | None = None) -> set[str]:
    return {finding.id for finding in report.findings if severity in (None, finding.severity)}


@pytest.mark.parametrize("seed", range(12))
def test_sound_poses_in_any_world_is_levelled_and_centred_and_not_broken(
    seed: int, copy_of: CopyOf, tmp_path: Path, data: Path
) -> None:
    folder = copy_of("blocks")
    world = similarity(seed)
    rewrite(folder, lambda pose: world @ pose)
    report = validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert not {"POSE-TRANSPOSED", "POSE-INVERTED", "POSE-AXES"} & ids(report)
    assert all(finding.count == finding.total for finding in report.errors if finding.unit == "views")
    fixed = poses_of(tmp_path / "fixed")
    # One similarity away from what was given, and from the original.
    for original in (poses_of(folder), poses_of(data / "blocks")):
        fit = fit_similarity(original, fixed)
        assert fit.is_exact(0.1, 2e-3)
        assert fit.similarity.scale == pytest.approx(1.0, abs=1e-3)
    tilt = np.degrees(np.arccos(np.clip(estimate_up(fixed).direction[2], -1, 1)))
    assert tilt < 10
    again = validate.run(tmp_path / "fixed")
    assert again.ok, validate.render_text(again)
    assert "WORLD-CENTRE" not in ids(again)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_translation_that_was_not_rotated_has_its_own_name(
    sign: float, copy_of: CopyOf, tmp_path: Path, data: Path
) -> None:
    """[Rᵀ | -t] and [Rᵀ | t] beside the right [Rᵀ | -Rᵀ t]."""

    def half_inverted(pose: np.ndarray) -> np.ndarray:
        changed = pose.copy()
        changed[:3, 3] = sign * np.linalg.inv(pose)[:3, 3]
        return changed

    folder = copy_of("blocks")
    rewrite(folder, half_inverted)
    report = validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert ids(report, "E") == {"POSE-TRANSLATION"}, validate.render_text(report)
    np.testing.assert_allclose(poses_of(tmp_path / "fixed"), poses_of(data / "blocks"), atol=1e-4)


def test_a_mirrored_world_is_told_from_a_mirrored_camera_by_depth(
    copy_of: CopyOf, tmp_path: Path, data: Path
) -> None:
    folder = copy_of("blocks_depth")
    rewrite(folder, lambda pose: np.diag([1.0, -1.0, 1.0, 1.0]) @ pose)
    report = validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert ids(report, "E") == {"POSE-HANDED"}, validate.render_text(report)
    np.testing.assert_allclose(poses_of(tmp_path / "fixed"), poses_of(data / "blocks_depth"), atol=1e-5)


def test_poses_alone_leave_two_readings_and_nothing_is_written(copy_of: CopyOf, tmp_path: Path) -> None:
    folder = copy_of("blocks")
    rewrite(folder, lambda pose: np.diag([1.0, -1.0, 1.0, 1.0]) @ pose)
    report = validate.run(folder, validate.Options(fix=tmp_path / "fixed"))
    assert ids(report, "E") == {"POSE-DET"}
    (finding,) = report.errors
    assert "two readings" in finding.message
    assert report.repair is not None
    assert report.repair.changes == []
    assert not (tmp_path / "fixed").exists()


def test_rolled_cameras_are_a_warning_alone(copy_of: CopyOf) -> None:
    generator = np.random.default_rng(3)

    def roll(pose: np.ndarray) -> np.ndarray:
        angle = np.radians(generator.uniform(8, 14) * generator.choice([-1, 1]))
        changed = pose.copy()
        changed[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0, 0, angle]).as_matrix()
        return changed

    folder = copy_of("blocks")
    rewrite(folder, roll)
    report = validate.run(folder)
    assert "POSE-ROLL" in ids(report, "W")
    assert ids(report, "E") <= {"POSE-UP"}, validate.render_text(report)


def test_no_sentence_contradicts_itself(copy_of: CopyOf) -> None:
    """A sound capture in a tilted world looks at a common point, and raises no finding that it does not."""
    folder = copy_of("blocks")
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("xy", [15, 12], degrees=True).as_matrix()
    rewrite(folder, lambda pose: world @ pose)
    report = validate.run(folder)
    assert ids(report, "E") == {"POSE-UP"}, validate.render_text(report)
    assert "no common point" not in validate.render_text(report)


def test_cameras_that_look_out_of_a_room_are_not_taken_for_opengl_s(
    write_poses: Callable[..., Path], tmp_path: Path
) -> None:
    """Their axes cross behind them, as those of OpenGL's cameras around an object do; depth says which.

    The room is the box |x|, |y| ≤ 3, |z| ≤ 1.5, and its depth the first face that a ray reaches: with
    p + t d, t = min over the axes of (sign(d) · half - p) / d.
    """
    half, size = np.array([3.0, 3.0, 1.5]), (80, 60)
    angles = 2 * np.pi * np.arange(12) / 12
    outwards = np.stack([np.cos(angles), np.sin(angles), np.full(12, -0.25)], axis=1)
    poses = np.stack([look_at(0.7 * out * [1, 1, 0], out * 3) for out in outwards])
    root = write_poses(tmp_path / "room", poses[None], size)
    camera = Intrinsics.from_focal_ratio((70 / 80, 70 / 60), *size)
    write_card(root, DatasetCard(focal_ratio=camera.focal_ratio, near=1.0, far=6.0))
    alone = ids(validate.run(root))
    assert "POSE-AXES" in alone
    for number, pose in enumerate(poses):
        rays = camera_rays(camera) @ pose[:3, :3].T
        faces = (np.sign(rays) * half - pose[:3, 3]) / np.where(rays == 0, 1e-12, rays)
        write_depth(root / f"{number:05d}_sc0000_img{number}_depth.npy", faces.min(axis=-1))
    report = validate.run(root)
    assert not {id_ for id_ in ids(report) if id_.startswith(("POSE", "DEPTH"))}, validate.render_text(report)
    (finding,) = [finding for finding in report.findings if finding.id == "WORLD-CENTRE"]
    assert "look outwards" in finding.fix
