"""COLMAP models, against COLMAP's own reader and writer."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import Intrinsics, invert, project
from objnerf.dataset.convert import colmap, convert
from objnerf.dataset.convert.colmap import quaternion_from_rotation, rotation_from_quaternion
from objnerf.dataset.files import write_image
from objnerf.errors import InputError


@pytest.fixture
def pycolmap():
    return pytest.importorskip("pycolmap", reason="COLMAP's own Python package is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A text model of two images, whose poses are worked out by hand.

    The quaternion (1, 0, 0, 0) and t = (0, 0, 5): camera-from-world is a shift, so the camera sits at
    -t = (0, 0, -5) and looks along +z. The quaternion (0, 1, 0, 0) turns half a circle about x:
    R = diag(1, -1, -1); with t = (1, 2, 3) the position is -Rᵀ t = (-1, 2, 3), looking along -z.
    """
    root = tmp_path / "chair"
    sparse = root / "sparse" / "0"
    sparse.mkdir(parents=True)
    (sparse / "cameras.txt").write_text("# a comment\n1 SIMPLE_PINHOLE 8 6 10 4 3\n")
    (sparse / "images.txt").write_text(
        "# another\n1 1 0 0 0 0 0 5 1 b second.jpg\n1 2 -1 3 4 5\n2 0 1 0 0 1 2 3 1 a.png\n\n"
    )
    (root / "images").mkdir()
    write_image(root / "images" / "a.png", np.full((6, 8, 3), 10, np.uint8))
    write_image(root / "images" / "b second.jpg", np.full((6, 8, 3), 200, np.uint8))
    return root


def test_a_model_worked_out_by_hand(model: Path, tmp_path: Path) -> None:
    done = convert(model, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views) == ("colmap", 1, 2)
    dataset = open_dataset(tmp_path / "ours")
    first, second = dataset.scenes[0].views  # by image name: a.png, then b second.jpg
    assert [first.stem, second.stem] == ["00000_sc0000_img0", "00001_sc0000_img1"]
    np.testing.assert_allclose(
        first.pose(), [[1, 0, 0, -1], [0, -1, 0, 2], [0, 0, -1, 3], [0, 0, 0, 1]], atol=1e-15
    )
    np.testing.assert_allclose(
        second.pose(), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -5], [0, 0, 0, 1]], atol=1e-15
    )
    assert first.image()[0, 0].tolist() == [10, 10, 10]
    assert dataset.intrinsics(8, 6) == Intrinsics(8, 6, 10.0, 10.0)
    # Looking straight down or up, a camera has no azimuth, and no file that says one.
    assert first.azimuth_path is None


@pytest.mark.parametrize("target", ["colmap", "colmap-binary"])
def test_colmap_reads_what_we_write(data: Path, tmp_path: Path, pycolmap, target: str) -> None:
    convert(data / "blocks", tmp_path / "there", target_format=target)
    for id_, scene in open_dataset(data / "blocks").scenes.items():
        read = pycolmap.Reconstruction(str(tmp_path / "there" / f"sc{id_:04d}" / "sparse" / "0"))
        assert read.num_images() == 4
        for view in scene.views:
            image = read.find_image_with_name(f"{view.stem}.png")
            rotation = image.cam_from_world().rotation.matrix()
            np.testing.assert_allclose(rotation, invert(view.pose())[:3, :3], atol=1e-6)
            np.testing.assert_allclose(image.projection_center(), view.pose()[:3, 3], atol=1e-9)
            point = np.array([0.4, -0.7, 0.9])
            intrinsics = open_dataset(data / "blocks").intrinsics(160, 120)
            ours, _ = project(point, intrinsics, view.pose())
            # COLMAP counts pixels from their corner, we from their centre.
            np.testing.assert_allclose(image.project_point(point), ours + 0.5, atol=1e-3)


@pytest.mark.parametrize("binary", [False, True])
def test_we_read_what_colmap_writes(make_dataset, tmp_path: Path, pycolmap, binary: bool) -> None:
    source = make_dataset(1, 3)
    convert(source, tmp_path / "there", target_format="colmap")
    scene = tmp_path / "there" / "sc0000"
    read = pycolmap.Reconstruction(str(scene / "sparse" / "0"))
    for path in (scene / "sparse" / "0").iterdir():
        path.unlink()
    # A point with a track, so that the images have points to skip over.
    read.images[1].points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0]))])
    (read.write_binary if binary else read.write_text)(str(scene / "sparse" / "0"))
    convert(tmp_path / "there", tmp_path / "back")
    for before, after in zip(
        open_dataset(source).views(), open_dataset(tmp_path / "back").views(), strict=True
    ):
        assert after.stem == before.stem
        np.testing.assert_allclose(after.pose(), before.pose(), atol=1e-9)


_unit = st.floats(-1, 1, allow_nan=False)


@given(st.tuples(_unit, _unit, _unit, _unit).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_quaternions_and_rotations_are_inverse(components: tuple[float, ...]) -> None:
    quaternion = np.array(components) / np.linalg.norm(components)
    rotation = rotation_from_quaternion(quaternion)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    again = quaternion_from_rotation(rotation)
    assert again[0] >= 0
    assert abs(abs(again @ quaternion) - 1) < 1e-12  # equal up to sign
    np.testing.assert_allclose(rotation_from_quaternion(again), rotation, atol=1e-12)


def test_a_model_that_was_changed_counts_more_than_the_text_beside_it(
    documented: Path, tmp_path: Path
) -> None:
    convert(documented, tmp_path / "there", target_format="colmap")
    scene = tmp_path / "there" / "sc0000"
    assert (scene / "world_from_camera").is_dir()
    images = scene / "sparse" / "0" / "images.txt"
    words = images.read_text().splitlines()
    line = next(number for number, text in enumerate(words) if text.startswith("1 "))
    parts = words[line].split()
    parts[7] = repr(float(parts[7]) + 0.25)  # tz: the camera moves back along its axis
    words[line] = " ".join(parts)
    images.write_text("\n".join(words) + "\n")
    convert(tmp_path / "there", tmp_path / "back")
    (before,), (after,) = open_dataset(documented).views(), open_dataset(tmp_path / "back").views()
    np.testing.assert_allclose(
        after.pose()[:3, 3], before.pose()[:3, 3] - 0.25 * before.pose()[:3, 2], atol=1e-5
    )


def test_images_of_one_model_are_told_apart_by_our_names(make_dataset, tmp_path: Path) -> None:
    """One model of all scenes: with names of our format the scenes come back, with others it is one scene."""
    source = make_dataset(3, 2)
    convert(source, tmp_path / "there", target_format="colmap")
    joined = tmp_path / "joined"
    (joined / "images").mkdir(parents=True)
    (joined / "sparse").mkdir()
    lines = []
    for folder in sorted((tmp_path / "there").glob("sc*")):
        lines += [
            line for line in (folder / "sparse/0/images.txt").read_text().splitlines() if ".png" in line
        ]
        for image in (folder / "images").iterdir():
            image.rename(joined / "images" / image.name)
    (joined / "sparse/images.txt").write_text("".join(f"{line}\n\n" for line in lines))
    (joined / "sparse/cameras.txt").write_text((tmp_path / "there/sc0000/sparse/0/cameras.txt").read_text())
    assert convert(joined, tmp_path / "three").scenes == 3
    (joined / "images" / "00000_sc0000_img0.png").rename(joined / "images" / "photo.png")
    text = (joined / "sparse/images.txt").read_text().replace("00000_sc0000_img0.png", "photo.png")
    (joined / "sparse/images.txt").write_text(text)
    assert convert(joined, tmp_path / "one").scenes == 1


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_points_are_read_as_colmap_wrote_them(tmp_path: Path, pycolmap, suffix: str) -> None:
    reconstruction = pycolmap.synthesize_dataset(pycolmap.SyntheticDatasetOptions())
    (reconstruction.write_binary if suffix == ".bin" else reconstruction.write_text)(tmp_path)
    theirs = np.array([point.xyz for point in reconstruction.points3D.values()])
    ours = colmap._read_points(tmp_path)
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    # They help to find the ground and no more: a damaged file is no reason to refuse a capture.
    path = tmp_path / f"points3D{suffix}"
    path.write_bytes(path.read_bytes()[:-7].replace(b" ", b" x", 1 if suffix == ".txt" else 0))
    assert colmap._read_points(tmp_path).shape[1] == 3


def test_further_models_of_a_reconstruction_are_mentioned(model: Path, tmp_path: Path) -> None:
    (model / "sparse" / "1").mkdir()
    note, *_ = convert(model, tmp_path / "ours").notes
    assert "only model 0" in note


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("1 SIMPLE_RADIAL 8 6 10 4 3 0.1", "lens distortion of SIMPLE_RADIAL"),
        ("1 OPENCV_FISHEYE 8 6 10 10 4 3 0 0 0 0", "lens distortion of OPENCV_FISHEYE"),
        ("1 PINHOLE 8 6 10 10 4", "4 parameters, found 3"),
        ("1 PINHOLE 8 6 -10 10 4 3", "positive"),
        ("1 MAGIC 8 6 10 4 3", "'MAGIC' is not a supported COLMAP camera model"),
        ("1 PINHOLE eight 6 10 10 4 3", "expected an id, model, width"),
        ("1 PINHOLE 16 16 20 20 8 8", "8 x 6 pixels, expected 16 x 16"),
        ("1 EQUIRECTANGULAR 8 6 8 6", "show all directions"),
        ("2 PINHOLE 8 6 10 10 4 3", "its camera 1 is not in the model"),
        ("1 PINHOLE 8 6 10 10 nan 3", "finite"),
    ],
)
def test_cameras_that_we_cannot_hold_are_refused(
    model: Path, tmp_path: Path, camera: str, message: str
) -> None:
    (model / "sparse/0/cameras.txt").write_text(f"{camera}\n")
    with pytest.raises(InputError, match=message):
        convert(model, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_radial_cameras_without_distortion_are_pinholes(model: Path, tmp_path: Path) -> None:
    (model / "sparse/0/cameras.txt").write_text("1 OPENCV 8 6 10 11 4 3 0 0 0 0\n")
    convert(model, tmp_path / "ours")
    assert open_dataset(tmp_path / "ours").intrinsics(8, 6) == Intrinsics(8, 6, 10.0, 11.0)


def test_cameras_that_differ_are_every_views_own(model: Path, tmp_path: Path, pycolmap) -> None:
    """COLMAP counts pixels from a corner: cx = 5.2 of 8 pixels is 1.2 right of the middle."""
    (model / "sparse/0/cameras.txt").write_text("1 PINHOLE 8 6 10 10 4 3\n2 PINHOLE 8 6 12 13 5.2 3\n")
    images = model / "sparse/0/images.txt"
    images.write_text(images.read_text().replace(" 3 1 a.png", " 3 2 a.png"))
    done = convert(model, tmp_path / "ours")
    assert any("cameras that differ" in note for note in done.notes)
    first, second = open_dataset(tmp_path / "ours").views()
    own = first.pinhole()
    assert own is not None
    pixels = own.at(8, 6)
    assert (pixels.fx, pixels.fy, pixels.offset_x, pixels.offset_y) == pytest.approx((12, 13, 1.2, 0))
    assert second.pinhole().at(8, 6) == Intrinsics(8, 6, 10.0, 10.0)
    for target in ("colmap", "colmap-binary"):
        convert(tmp_path / "ours", tmp_path / target, target_format=target)
        read = pycolmap.Reconstruction(str(tmp_path / target / "sc0000" / "sparse" / "0"))
        camera = read.find_image_with_name(f"{first.stem}.png").camera
        np.testing.assert_allclose(camera.params, [12, 13, 5.2, 3], rtol=1e-12)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("1 1 0 0 0 0 0 5 1 missing.png\n\n", "missing.png: no such file"),
        ("1 0 0 0 0 0 0 5 1 a.png\n\n", "expected a rotation"),
        ("1 1 0 0 0 0 nan 5 1 a.png\n\n", "nan or inf"),
        ("1 1 0 0 0 0 0 5 1\n\n", "line 1: expected an id"),
        ("# none\n", "at least one image"),
    ],
)
def test_images_that_cannot_be_used_are_refused(
    model: Path, tmp_path: Path, images: str, message: str
) -> None:
    (model / "sparse/0/images.txt").write_text(images)
    with pytest.raises(InputError, match=message):
        convert(model, tmp_path / "ours")


def test_truncated_binary_files_are_refused_at_every_length(make_dataset, tmp_path: Path) -> None:
    convert(make_dataset(1, 2), tmp_path / "there", target_format="colmap-binary")
    folder = tmp_path / "there" / "sc0000"
    for name in ("cameras.bin", "images.bin"):
        path = folder / "sparse" / "0" / name
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=name):
                colmap.read(tmp_path / "there")
        path.write_bytes(whole)
    colmap.read(tmp_path / "there")


def test_a_binary_file_of_an_unknown_camera_is_refused(make_dataset, tmp_path: Path) -> None:
    convert(make_dataset(1, 2), tmp_path / "there", target_format="colmap-binary")
    path = tmp_path / "there" / "sc0000" / "sparse" / "0" / "cameras.bin"
    path.write_bytes(struct.pack("<QiiQQ", 1, 1, 99, 16, 12))
    with pytest.raises(InputError, match="99 is not a supported COLMAP camera model"):
        colmap.read(tmp_path / "there")


def test_mirrored_poses_cannot_be_written(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(1, 1)
    (path,) = source.glob("*_RT.txt")
    rows = path.read_text().splitlines()
    rows[0] = " ".join(repr(-float(word)) for word in rows[0].split())
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match="COLMAP stores a rotation"):
        convert(source, tmp_path / "there", target_format="colmap")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ours"]
