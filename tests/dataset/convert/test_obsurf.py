"""ObSuRF's folders: what its own loader would make of ours, and ours of its."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import Intrinsics, look_at, world_rays
from objnerf.dataset.convert import convert
from objnerf.errors import InputError


def _their_rays(position: np.ndarray, width: int, height: int) -> np.ndarray:
    """Unit rays of a camera at `position` that looks at the origin: 35 mm lens, 32 mm sensor.

    Built as ObSuRF describes its cameras: from sensor coordinates in metres, pixel centres half-way between
    the pixels' borders, z up.
    """
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pixel = 0.032 / width
    u = ((np.arange(width) + 0.5) * pixel - 0.016)[None, :, None]
    v = ((np.arange(height) + 0.5) * pixel - height * pixel / 2)[:, None, None]
    rays = 0.035 * forward + u * right + v * down
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Two scenes of one view in ObSuRF's own layout, without anything of ours; a flat wall at depth 8."""
    root = tmp_path / "clevr3d"
    for folder in ("images", "depths", "masks"):
        (root / folder).mkdir(parents=True)
    positions = np.array([[[7.0, -6.0, 5.0]], [[-3.0, 8.0, 6.0]]])
    np.savez(root / "metadata.npz", camera_pos=positions, shape=np.array([[1, 2], [1, 0]]))
    for scene in range(2):
        pixels = np.full((24, 32, 3), 60 + scene, np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"img_{scene}_0.png")
        numbers = np.zeros((24, 32), np.uint8)
        numbers[4:9, 5:12] = 1
        numbers[12:20, 15:25] = 2 - scene
        Image.fromarray(numbers).save(root / "masks" / f"masks_{scene}_0.png")
        forward = -positions[scene, 0] / np.linalg.norm(positions[scene, 0])
        lengths = 8 / (_their_rays(positions[scene, 0], 32, 24) @ forward)
        steps = np.rint(lengths * 65536 * 0.025).astype(np.uint16)
        Image.fromarray(steps).save(root / "depths" / f"depths_{scene}_0.png")
    return root


def test_their_cameras_are_read(theirs: Path, tmp_path: Path) -> None:
    done = convert(theirs, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views, done.notes) == ("obsurf", 2, 2, ())
    dataset = open_dataset(tmp_path / "ours")
    intrinsics = dataset.intrinsics(32, 24)
    assert intrinsics == Intrinsics(32, 24, 35.0, 35.0)  # 32 pixels · 35 mm / 32 mm
    for view, position in zip(dataset.views(), [[7.0, -6.0, 5.0], [-3.0, 8.0, 6.0]], strict=True):
        origin, rays = world_rays(intrinsics, view.pose())
        np.testing.assert_allclose(origin, position)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        np.testing.assert_allclose(rays, _their_rays(np.array(position), 32, 24), atol=1e-12)
        np.testing.assert_allclose(view.depth(), 8, atol=3.1e-4)
    first, second = dataset.views()
    assert np.bincount(first.labels().ravel()).tolist() == [24 * 32 - 35 - 80, 35, 80]
    assert np.bincount(second.labels().ravel()).tolist() == [24 * 32 - 115, 115]
    assert first.mask()[5, 6].tolist() == [0, 0, 255]


def test_depth_is_planar_where_the_metadata_speak_of_shapenet(theirs: Path, tmp_path: Path) -> None:
    with np.load(theirs / "metadata.npz") as archive:
        arrays = dict(archive)
    np.savez(theirs / "metadata.npz", **arrays, shape_file=np.array([["a", "b"], ["c", ""]]))
    for scene in range(2):
        flat = np.full((24, 32), round(8 * 65536 * 0.025), np.uint16)
        Image.fromarray(flat).save(theirs / "depths" / f"depths_{scene}_0.png")
    convert(theirs, tmp_path / "ours")
    for view in open_dataset(tmp_path / "ours").views():
        np.testing.assert_allclose(view.depth(), 8, atol=3.1e-4)


def test_depth_as_float_tif_is_read(theirs: Path, tmp_path: Path) -> None:
    for scene in range(2):
        (theirs / "depths" / f"depths_{scene}_0.png").unlink()
        lengths = np.full((24, 32), 9.5, np.float32)
        Image.fromarray(lengths).save(theirs / "depths" / f"depths_{scene}_0.tif")
    convert(theirs, tmp_path / "ours")
    (first, _) = open_dataset(tmp_path / "ours").views()
    # The corner's ray: x = -15.5 / 35, y = -11.5 / 35, length sqrt(1 + 0.19612 + 0.10796) = 1.14196.
    assert first.depth()[0, 0] == pytest.approx(9.5 / 1.14196, rel=1e-4)
    assert first.depth()[12, 16] == pytest.approx(9.5, rel=1e-3)


def test_missing_scenes_are_left_out_and_said(theirs: Path, tmp_path: Path) -> None:
    (theirs / "images" / "img_0_0.png").unlink()
    done = convert(theirs, tmp_path / "ours")
    assert done.scenes == 1
    assert "1 of 2 scenes have no images" in done.notes[0]


def test_what_we_write_has_their_arrays(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(3, 2, size=(32, 24))
    convert(source, tmp_path / "there", target_format="obsurf")
    with np.load(tmp_path / "there" / "metadata.npz") as archive:
        positions, shape = archive["camera_pos"], archive["shape"]
        # Their loader takes archive[name][scene] of every array.
        assert all(len(archive[name]) == 3 for name in archive.files)
    poses = np.array([scene.poses() for scene in open_dataset(source).scenes.values()])
    np.testing.assert_array_equal(positions, poses[..., :3, 3])
    assert (shape > 0).sum(axis=1).tolist() == [3, 3, 3]
    with Image.open(tmp_path / "there/masks/masks_0_1.png") as mask:
        assert sorted(set(np.asarray(mask).ravel().tolist())) == [0, 1, 3]
    (view, *_) = open_dataset(source).views()
    with Image.open(tmp_path / "there/depths/depths_0_0.png") as picture:
        lengths = np.asarray(picture) / (65536 * 0.025)
    rays = _their_rays(view.pose()[:3, 3], 32, 24)
    planar = (lengths[..., None] * rays) @ view.pose()[:3, 2]
    np.testing.assert_allclose(planar, view.depth(), atol=4e-4)


def test_positions_that_were_changed_count_more_than_our_poses(make_dataset, tmp_path: Path) -> None:
    convert(make_dataset(1, 1), tmp_path / "there", target_format="obsurf")
    with np.load(tmp_path / "there" / "metadata.npz") as archive:
        arrays = dict(archive)
    arrays["camera_pos"] = np.array([[[1.0, 2.0, 3.0]]])
    np.savez(tmp_path / "there" / "metadata.npz", **arrays)
    convert(tmp_path / "there", tmp_path / "back")
    (view,) = open_dataset(tmp_path / "back").views()
    np.testing.assert_allclose(view.pose(), look_at(np.array([1.0, 2.0, 3.0]), np.zeros(3)))


def test_what_obsurf_cannot_hold_is_refused(make_dataset, tmp_path: Path) -> None:
    aside = make_dataset(1, 1, target=(1.0, 0.0, 0.0), name="aside")
    with pytest.raises(InputError, match="look at the origin with z up, and this one's axes are off by"):
        convert(aside, tmp_path / "there", target_format="obsurf")
    lens = make_dataset(1, 1, focal_ratio=(1.0, 1.0), name="lens")
    with pytest.raises(InputError, match="35 mm lens"):
        convert(lens, tmp_path / "there", target_format="obsurf")
    uneven = make_dataset(2, 2, name="uneven")
    for path in uneven.glob("00003_*"):
        path.unlink()
    with pytest.raises(InputError, match="1 to 2"):
        convert(uneven, tmp_path / "there", target_format="obsurf")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "no positions", "flat", "nan", "objects"])
def test_damaged_metadata_are_refused(theirs: Path, tmp_path: Path, damage: str) -> None:
    path = theirs / "metadata.npz"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "no positions":
        np.savez(path, shape=np.zeros((2, 1)))
    elif damage == "flat":
        np.savez(path, camera_pos=np.ones((2, 3)))
    elif damage == "nan":
        np.savez(path, camera_pos=np.full((2, 1, 3), np.nan))
    else:
        # A pickled array could run code when it is read.
        np.savez(path, camera_pos=np.array([[None]], dtype=object))
    with pytest.raises(InputError, match=r"metadata\.npz"):
        convert(theirs, tmp_path / "ours")


def test_a_camera_above_the_origin_is_refused(theirs: Path, tmp_path: Path) -> None:
    np.savez(theirs / "metadata.npz", camera_pos=np.array([[[0.0, 0.0, 5.0]], [[1.0, 1.0, 1.0]]]))
    with pytest.raises(InputError, match="impossible from here"):
        convert(theirs, tmp_path / "ours")
