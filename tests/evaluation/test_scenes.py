"""Rendering a scene through a model whose fields are known."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from objnerf.dataset import DatasetCard, open_dataset, write_card
from objnerf.dataset.cameras import Pinhole, distance_elevation
from objnerf.dataset.files import write_pinhole
from objnerf.errors import InputError
from objnerf.evaluation.evaluate import OpenedRun
from objnerf.evaluation.scenes import on_paper, orbit_poses, read_scene, render_view, slot_alone
from objnerf.training.recipe import DatasetFacts
from objnerf.training.recipe_files import load_recipe


def test_a_ball_is_where_the_camera_projects_it(world, settings) -> None:
    ball = world.Ball((0.0, 0.0, 1.0), 1.0, (1.0, 0.0, 0.0))
    model = world.Balls((ball,), world.geometry).eval()
    pose = world.camera(35.0)
    seen = render_view(model, world.code_of(model), pose, settings)
    rows, columns = np.nonzero(seen.labels == 1)
    # The ball's centre in the camera: x and y in units of its depth, then pixels by the focal length.
    x, y, z = (np.array(ball.centre) - pose[:3, 3]) @ pose[:3, :3]
    width, height = settings.size
    assert columns.mean() == pytest.approx(x / z * 350 / 320 * width + (width - 1) / 2, abs=0.6)
    assert rows.mean() == pytest.approx(y / z * 350 / 240 * height + (height - 1) / 2, abs=0.6)
    # Its front is the radius nearer than its centre, within a sample.
    middle = seen.depth[round(rows.mean()), round(columns.mean())]
    assert middle == pytest.approx(z - 1.0, abs=14 / 95)


def test_a_longer_lens_shows_the_middle_of_a_wider_picture(world, model, settings) -> None:
    """With twice the focal length, w × h pixels are the middle of 2 w × 2 h pixels; off centre, a corner."""
    code, pose = world.code_of(model), world.camera(20.0)
    width, height = settings.size
    fx, fy = model.geometry.focal_ratio
    wide = render_view(model, code, pose, replace(settings, size=(2 * width, 2 * height)))
    near = render_view(model, code, pose, settings, pinhole=Pinhole((2 * fx, 2 * fy)))
    rows, columns = slice(height // 2, height // 2 + height), slice(width // 2, width // 2 + width)
    np.testing.assert_allclose(near.rgb, wide.rgb[rows, columns], atol=1e-4)
    # The principal point half a picture right of and below the middle: the upper left quarter is seen.
    corner = render_view(model, code, pose, settings, pinhole=Pinhole((2 * fx, 2 * fy), (0.5, 0.5)))
    np.testing.assert_allclose(corner.rgb, wide.rgb[:height, :width], atol=1e-4)


def test_a_views_own_lens_is_read_and_can_be_left_out(data, settings, tmp_path) -> None:
    root = tmp_path / "own"
    shutil.copytree(data / "blocks", root)
    scene = open_dataset(root).scenes[0]
    write_pinhole(root / f"{scene.views[1].stem}_intrinsics.txt", Pinhole((1.2, 1.6)))
    scene = open_dataset(root).scenes[0]
    own = read_scene(scene, settings).pinholes
    assert own == (None, Pinhole((1.2, 1.6)), *[None] * (len(scene.views) - 2))
    assert set(read_scene(scene, replace(settings, own_intrinsics=False)).pinholes) == {None}


def test_a_dataset_is_seen_through_the_lens_that_it_states(data, model, tmp_path, caplog) -> None:
    """Another lens than the run's is used, unless the run states its own."""
    root = tmp_path / "other"
    shutil.copytree(data / "blocks", root)
    scene = open_dataset(root).scenes[0]
    write_pinhole(root / f"{scene.views[1].stem}_intrinsics.txt", Pinhole((1.2, 1.6)))
    recipe = load_recipe("tiny", dataset_scale={"focal_ratio": (1.1, 1.5)})
    run = OpenedRun(tmp_path, model, recipe, None, None)

    def settings_for(focal_ratio, run):
        write_card(root, DatasetCard(focal_ratio=focal_ratio))
        return run.settings(root)

    assert settings_for((1.1, 1.5), run).pinhole is None
    assert settings_for(None, run).pinhole is None
    assert not caplog.records
    settings = settings_for((1.3, 1.7), run)
    pinholes = read_scene(open_dataset(root).scenes[0], settings).pinholes
    assert pinholes == (
        Pinhole((1.3, 1.7)),
        Pinhole((1.2, 1.6)),
        *[Pinhole((1.3, 1.7))] * (len(pinholes) - 2),
    )
    assert "states the focal ratio 1.3, 1.7, and the run was trained with 1.1, 1.5" in caplog.text
    facts = DatasetFacts(
        path="x",
        scenes=1,
        views=4,
        image_size=(64, 48),
        train_scenes=(0,),
        held_out_scenes=(),
        focal_ratio=(1.3, 1.7),
    )
    assert settings_for((1.3, 1.7), replace(run, facts=facts)).pinhole is None
    assert "that of the run is used, since the training set stated the same" in caplog.text


def test_chunks_change_nothing(world, model, settings) -> None:
    code, pose = world.code_of(model), world.camera(0.0)
    whole = render_view(model, code, pose, settings)
    pieces = render_view(model, code, pose, replace(settings, chunk_rays=100))
    np.testing.assert_array_equal(whole.labels, pieces.labels)
    np.testing.assert_allclose(whole.rgb, pieces.rgb, atol=1e-6)


def test_a_slot_alone_shows_its_hidden_part(world, settings) -> None:
    behind = world.Ball((0.0, 1.1, 0.9), 1.0, (0.9, 0.2, 0.2))
    before = world.Ball((0.0, -1.1, 2.2), 1.0, (0.2, 0.3, 0.9))
    model = world.Balls((behind, before), world.geometry).eval()
    code, pose = world.code_of(model), world.camera(-90.0)
    together = render_view(model, code, pose, settings)
    alone = render_view(model, slot_alone(code, 1), pose, settings)
    assert (alone.labels == 1).sum() > 1.2 * (together.labels == 1).sum()
    paper = on_paper(alone)
    assert (paper[alone.opacity < 1e-6] == 255).all()
    assert np.abs(paper[alone.opacity > 0.999].astype(int) - [230, 51, 51]).max() <= 1


def test_orbit_keeps_distance_elevation_and_target(world) -> None:
    start = world.camera(25.0)
    poses = orbit_poses(start, 8)
    np.testing.assert_allclose(poses[0], start, atol=1e-9)
    np.testing.assert_allclose(poses[4][:2, 3], -start[:2, 3], atol=1e-9)
    for pose in poses:
        assert distance_elevation(pose) == pytest.approx((12.4, 40.0))
        np.testing.assert_allclose(pose[:3, 2], -pose[:3, 3] / 12.4, atol=1e-9)  # looks at the origin
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)


def test_read_scene_brings_files_to_the_rendered_size(balls_dataset, settings) -> None:
    scene = open_dataset(balls_dataset).scenes[1]
    images = read_scene(scene, replace(settings, size=(24, 18)))
    assert images.images.shape == (3, 18, 24, 3)
    assert images.input_image.shape == (12, 16, 3)
    assert [mask.shape for mask in images.masks if mask is not None] == [(18, 24, 3)] * 3
    np.testing.assert_array_equal(images.world_from_camera[2], scene.views[2].pose())
    assert 0 <= images.images.min() <= images.images.max() <= 1


def test_read_scene_refuses_a_pose_that_is_not_finite(balls_dataset, settings) -> None:
    scene = open_dataset(balls_dataset).scenes[0]
    path = scene.views[1].pose_path
    path.write_text(path.read_text().replace(path.read_text().split()[0], "nan"))
    with pytest.raises(InputError, match="finite numbers"):
        read_scene(scene, settings)
