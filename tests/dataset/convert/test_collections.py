"""Posed photo collections of other projects: every convention is held to where known points are seen.

The folders are written here from the formats' public descriptions, starting from a capture in OpenCV's axes
with known points (``Capture`` in conftest.py), and not with anything of the importers.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from objnerf.dataset import open_dataset
from objnerf.dataset.convert import FORMATS, TARGETS, convert, idr, llff, nsvf, recognise, rgbd, unread
from objnerf.dataset.convert.matching import matched_pictures
from objnerf.dataset.convert.posed import PosedScenes, depth_map
from objnerf.dataset.files import labels_from_mask
from objnerf.dataset.rigid import fit_similarity
from objnerf.errors import InputError

#: What turns the columns right, down, forward of a pose into LLFF's down, right, backwards.
_LLFF = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])
OFF = (3.25, -2.5)


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95, subsampling=0)


def _text(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix, fmt="%.9f")


def write_llff(capture: Any, root: Path, folder: str = "images", shrink: int = 1) -> Path:
    """Names whose order is not that of their numbers: IMG_10 … come before IMG_7."""
    names = sorted(f"IMG_{number}.png" for number in range(7, 7 + len(capture.poses)))
    rows = []
    small = np.diag([1 / shrink, 1 / shrink, 1]) @ capture.matrix
    small[:2, 2] += 0.5 / shrink - 0.5
    for number, name in enumerate(names):
        picture, depth, _ = capture.seen(number, small, tuple(side // shrink for side in capture.size))
        _save(root / folder / name, picture)
        pose = capture.poses[number]
        hwf = np.array([[capture.size[1]], [capture.size[0]], [capture.matrix[0, 0]]])
        matrix = np.concatenate([pose[:3, :3] @ _LLFF, pose[:3, 3:], hwf], axis=1)
        rows.append([*matrix.ravel(), depth.min(), depth.max()])
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def write_nsvf(capture: Any, root: Path) -> Path:
    """Splits by prefix; the matrix counts pixels from the corner of the first."""
    for number, pose in enumerate(capture.poses):
        picture, _, ball = capture.seen(number)
        _save(root / "rgb" / f"{number % 3}_{number:04d}.png", picture)
        _save(root / "mask" / f"{number % 3}_{number:04d}.png", np.where(ball, 255, 0).astype(np.uint8))
        _text(root / "pose" / f"{number % 3}_{number:04d}.txt", pose)
    matrix = np.eye(4)
    matrix[:3, :3] = capture.matrix
    matrix[:2, 2] += 0.5
    _text(root / "intrinsics.txt", matrix)
    (root / "bbox.txt").write_text("-1 -1 -1 1 1 1 0.4\n")
    return root


def write_srn(capture: Any, root: Path, end: str = "", invert: bool = False) -> Path:
    """An object: a pose on one line, "f cx cy 0", a centre, a scale, "height width" of larger pictures."""
    for number, pose in enumerate(capture.poses):
        _save(root / "rgb" / f"{number:06d}.png", capture.seen(number)[0])
        pose = np.linalg.inv(pose) if invert else pose
        _text(root / "pose" / f"{number:06d}.txt", pose.reshape(1, 16))
    width, height = capture.size
    focal, (cx, cy) = 2 * capture.matrix[0, 0], 2 * (capture.matrix[:2, 2] + 0.5)
    (root / "intrinsics.txt").write_text(
        f"{focal} {cx} {cy} 0.\n0. 0. 0.\n1.\n{2 * height} {2 * width}\n{end}"
    )
    return root


#: IDR's scale: the unit sphere becomes one of radius 0.9 about a point of the capture's world.
SCALE = np.array([[0.9, 0, 0, 0.4], [0, 0.9, 0, -0.7], [0, 0, 0.9, 1.2], [0, 0, 0, 1.0]])


def write_idr(capture: Any, root: Path) -> Path:
    """Masks have shorter names than their pictures, as DTU's have."""
    arrays = {}
    for number, pose in enumerate(capture.poses):
        picture, _, ball = capture.seen(number)
        _save(root / "image" / f"{number:06d}.png", picture)
        _save(root / "mask" / f"{number:03d}.png", np.where(ball, 255, 0).astype(np.uint8))
        projection = np.eye(4)
        projection[:3] = capture.matrix @ np.linalg.inv(pose)[:3]
        arrays |= {f"world_mat_{number}": projection, f"scale_mat_{number}": SCALE}
        arrays[f"world_mat_inv_{number}"] = np.linalg.inv(projection)
    np.savez(root / "cameras_sphere.npz", **arrays)
    return root


def write_scannet(capture: Any, root: Path, lost: tuple[int, ...] = ()) -> Path:
    """Depth by a coarser camera of another shape at the same place; the numbers of frames skip."""
    root.mkdir(parents=True, exist_ok=True)
    size, matrix = (40, 32), np.array([[36.0, 0, 20.1], [0, 36.5, 15.2], [0, 0, 1]])
    for name, camera in (("color", capture.matrix), ("depth", matrix)):
        wide = np.eye(4)
        wide[:3, :3] = camera
        _text(root / "intrinsic" / f"intrinsic_{name}.txt", wide)
        _text(root / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4))
    for number, pose in enumerate(capture.poses):
        picture, _, ball = capture.seen(number)
        name = str(20 * number)
        _save(root / "color" / f"{name}.jpg", picture)
        _save(
            root / "depth" / f"{name}.png",
            np.rint(1000 * capture.seen(number, matrix, size)[1]).astype(np.uint16),
        )
        _save(root / "instance-filt" / f"{name}.png", np.where(ball, 40, 0).astype(np.uint8))
        _text(root / "pose" / f"{name}.txt", np.full((4, 4), -np.inf) if number in lost else pose)
    return root


def write_frames(capture: Any, root: Path, intrinsics: bool = True) -> Path:
    """A sequence; a corner of each depth map was not measured."""
    for number, pose in enumerate(capture.poses):
        picture, depth, _ = capture.seen(number)
        stem = f"frame-{number:06d}"
        _save(root / f"{stem}.color.png", picture)
        millimetres = np.rint(1000 * depth).astype(np.uint16)
        millimetres[:4, :4], millimetres[:4, -4:] = 0, 65535
        _save(root / f"{stem}.depth.png", millimetres)
        _text(root / f"{stem}.pose.txt", pose)
    if intrinsics:
        _text(root.parent / "camera-intrinsics.txt", capture.matrix)
    return root


def _check_pixels(
    posed: PosedScenes, capture: Any, tolerance: float, points: np.ndarray | None = None
) -> None:
    """Every imported camera sees the known points where the capture does."""
    (scene,) = posed.scenes
    assert len(scene.views) == len(capture.poses)
    for number, view in enumerate(scene.views):
        lens = view.lens
        assert lens is not None
        there = capture.points if points is None else points
        x, y, z = ((there - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, :3]).T
        assert (z > 0).all()
        found = np.stack([lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy], axis=-1)
        np.testing.assert_allclose(found, capture.pixels(number), atol=tolerance)


# Conventions


def test_llff_axes_by_hand(tmp_path: Path) -> None:
    """A camera at (6, 0, 0) that looks along -x, z up: right is y, down is -z, backwards is x.

    LLFF's columns are down, right, backwards; OpenCV's right, down, forward.
    """
    theirs = [[0, 0, 1, 6, 6], [0, 1, 0, 0, 8], [-1, 0, 0, 0, 10]]
    np.save(tmp_path / "poses_bounds.npy", [[*np.ravel(theirs), 2.0, 9.0]])
    _save(tmp_path / "images" / "a.png", np.zeros((6, 8, 3), np.uint8))
    (view,) = llff.read(tmp_path).views
    np.testing.assert_array_equal(
        view.world_from_camera, [[0, 0, -1, 6], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
    )
    lens = view.lens
    assert lens is not None
    assert (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy) == (8, 6, 10, 10, 3.5, 2.5)


def test_llff_sees_the_points_where_they_are(make_capture, tmp_path: Path) -> None:
    capture = make_capture()
    posed = llff.read(write_llff(capture, tmp_path))
    _check_pixels(posed, capture, 1e-6)
    (scene,) = posed.scenes
    assert [view.stem for view in scene.views] == ["IMG_10", "IMG_11", "IMG_12", "IMG_7", "IMG_8", "IMG_9"]
    depths = [capture.seen(number)[1] for number in range(6)]
    assert scene.depth_range == (np.min(depths), np.max(depths))


def test_nsvf_sees_the_points_where_they_are(make_capture, tmp_path: Path) -> None:
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    # Views in the order of the splits: 0, 3 train, 1, 4 validate, 2, 5 test.
    order = [0, 3, 1, 4, 2, 5]
    posed = nsvf.read(write_nsvf(capture, tmp_path))
    capture.poses = capture.poses[order]
    _check_pixels(posed, capture, 1e-5)


@pytest.mark.parametrize(("end", "invert"), [("", False), ("0\n", False), ("1\n", True)])
def test_srn_sees_the_points_where_they_are(make_capture, tmp_path: Path, end: str, invert: bool) -> None:
    """The camera is that of pictures of twice the size; a 1 at the end says that poses are inverted."""
    capture = make_capture(off=(1.0, -0.75))
    posed = nsvf.read(write_srn(capture, tmp_path, end, invert))
    for view in posed.views:
        assert view.lens is not None
        assert (view.lens.width, view.lens.height) == (128, 96)
    _check_pixels(matched_pictures(posed), capture, 1e-5)


def test_nsvf_with_a_single_line_is_of_the_picture_s_size(make_capture, tmp_path: Path) -> None:
    capture = make_capture()
    root = write_nsvf(capture, tmp_path)
    (root / "intrinsics.txt").write_text("60. 32. 24. 0.\n0. 0. 0.\n0.\n1.\n")
    (lens,) = {view.lens for view in nsvf.read(root).views}
    assert lens is not None
    assert (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy) == (64, 48, 60, 60, 31.5, 23.5)


def test_idr_sees_the_points_where_they_are(make_capture, tmp_path: Path) -> None:
    """In the world of scale_mat, whose points X are where scale_mat maps them from."""
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    posed = idr.read(write_idr(capture, tmp_path))
    inside = (capture.points - SCALE[:3, 3]) / 0.9
    _check_pixels(posed, capture, 1e-6, inside)


@pytest.mark.parametrize("factor", [1.0, -2.5, 1e-4])
def test_a_projection_is_put_together_again_from_its_parts(factor: float) -> None:
    """P ~ K [R | -R c] up to a factor; K and R of the original come back."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        matrix = np.array([[700.0, 0.0, 330.0], [0.0, 650.0, 250.0], [0, 0, 1]])
        centre = rng.normal(size=3)
        projection = factor * matrix @ np.c_[rotation, -rotation @ centre]
        found, pose = idr.decompose_projection(projection, "here")
        np.testing.assert_allclose(found, matrix, atol=1e-8)
        np.testing.assert_allclose(pose[:3, :3], rotation.T, atol=1e-10)
        np.testing.assert_allclose(pose[:3, 3], centre, atol=1e-8)


def test_scannet_sees_the_points_where_they_are(make_capture, tmp_path: Path) -> None:
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    _check_pixels(rgbd.read_scannet(write_scannet(capture, tmp_path)), capture, 1e-5)


def test_frames_see_the_points_where_they_are(make_capture, tmp_path: Path) -> None:
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    _check_pixels(rgbd.read_frames(write_frames(capture, tmp_path / "seq-01")), capture, 1e-5)


# Depth and masks


def test_depth_of_one_view_is_seen_by_the_next_where_it_lies(make_capture, tmp_path: Path) -> None:
    """Unprojected through the imported camera of one view, compared with what the capture sees from another.

    Millimetres and the nearest pixel are all that may differ.
    """
    capture = make_capture(off=OFF)
    (scene,) = rgbd.read_frames(write_frames(capture, tmp_path / "seq-01")).scenes
    view, pose = scene.views[0], capture.poses[1]
    assert view.lens is not None
    depth = depth_map(view.companions["_depth.npy"])
    assert np.isinf(depth[:4, :4]).all()
    assert np.isinf(depth[:4, -4:]).all()
    row, column = np.nonzero(np.isfinite(depth))
    assert len(row) == 64 * 48 - 32
    z = depth[row, column]
    x, y = (column - view.lens.cx) / view.lens.fx, (row - view.lens.cy) / view.lens.fy
    inside = np.stack([x * z, y * z, z])
    world = view.world_from_camera[:3, :3] @ inside + view.world_from_camera[:3, 3:]
    there = np.linalg.inv(pose)[:3] @ np.r_[world, np.ones((1, len(z)))]
    u, v = np.rint((capture.matrix @ there)[:2] / there[2]).astype(int)
    seen = (u >= 0) & (u < 64) & (v >= 0) & (v < 48)
    assert seen.mean() > 0.3
    expected = capture.seen(1)[1][v[seen], u[seen]]
    # What the ball hides from the other view lies behind what that sees; but for its rim nothing lies before.
    off = there[2][seen] / expected - 1
    assert (off > -0.03).mean() > 0.98
    assert (np.abs(off) < 0.03).mean() > 0.85


def test_scannet_s_depth_is_looked_up_through_its_own_camera(make_capture, tmp_path: Path) -> None:
    """A map of 40 x 32 pixels by another lens, against the depth that the colour camera would have measured.

    Its pixels are 60 / 36 of the colour camera's: half of one is less than a pixel there, so that the depth
    found lies between those of the neighbours.
    """
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    _check_depth(rgbd.read_scannet(write_scannet(capture, tmp_path)), capture)


def _check_depth(posed: PosedScenes, capture: Any) -> None:
    """Each depth lies between those of the neighbours, but for half a step of the map's numbers."""
    for number, view in enumerate(posed.views):
        depth = depth_map(view.companions["_depth.npy"])
        _, expected, _ = capture.seen(number)
        assert depth.shape == expected.shape
        known = np.isfinite(depth)
        assert known.mean() > 0.9
        padded = np.pad(expected, 1, mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(48, 64, 9)
        inner = (slice(1, -1), slice(1, -1))
        between = (depth > around.min(-1) - 0.0011) & (depth < around.max(-1) + 0.0011)
        assert between[inner][known[inner]].mean() > 0.999


def test_depth_of_a_camera_beside_the_pictures_is_left_out(make_capture, tmp_path: Path) -> None:
    root = write_scannet(make_capture(), tmp_path)
    shift = np.eye(4)
    shift[0, 3] = 0.025
    _text(root / "intrinsic" / "extrinsic_depth.txt", shift)
    posed = rgbd.read_scannet(root)
    assert not any("_depth.npy" in view.companions for view in posed.views)
    assert any("depth left out" in note for note in posed.notes)


@pytest.mark.parametrize("write", [write_nsvf, write_idr, write_scannet])
def test_masks_are_the_ball_s_pixels(make_capture, tmp_path: Path, write: Callable[..., Path]) -> None:
    capture = make_capture()
    write(capture, tmp_path / "there")
    convert(tmp_path / "there", tmp_path / "ours")
    views = list(open_dataset(tmp_path / "ours").views())
    order = [0, 3, 1, 4, 2, 5] if write is write_nsvf else range(6)
    for number, view in zip(order, views, strict=True):
        np.testing.assert_array_equal(labels_from_mask(view.mask()) > 0, capture.seen(number)[2])


def test_scannet_s_many_instances_keep_their_ids_apart(make_capture, tmp_path: Path) -> None:
    """Thirty objects in 16 bits and the benchmark's names: 2003 is the first that every view shows."""
    root = write_scannet(make_capture(views=3), tmp_path / "there")
    shutil.rmtree(root / "instance-filt")
    for kind in ("color", "depth"):
        (root / "intrinsic" / f"intrinsic_{kind}.txt").rename(root / f"intrinsics_{kind}.txt")
    shutil.rmtree(root / "intrinsic")
    ids = np.zeros((48, 64), np.uint16)
    ids[:30, 2:60] = 1000 * np.arange(1, 31)[:, None] + 3
    for view in range(3):
        _save(root / "instance" / f"{20 * view}.png", np.where(ids == 1003, 0, ids) if view == 1 else ids)
    convert(root, tmp_path / "ours")
    for view, found in enumerate(open_dataset(tmp_path / "ours").views()):
        labels = labels_from_mask(found.mask())
        expected = [0 if view == 1 else 30, *range(1, 30)]
        np.testing.assert_array_equal(labels[:30, 30], expected)
        assert not labels[30:].any()


# From end to end

_WRITTEN = {
    "llff": write_llff,
    "nsvf": write_nsvf,
    "idr": write_idr,
    "scannet": write_scannet,
    "7-scenes": write_frames,
}


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_collection_becomes_a_sound_dataset(make_capture, tmp_path: Path, name: str) -> None:
    """Levelled, centred, scaled: the same poses up to a similarity, and nothing for the validator to find."""
    capture = make_capture()
    source = _WRITTEN[name](capture, tmp_path / "there" / "scene")
    ours = tmp_path / "ours"
    assert recognise(source) == name
    result = CliRunner().invoke(main, ["convert", str(source), str(ours)])
    assert result.exit_code == 0, result.output
    assert f"6 views of 1 scenes, from {name} to objnerf" in result.output
    order = [0, 3, 1, 4, 2, 5] if name == "nsvf" else range(6)
    dataset = open_dataset(ours)
    fit = fit_similarity(capture.poses[list(order)], dataset.scenes[0].poses())
    assert fit.is_exact()
    for number, view in zip(order, dataset.views(), strict=True):
        difference = np.abs(view.image().astype(int) - capture.seen(number)[0])
        assert difference.mean() < (8 if name == "scannet" else 1e-9)
    sound = CliRunner().invoke(main, ["validate", str(ours)])
    assert sound.exit_code == 0, sound.output


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_folder_of_scenes_is_several_scenes(make_capture, tmp_path: Path, name: str) -> None:
    root = tmp_path / "there"
    for scene in ("seq-2", "seq-10"):
        _WRITTEN[name](make_capture(views=3), root / scene)
    assert recognise(root) == name
    done = convert(root, tmp_path / "ours")
    assert (done.scenes, done.views) == (2, 6)
    if name == "nsvf":
        # What is said of one scene and holds for the other is said once.
        (said,) = (note for note in done.notes if "bbox.txt left out" in note)
        assert said.endswith("(likewise in 1 more)")


@pytest.mark.parametrize("name", [name for name in _WRITTEN if name != "llff"])
def test_off_centre_lenses_are_kept_or_resampled(make_capture, tmp_path: Path, name: str) -> None:
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    source = _WRITTEN[name](capture, tmp_path / "there" / "scene")
    done = convert(source, tmp_path / "kept")
    assert any("an off-centre camera" in note for note in done.notes)
    pinhole = next(iter(open_dataset(tmp_path / "kept").views())).pinhole()
    assert pinhole is not None
    np.testing.assert_allclose(pinhole.principal_offset, (3.25 / 64, -2.5 / 48), atol=1e-6)
    np.testing.assert_allclose(pinhole.focal_ratio, (60 / 64, 57 / 48), atol=1e-6)
    pytest.importorskip("cv2", reason="OpenCV (the extra `photo`) is not installed")
    convert(source, tmp_path / "resampled", undistort=True, max_size=32)
    dataset = open_dataset(tmp_path / "resampled")
    assert not dataset.has_own_intrinsics
    assert max(next(iter(dataset.views())).image().shape[:2]) <= 32


def test_llff_states_near_and_far(make_capture, tmp_path: Path) -> None:
    """Scaled with the world: the cameras are 9.6 to 10 of the level world's units away, and 12.39 of ours."""
    capture = make_capture()
    done = convert(write_llff(capture, tmp_path / "there"), tmp_path / "ours")
    card = open_dataset(tmp_path / "ours").card()
    assert card is not None
    assert card.near is not None
    assert card.far is not None
    depths = [capture.seen(number)[1] for number in range(6)]
    scale = fit_similarity(capture.poses, open_dataset(tmp_path / "ours").scenes[0].poses()).similarity.scale
    assert card.near == pytest.approx(scale * np.min(depths), rel=1e-3)
    assert card.far == pytest.approx(scale * np.max(depths), rel=1e-3)
    assert any("near and far as the source has them" in note for note in done.notes)


def test_llff_reads_smaller_pictures_where_there_are_no_others(make_capture, tmp_path: Path) -> None:
    capture = make_capture()
    root = write_llff(capture, tmp_path / "there", "images_8", 8)
    write_llff(capture, root, "images_4", 4)
    done = convert(root, tmp_path / "ours")
    assert any("images_4 were read" in note for note in done.notes)
    card = open_dataset(tmp_path / "ours").card()
    assert card is not None
    assert card.image_size == (16, 12)
    assert card.focal_ratio == pytest.approx((60 / 64, 60 / 48))


def test_llff_s_colmap_model_says_more(make_capture, tmp_path: Path) -> None:
    """Scenes of LLFF and Mip-NeRF 360 hold both: the model is read, unless the other is asked for."""
    root = write_llff(make_capture(), tmp_path / "there")
    (root / "sparse" / "0").mkdir(parents=True)
    for name in ("cameras.txt", "images.txt"):
        (root / "sparse" / "0" / name).write_text("")
    assert recognise(root) == "colmap"
    assert convert(root, tmp_path / "ours", source_format="llff").views == 6


def test_frames_without_a_pose_are_counted(make_capture, tmp_path: Path) -> None:
    done = convert(write_scannet(make_capture(), tmp_path / "there", lost=(1, 4)), tmp_path / "ours")
    assert done.views == 4
    assert any("2 of 6 frames have no pose" in note and "the first: 20" in note for note in done.notes)


def test_seven_scenes_without_a_camera_gets_the_kinect_s(make_capture, tmp_path: Path) -> None:
    """525 pixels at a width of 640 are 52.5 at 64; its depth was taken from beside and is left out."""
    capture = make_capture(focal=(52.5, 52.5))
    done = convert(write_frames(capture, tmp_path / "seq-01", intrinsics=False), tmp_path / "ours")
    assert any("Kinect" in note and "depth left out" in note for note in done.notes)
    card = open_dataset(tmp_path / "ours").card()
    assert card is not None
    assert card.focal_ratio == pytest.approx((52.5 / 64, 52.5 / 48))
    assert not list((tmp_path / "ours").glob("*_depth.npy"))


def test_an_info_file_says_both_cameras_and_the_unit(make_capture, tmp_path: Path) -> None:
    """As in BundleFusion, 12-Scenes and 3RScan: smaller pictures, depth by a camera of its own in .pgm.

    A depth shift of 500 makes a step two millimetres.
    """
    capture = make_capture(focal=(60.0, 57.0), off=OFF)
    root = write_frames(capture, tmp_path / "data", intrinsics=False)
    size, matrix = (40, 32), np.array([[36.0, 0, 20.1], [0, 36.5, 15.2], [0, 0, 1]])
    for number in range(6):
        (root / f"frame-{number:06d}.depth.png").unlink()
        steps = np.rint(500 * capture.seen(number, matrix, size)[1]).astype(np.uint16)
        _save(root / f"frame-{number:06d}.depth.pgm", steps)
        _save(root / f"frame-{number:06d}.rendered.color.png", np.zeros((4, 4, 3), np.uint8))
    doubled = np.diag([2.0, 2.0, 1.0]) @ capture.matrix
    # The middle of a pixel that is twice as large: 2 (c + 1/2) - 1/2.
    doubled[:2, 2] += 0.5
    flat = {"Color": doubled, "Depth": matrix}
    lines = ["m_versionNumber = 4", "m_sensorName = Structure", "m_colorWidth = 128", "m_colorHeight = 96"]
    lines += ["m_depthWidth = 40", "m_depthHeight = 32", "m_depthShift = 500"]
    for kind, camera in flat.items():
        wide = np.eye(4)
        wide[:3, :3] = camera
        lines.append(f"m_calibration{kind}Intrinsic = " + " ".join(map(repr, wide.ravel().tolist())))
        lines.append(f"m_calibration{kind}Extrinsic = " + " ".join(map(str, np.eye(4).ravel())))
    (tmp_path / "info.txt").write_text("\n".join(lines) + "\n")
    posed = rgbd.read_frames(root)
    _check_pixels(posed, capture, 1e-6)
    _check_depth(posed, capture)
    (tmp_path / "info.txt").write_text("\n".join(lines).replace("m_colorWidth = 128", "m_colorWidth = 100"))
    with pytest.raises(InputError, match="64 x 48 pixels, found that of 100 x 96"):
        rgbd.read_frames(root)
    (tmp_path / "info.txt").write_text("\n".join(lines).replace("m_depthShift = 500", "m_depthShift = 0"))
    with pytest.raises(InputError, match="positive number after m_depthShift"):
        rgbd.read_frames(root)
    (tmp_path / "info.txt").write_text("\n".join(lines[:7]))
    with pytest.raises(InputError, match="numbers after m_calibrationColorIntrinsic"):
        rgbd.read_frames(root)


def test_names_with_points_are_no_others(make_capture, tmp_path: Path) -> None:
    """Times as names, as TUM's pictures have: 1305031102.175304 and 1305031102.211214 are two."""
    root = write_nsvf(make_capture(), tmp_path / "there")
    shutil.rmtree(root / "mask")
    for folder in ("rgb", "pose"):
        for number, path in enumerate(sorted((root / folder).iterdir())):
            path.rename(path.with_name(f"1305031102.{175304 + number}{path.suffix}"))
    assert convert(root, tmp_path / "ours").views == 6
    shutil.copy(root / "rgb" / "1305031102.175304.png", root / "rgb" / "1305031102.175304.jpg")
    with pytest.raises(InputError, match="expected one file of the name 1305031102"):
        convert(root, tmp_path / "again")


# What cannot be read


def _drop_row(root: Path) -> None:
    np.save(root / "poses_bounds.npy", np.load(root / "poses_bounds.npy")[:-1])


def _idr(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        with np.load(root / "cameras_sphere.npz") as archive:
            arrays = dict(archive)
        change(arrays)
        np.savez(root / "cameras_sphere.npz", **arrays)

    return spoil


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("llff", _drop_row, "image for each of the 5 rows"),
        ("llff", lambda root: np.save(root / "poses_bounds.npy", np.zeros((6, 15))), "17 numbers"),
        (
            "llff",
            lambda root: np.save(root / "poses_bounds.npy", np.zeros((6, 17))),
            "height, width and focal",
        ),
        ("llff", lambda root: (root / "poses_bounds.npy").write_bytes(b"no array"), "array of poses"),
        ("nsvf", lambda root: (root / "intrinsics.txt").write_text("60 32\n"), "f cx cy"),
        ("nsvf", lambda root: (root / "intrinsics.txt").write_text("600 320 240 0\n"), "another size"),
        ("nsvf", lambda root: (root / "intrinsics.txt").write_text("-60 32 24 0\n"), "positive focal"),
        ("nsvf", lambda root: (root / "pose" / "0_0000.txt").write_text("1 2 3\n"), "16 numbers, found 3"),
        ("nsvf", lambda root: (root / "pose").rename(root / "poses"), "rgb/, pose/"),
        ("idr", _idr(lambda arrays: arrays.pop("world_mat_2") is None), "without gaps"),
        ("idr", _idr(lambda arrays: arrays.pop("world_mat_5") is None), "one projection per image"),
        ("idr", _idr(lambda arrays: arrays.update(world_mat_3=np.zeros((4, 4)))), "world_mat_3"),
        ("idr", _idr(lambda arrays: arrays.update(scale_mat_3=np.eye(4))), "same scale_mat"),
        (
            "idr",
            _idr(
                lambda arrays: arrays.update(
                    dict.fromkeys([f"scale_mat_{n}" for n in range(6)], np.diag([1.0, 1, 2, 1]))
                )
            ),
            "scales uniformly",
        ),
        ("idr", _idr(lambda arrays: arrays.update(world_mat_0=np.array([{}]))), "world_mat_0"),
        ("scannet", lambda root: (root / "intrinsic" / "intrinsic_color.txt").unlink(), "intrinsic_color"),
        (
            "scannet",
            lambda root: [_text(path, np.full((4, 4), -np.inf)) for path in (root / "pose").iterdir()],
            "at least one pose",
        ),
        ("7-scenes", lambda root: _text(root / "camera-intrinsics.txt", np.eye(4)[:2]), "found 2 lines"),
        (
            "7-scenes",
            lambda root: _text(
                root / "camera-intrinsics.txt", np.array([[60, 5, 31.5], [0, 60, 23.5], [0, 0, 1]])
            ),
            "without skew",
        ),
    ],
)
def test_what_is_wrong_is_said(
    make_capture, tmp_path: Path, name: str, spoil: Callable[[Path], Any], message: str
) -> None:
    root = _WRITTEN[name](make_capture(), tmp_path / "there")
    spoil(root)
    with pytest.raises(InputError, match=message):
        convert(root, tmp_path / "ours", source_format=name)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("name", _WRITTEN)
def test_damage_ends_in_a_message_or_a_dataset(make_capture, damage, tmp_path: Path, name: str) -> None:
    sound = _WRITTEN[name](make_capture(size=(16, 12), views=3), tmp_path / "sound" / "scene").parent
    rng = random.Random(f"damage {name}")
    refused = 0
    for number in range(28):
        there, out = tmp_path / f"there{number}", tmp_path / f"out{number}"
        shutil.copytree(sound, there)
        damage(rng.choice(sorted(path for path in there.rglob("*") if path.is_file())), rng)
        try:
            convert(there, out, source_format=name)
        except InputError:
            refused += 1
            assert not out.exists()
    assert refused > 0, "the damage was never noticed: this test tests nothing"


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_file_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(InputError, match="in it or in its sub-folders; found none"):
        convert(tmp_path / "there", tmp_path / "ours", source_format=name)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in TARGETS])
def test_they_are_not_written(data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is not written; expected one of objnerf"):
        convert(data / "blocks", tmp_path / "there", target_format=name)


# Known by sight

_KNOWN = {
    "ScanNet's .sens file": ["scene0000_00.sens"],
    "MVSNet": ["cams/00000000_cam.txt", "images/00000000.jpg"],
    "TUM RGB-D": ["groundtruth.txt", "rgb.txt", "rgb/1305031102.175304.png"],
    "Replica as NICE-SLAM rendered it": ["traj.txt", "results/frame000000.jpg"],
    "CO3D": ["frame_annotations.jgz", "110_13051_23361/images/frame000001.jpg"],
    "KITTI": ["poses/00.txt", "sequences/00/image_2/000000.png", "sequences/00/calib.txt"],
    "Record3D": ["EXR_RGBD/rgb/0.jpg", "EXR_RGBD/metadata.json"],
    "Polycam's raw data": ["keyframes/cameras/1.json", "keyframes/images/1.jpg"],
    "records of TensorFlow Datasets (MOVi, MultiShapeNet and others come so)": [
        "1.0.0/movi_e-train.tfrecord-00000-of-01024"
    ],
    "NSVF or SRN without intrinsics.txt": ["pose/0.txt", "rgb/0.png"],
    "a folder of images without cameras": ["images/IMG_1.jpg"],
}


def test_every_known_format_has_a_case() -> None:
    assert list(_KNOWN) == [known.name for known in unread.UNREAD]


@pytest.mark.parametrize("name", _KNOWN)
def test_known_formats_are_named(tmp_path: Path, name: str) -> None:
    """The folder itself, and the way to something that is read."""
    for file in _KNOWN[name]:
        (tmp_path / "there" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / file).write_bytes(b"")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "there"), str(tmp_path / "ours")])
    assert result.exit_code == 2
    assert f"this is {name}, which is not read" in result.output
    (known,) = (known for known in unread.UNREAD if known.name == name)
    assert known.advice in result.output
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["walk.r3d"], "Record3D"),
        (["walk/metadata", "walk/rgbd/0.jpg"], "Record3D"),
        (["scene0000_00.sens"], "ScanNet's .sens file"),
        (["seq/frames/apple/frame_annotations.jgz", "seq/frames/apple/1_2_3/images/1.jpg"], "CO3D"),
        (["2011_09_26/image_02/data/0.png", "2011_09_26/oxts/data/0.txt"], "KITTI"),
        (["scans/blended_images/0.jpg", "scans/cams/00000000_cam.txt"], "MVSNet"),
    ],
)
def test_known_formats_are_named_in_other_forms(tmp_path: Path, files: list[str], name: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    source = tmp_path / files[0]
    source = source if len(files) == 1 else tmp_path / Path(files[-1]).parts[0]
    if name == "CO3D":
        source = tmp_path / "seq/frames/apple/1_2_3"
    with pytest.raises(InputError, match=f"this is {name}"):
        recognise(source)
