"""What the real Blender wrote agrees with the plan: cameras, depth, labels, normals, to the pixel."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.jobs import read_plan, render_plan
from generation.plan.plan import ScenePlan
from objnerf.dataset import files, open_dataset
from objnerf.dataset.cameras import camera_rays, project, unproject, world_from_azimuth
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, grey_levels
from objnerf.dataset.objects import read_amodal_mask, read_objects


def plan_of(root, scene):
    return ScenePlan.model_validate_json((root / "scenes" / f"{scene:04d}.json").read_bytes())


def test_every_view_has_its_files(room_dataset):
    dataset = open_dataset(room_dataset)
    assert sorted(dataset.scenes) == [0, 1]
    assert not dataset.strays
    assert not dataset.orphans
    card = dataset.card()
    assert card.image_size == (64, 48)
    assert card.focal_ratio == pytest.approx((350 / 320, 350 / 240))
    for scene in dataset.scenes.values():
        assert len(scene.views) == 4
        plan = plan_of(room_dataset, scene.id)
        for view, planned in zip(scene.views, plan.views, strict=True):
            assert view.stem == planned.stem
            assert view.image().shape == (48, 64, 3)
            assert np.array_equal(view.pose(), planned.matrix())
            assert np.allclose(view.azimuth(), world_from_azimuth(view.pose()))
            assert view.depth().shape == (48, 64)
            assert (room_dataset / "normal" / f"{view.stem}.npy").is_file()
            assert (room_dataset / "albedo" / f"{view.stem}.png").is_file()


def test_labels_are_exact_colours_and_the_first_object_is_blue(room_dataset, clevr_dataset):
    for root in (room_dataset, clevr_dataset):
        for scene in open_dataset(root).scenes.values():
            expected = {BACKGROUND_COLOUR, *OBJECT_COLOURS[: len(plan_of(root, scene.id).objects)]}
            for view in scene.views:
                mask = view.mask()
                assert {tuple(c) for c in np.unique(mask.reshape(-1, 3), axis=0).tolist()} == expected
                # The reference takes the second lowest grey level for the background.
                levels = np.unique(grey_levels(mask))
                assert levels[1] == grey_levels(np.array([BACKGROUND_COLOUR], dtype=np.uint8))[0]


def test_every_object_has_its_share_of_every_view(room_dataset):
    for view in open_dataset(room_dataset).views():
        shares = np.bincount(view.labels().ravel())[1:] / view.labels().size
        assert shares.min() >= 0.0025


def test_depth_of_one_view_is_that_of_the_others(room_dataset, clevr_dataset):
    for root in (room_dataset, clevr_dataset):
        intrinsics = open_dataset(root).intrinsics(64, 48)
        for scene in open_dataset(root).scenes.values():
            for a, b in itertools.permutations(scene.views, 2):
                points = unproject(a.depth(), intrinsics, a.pose()).reshape(-1, 3)
                xy, depth = project(points, intrinsics, b.pose())
                column, row = np.rint(xy).astype(int).T
                lands = (depth > 0) & (column >= 0) & (column < 64) & (row >= 0) & (row < 48)
                there = b.depth()[row[lands], column[lands]]
                agree = np.abs(depth[lands] - there) <= 0.02 * there
                # A point in front of what the other view sees cannot be: that view would see it.
                contradict = depth[lands] < there * 0.98
                # How much two views share is the scene's: a bed hides a good part of the floor.
                assert agree.mean() >= 0.5
                assert contradict.mean() < 0.07


def test_centres_of_solids_project_into_their_own_mask(clevr_dataset):
    intrinsics = open_dataset(clevr_dataset).intrinsics(64, 48)
    hits = 0
    for scene in open_dataset(clevr_dataset).scenes.values():
        plan = plan_of(clevr_dataset, scene.id)
        for view, item in itertools.product(scene.views, plan.objects):
            height = item.scale / 3**0.5  # cube, sphere's box and cylinder are about as high as wide
            centre = np.array([*item.position[:2], 0.5 * height])
            xy, depth = project(centre, intrinsics, view.pose())
            column, row = np.rint(xy).astype(int)
            if not (0 <= column < 64 and 0 <= row < 48):
                continue
            label = int(np.argmax((view.mask()[row, column] == OBJECT_COLOURS).all(axis=-1))) + 1
            # Only something nearer may hide the centre, and never the floor.
            assert tuple(view.mask()[row, column]) != BACKGROUND_COLOUR
            assert view.depth()[row, column] < depth
            hits += label == item.label
    assert hits >= 30


def test_depth_is_planar_and_the_floor_lies_at_zero(room_dataset):
    intrinsics = open_dataset(room_dataset).intrinsics(64, 48)
    for view in open_dataset(room_dataset).views():
        points = unproject(view.depth(), intrinsics, view.pose())
        normal = np.load(room_dataset / "normal" / f"{view.stem}.npy")
        floor = (view.labels() == 0) & (normal[..., 2] > 0.999) & (points[..., 2] < 0.2)
        assert floor.sum() > 500
        # A pixel's ray meets z = 0 to float32 precision; the length of the ray would be off by 20 %.
        assert np.abs(points[floor][:, 2]).max() < 2e-3
        assert points[..., 2].min() > -2e-3


def test_normals_have_length_one_and_face_the_camera(room_dataset):
    intrinsics = open_dataset(room_dataset).intrinsics(64, 48)
    for view in open_dataset(room_dataset).views():
        normal = np.load(room_dataset / "normal" / f"{view.stem}.npy")
        assert normal.shape == (48, 64, 3)
        assert np.allclose(np.linalg.norm(normal, axis=-1), 1.0, atol=1e-3)
        rays = camera_rays(intrinsics) @ view.pose()[:3, :3].T
        # Shading normals of smooth parts may lean away at the rim.
        assert ((normal * rays).sum(axis=-1) < 0.05).mean() > 0.98


def test_nothing_lies_between_a_camera_and_the_box(room_dataset):
    for view in open_dataset(room_dataset).views():
        assert view.depth().min() > 4.5
        assert view.depth().max() < open_dataset(room_dataset).card().far


def test_amodal_masks_hold_what_is_visible(room_dataset):
    for scene in open_dataset(room_dataset).scenes.values():
        plan = plan_of(room_dataset, scene.id)
        assert plan.seen is not None
        for view, shares in zip(scene.views, plan.seen, strict=True):
            mask = view.mask()
            for item, share in zip(plan.objects, shares, strict=True):
                path = room_dataset / "amodal" / f"{view.stem}_object{item.label}.png"
                whole = np.asarray(Image.open(path)) > 0
                visible = (mask == OBJECT_COLOURS[item.label - 1]).all(axis=-1)
                assert not (visible & ~whole).any()
                assert visible.sum() / whole.sum() == pytest.approx(share, abs=1e-4)


def test_poses_and_boxes_of_objects_hold_what_the_pictures_show(room_dataset):
    """Depth at an object's pixels, taken into its frame, lies in its box and reaches most of its height."""
    dataset = open_dataset(room_dataset)
    for scene in dataset.scenes.values():
        objects = read_objects(dataset, scene.id)
        heights = np.zeros(len(objects.labels))
        for number, view in enumerate(scene.views):
            labels = view.labels()
            intrinsics = dataset.intrinsics(*labels.shape[::-1])
            points = camera_rays(intrinsics) * view.depth()[..., None]
            for index, label in enumerate(objects.labels):
                seen = points[labels == label]
                object_from_camera = np.linalg.inv(objects.camera_from_object[number, index])
                inside = seen @ object_from_camera[:3, :3].T + object_from_camera[:3, 3]
                size = objects.size[index]
                # Depth is an average over a pixel: it may stick out by a few hundredths of a unit.
                assert (np.abs(inside[:, :2]) < size[:2] / 2 + 0.1).all()
                assert ((inside[:, 2] > -0.1) & (inside[:, 2] < size[2] + 0.1)).all()
                heights[index] = max(heights[index], inside[:, 2].max())
                whole = read_amodal_mask(view, int(label))
                assert whole is not None
                assert objects.visible[number, index] == pytest.approx(len(seen) / whole.sum(), abs=1e-3)
        assert (heights > 0.7 * objects.size[:, 2]).all()


def test_silhouettes_of_unhidden_objects_are_blenders_own(clevr_dataset):
    # Two rasterisers, two implementations of the camera: an unhidden object differs at most at its rim.
    for scene in open_dataset(clevr_dataset).scenes.values():
        plan = plan_of(clevr_dataset, scene.id)
        shares = np.array(plan.seen)
        assert (shares == 1.0).mean() > 0.4
        assert shares.min() >= plan.acceptance.min_visible


def test_pictures_are_neither_dark_nor_blown_out(room_dataset, clevr_dataset):
    for root in (room_dataset, clevr_dataset):
        for view in open_dataset(root).views():
            image = view.image()
            assert 40 < image.mean() < 215
            background = image[view.labels() == 0]
            assert (background == 255).any(axis=-1).mean() < 0.01


def test_colours_of_clevr_567_are_those_of_the_published_set(clevr_dataset):
    """Brightest channel of saturated pixels 78, 108 and 139 at 10, 50 and 90 %, saturation .54; 12 scenes of
    ours come within 6 and .03 (benchmarks/look.py), two small noisy ones within what is asked here."""
    look = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "look.py"))
    figures = look["measure"](clevr_dataset)
    published = look["PUBLISHED"]["clevr-567"]
    assert figures["brightest"] == pytest.approx(published["brightest"], abs=20)
    assert figures["saturation"] == pytest.approx(published["saturation"], abs=0.06)


@pytest.mark.parametrize("name", ["room-diverse", "clevr-567"])
def test_a_plan_of_version_1_gives_its_picture_again(name, data, tmp_path):
    plan = read_plan(data / "plans" / f"{name}.json")
    render_plan(plan, tmp_path)
    assert plan.generator == 1
    again = files.read_image(tmp_path / f"{plan.views[0].stem}.png").astype(int)
    before = files.read_image(data / "plans" / f"{name}.png")
    # Another CPU may round a pixel's last bit otherwise.
    assert np.abs(again - before).max() <= 1
