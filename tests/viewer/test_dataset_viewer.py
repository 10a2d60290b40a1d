"""The viewer on datasets: points stand where depth says, and broken files are named, not fatal."""

import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import project
from objnerf.errors import InputError
from objnerf.viewer import open_viewer
from objnerf.viewer.dataset_viewer import object_colour, scene_points
from objnerf.viewer.viser_scene import overview, pose_of, rotation_quaternion


def test_points_project_back_to_their_pixels(data: Path) -> None:
    dataset = open_dataset(data / "blocks_depth")
    scene = dataset.scenes[0]
    points = scene_points(dataset, scene)
    assert points is not None
    assert len(points.positions) == 4 * 160 * 120
    first = points.positions[: 160 * 120].astype(np.float64)
    view = scene.views[0]
    uv, depth = project(first, dataset.intrinsics(160, 120), view.pose())
    u, v = np.meshgrid(np.arange(160), np.arange(120))
    np.testing.assert_allclose(uv, np.stack([u, v], -1).reshape(-1, 2), atol=1e-2)
    np.testing.assert_allclose(depth, view.depth().ravel(), rtol=1e-4)
    np.testing.assert_array_equal(points.colours[: 160 * 120], view.image().reshape(-1, 3))
    # The blocks stand on a floor at z = 0, and objects have the same number in all views.
    assert abs(np.median(points.positions[points.objects == 0, 2])) < 0.02
    numbers = set(points.objects.tolist())
    assert numbers == {0, *range(1, len(numbers))}
    for number in numbers - {0}:
        spread = np.ptp(points.positions[points.objects == number], axis=0)
        assert spread.max() < 4, "one number, one object in one place"


def test_many_points_are_thinned_evenly(data: Path) -> None:
    dataset = open_dataset(data / "blocks_depth")
    points = scene_points(dataset, dataset.scenes[0], max_points=5000)
    assert points is not None
    assert 3000 < len(points.positions) <= 5000


def test_without_depth_there_are_no_points(data: Path) -> None:
    dataset = open_dataset(data / "blocks")
    assert scene_points(dataset, dataset.scenes[0]) is None


def test_a_dataset_is_served_and_scenes_change(data: Path, serve) -> None:
    viewer = serve(open_viewer(data / "blocks_depth", port=8231))
    with urllib.request.urlopen(viewer.url) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read().lower()
    assert viewer.scene == 0
    viewer.show(1)
    assert viewer.scene == 1
    assert "scene 1: 4 views" in viewer._caption.content
    assert len(viewer._of_scene) == 4
    objects = sorted(viewer._point_handles)
    viewer.hide_object(objects[1])
    assert [viewer._point_handles[number].visible for number in objects[:3]] == [True, False, True]
    viewer.hide_object(objects[1], hidden=False)
    assert viewer._point_handles[objects[1]].visible
    viewer._colour_by.value = "objects"
    viewer._redraw()
    assert tuple(np.asarray(viewer._point_handles[1].colors).reshape(-1, 3)[0]) == object_colour(1)


def test_broken_files_are_named_in_the_panel(data: Path, tmp_path: Path, serve) -> None:
    root = tmp_path / "broken"
    shutil.copytree(data / "blocks_depth", root)
    (root / "00001_sc0000_img1_RT.txt").write_text("no matrix")
    (root / "00004_sc0001_img0_depth.npy").write_bytes(b"no depth")
    viewer = serve(open_viewer(root, port=8232))
    assert "00001_sc0000_img1_RT.txt" in viewer._caption.content
    viewer.show(1)
    assert "00004_sc0001_img0_depth.npy" in viewer._caption.content
    viewer.show(0)
    assert len(viewer._of_scene) == 3


def test_what_cannot_be_shown_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_viewer(tmp_path / "missing")
    with pytest.raises(InputError, match="no scene 7"):
        open_viewer(data / "blocks", scene=7)
    with pytest.raises(InputError, match="--dataset needs a run"):
        open_viewer(data / "blocks", dataset=data / "blocks")
    with pytest.raises(InputError, match="cannot listen on this address"):
        open_viewer(data / "blocks", host="203.0.113.1")
    result = CliRunner().invoke(main, ["view", str(data / "blocks"), "--scene", "7"])
    assert result.exit_code == 2
    assert "no scene 7" in result.output


def test_poses_pass_through_visers_quaternions(data: Path) -> None:
    class Camera:
        """What viser gives of a camera."""

        def __init__(self, pose: np.ndarray) -> None:
            self.wxyz = rotation_quaternion(pose[:3, :3])
            self.position = pose[:3, 3]

    pose = overview(10)
    np.testing.assert_allclose(pose_of(Camera(pose)), pose, atol=1e-6)
    assert pose[2, 3] > 0
    assert pose[2, 1] < 0  # down in the picture is down in the world
