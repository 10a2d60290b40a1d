"""Undistortion against COLMAP's own, known points, and the laws of resampling."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from objnerf.dataset import Intrinsics, open_dataset
from objnerf.dataset.cameras import look_at, project
from objnerf.dataset.convert import convert
from objnerf.dataset.convert.lenses import MODELS, Lens
from objnerf.dataset.convert.undistortion import Warp, common_camera
from objnerf.dataset.files import read_image, write_depth, write_image
from objnerf.errors import InputError

cv2 = pytest.importorskip("cv2", reason="OpenCV (the extra `photo`) is not installed")
pycolmap = pytest.importorskip("pycolmap", reason="COLMAP's own Python package is not installed")

WIDTH, HEIGHT = 160, 120

#: Coefficients that bend visibly: several pixels at the corners of the picture.
BENT = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": (-0.12,),
    "RADIAL": (-0.2, 0.05),
    "OPENCV": (-0.2, 0.05, 0.004, -0.003),
    "FULL_OPENCV": (-0.2, 0.05, 0.002, -0.003, 0.01, 0.02, -0.01, 0.003),
    "OPENCV_FISHEYE": (0.02, -0.01, 0.003, -0.001),
    "RADIAL_FISHEYE": (0.02, -0.01),
    "SIMPLE_RADIAL_FISHEYE": (0.03,),
    "SIMPLE_FISHEYE": (),
    "FISHEYE": (),
    "FOV": (0.9,),
    "THIN_PRISM_FISHEYE": (0.02, -0.01, 0.002, -0.001, 0.003, 0.0, 0.004, -0.002),
    "RAD_TAN_THIN_PRISM_FISHEYE": (0.02, -0.01, 0.003, 0.0, 0.0, 0.0, 0.002, -0.001, 0.004, 0.0, -0.002, 0.0),
    "SIMPLE_DIVISION": (-0.2,),
    "DIVISION": (-0.2,),
    "EUCM": (0.6, 1.1),
}


def _both(model: str) -> tuple[Lens, "pycolmap.Camera"]:
    """A lens of a model, its principal point off the middle, as ours and as COLMAP's."""
    camera = pycolmap.Camera.create_from_model_name(1, model, 100.0, WIDTH, HEIGHT)
    coefficients = BENT[model]
    focal = [100.0, 103.0][: len(camera.params) - 2 - len(coefficients)]
    cx, cy = WIDTH / 2 + 5.3, HEIGHT / 2 - 3.1
    camera.params = np.array([*focal, cx, cy, *coefficients])
    return Lens(model, WIDTH, HEIGHT, focal[0], focal[-1], cx - 0.5, cy - 0.5, coefficients), camera


def _smooth_picture(size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Soft blobs: nothing that two ways to interpolate would show differently."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)


def test_every_model_of_colmap_is_tested() -> None:
    theirs = set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"}
    assert theirs == set(BENT)
    assert theirs == set(MODELS) - {"BROWN", "F_THETA"}


@pytest.mark.parametrize("model", BENT)
def test_points_land_where_colmap_puts_them(model: str) -> None:
    lens, camera = _both(model)
    points = np.random.default_rng(1).uniform(-0.75, 0.75, (200, 2))
    theirs = camera.img_from_cam(np.concatenate([points, np.ones((200, 1))], axis=1))
    np.testing.assert_allclose(lens.project(points) + 0.5, theirs, atol=1e-9)
    assert lens.straight == (model in ("SIMPLE_PINHOLE", "PINHOLE"))


@pytest.mark.parametrize("model", BENT)
def test_pictures_are_undistorted_as_colmap_does(model: str) -> None:
    """To the camera that COLMAP's undistorter chooses: mean difference under 1 % away from the border."""
    lens, camera = _both(model)
    picture = _smooth_picture()
    bitmap = pycolmap.Bitmap.from_array(np.ascontiguousarray(picture))
    theirs, chosen = pycolmap.undistort_image(pycolmap.UndistortCameraOptions(), bitmap, camera)
    fx, fy, cx, cy = chosen.params
    warp = Warp(lens, Lens("PINHOLE", chosen.width, chosen.height, fx, fy, cx - 0.5, cy - 0.5), cv2)
    places = warp.places(0, chosen.height)
    within = ((places >= 1) & (places <= [WIDTH - 2, HEIGHT - 2])).all(axis=-1)
    assert within.mean() > 0.9
    difference = np.abs(warp.smooth(picture).astype(float) - theirs.to_array())[within]
    assert difference.mean() < 0.01 * 255


@pytest.mark.parametrize("model", BENT)
def test_a_lens_turns_as_its_picture_does(model: str) -> None:
    """After a quarter clockwise (x, y) is (-y, x), and the pixel (u, v) is (height - 1 - v, u)."""
    lens, _ = _both(model)
    points = np.random.default_rng(1).uniform(-0.6, 0.6, (50, 2))
    before = lens.project(points)
    after = lens.turned().project(np.stack([-points[:, 1], points[:, 0]], axis=-1))
    np.testing.assert_allclose(after, np.stack([HEIGHT - 1 - before[:, 1], before[:, 0]], axis=-1), atol=1e-9)
    assert lens.turned().turned().turned().turned() == lens


def test_a_bend_of_less_than_a_hundredth_of_a_pixel_is_none() -> None:
    """At the corner r² = 0.8² + 0.6² = 1: k1 = 1e-4 of 0.8 · 100 pixels is 0.008, 2e-4 is 0.016."""
    lenses = [Lens("SIMPLE_RADIAL", 161, 121, 100.0, 100.0, 80.0, 60.0, (k,)) for k in (1e-4, 2e-4)]
    assert [lens.straight for lens in lenses] == [True, False]


def test_nerfstudios_polynomial_by_hand() -> None:
    """r = 0.5: 1 + 0.1 / 4 + 0.2 / 16 + 0.3 / 64 + 0.4 / 256 = 1.04375, and p2 (r² + 2 x²) = 0.75 p2."""
    lens = Lens("BROWN", 8, 6, 1.0, 1.0, 0.0, 0.0, (0.1, 0.2, 0.0, 0.01, 0.3, 0.4))
    np.testing.assert_allclose(lens.distort(np.array([0.5, 0.0])), [0.5 * 1.04375 + 0.0075, 0.0], rtol=1e-12)


def test_f_theta_is_its_own_inverse() -> None:
    """A ray at the angle p1 R + p3 R³ lands R pixels from the centre."""
    coefficients = (0.0, 0.01, 0.0, 1e-7, 0.0)
    lens = Lens("F_THETA", 200, 200, 100.0, 100.0, 99.5, 99.5, coefficients)
    pixels = np.array([0.0, 10.0, 40.0, 80.0])
    rays = np.tan(0.01 * pixels + 1e-7 * pixels**3)
    found = lens.project(np.stack([rays, np.zeros(4)], axis=-1))
    np.testing.assert_allclose(found[:, 0] - 99.5, pixels, atol=1e-8)


@pytest.mark.parametrize("model", BENT)
def test_the_common_camera_shows_no_empty_border(model: str) -> None:
    """Every place that is looked up lies within the picture, and hardly more could be shown."""
    lens, _ = _both(model)
    camera, _ = common_camera([lens])
    places = Warp(lens, Lens.pinhole(camera), cv2).places(0, camera.height)
    assert (places >= -0.5).all()
    assert (places <= [WIDTH - 0.5, HEIGHT - 0.5]).all()
    wider = Intrinsics(camera.width + 4, camera.height + 4, camera.fx, camera.fy)
    edge = Warp(lens, Lens.pinhole(wider), cv2).places(0, wider.height)
    assert ((edge < -0.5) | (edge > [WIDTH - 0.5, HEIGHT - 0.5])).any()
    assert (camera.fx, camera.offset_x, camera.offset_y) == (camera.fy, 0, 0)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(MODELS)), st.integers(0, 2**32 - 1))
def test_lenses_of_any_numbers_give_a_camera_or_a_message(model: str, seed: int) -> None:
    """And a camera shows nothing that the lens has not seen."""
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(0, 10 ** rng.uniform(-3, 1), MODELS[model][1]).tolist()
    focal = (60 * 10 ** rng.uniform(-0.7, 0.7, 2)).tolist()
    lens = Lens(model, 64, 48, *focal, rng.uniform(0, 64), rng.uniform(0, 48), tuple(coefficients))
    try:
        camera, _ = common_camera([lens])
    except InputError:
        return
    places = Warp(lens, Lens.pinhole(camera), cv2).places(0, camera.height)
    assert (places > -0.6).all()
    assert (places < [63.6, 47.6]).all()


def test_a_lens_that_folds_back_is_cut_before() -> None:
    """1 - 0.5 r² turns back at r = √(2/3) = 0.816: all that is shown lies within."""
    lens = Lens("SIMPLE_RADIAL", 200, 200, 100.0, 100.0, 99.5, 99.5, (-0.5,))
    camera, _ = common_camera([lens])
    assert math.hypot(camera.width, camera.height) / 2 / camera.fx <= math.sqrt(2 / 3) + 1e-3


def test_a_fisheye_of_half_the_world_is_cut_at_60_degrees() -> None:
    lens = Lens("FISHEYE", 400, 400, 127.0, 127.0, 199.5, 199.5)
    camera, _ = common_camera([lens])
    assert math.degrees(math.atan(math.hypot(camera.width, camera.height) / 2 / camera.fx)) <= 60.5


def test_pinholes_that_are_off_centre_by_hand() -> None:
    """100 pixels with the principal point at 59.5: 40 are left on the right of it, so 80 are common."""
    left = Lens("PINHOLE", 100, 60, 50.0, 50.0, 59.5, 29.5)
    camera, notes = common_camera([left, left])
    assert camera == Intrinsics(80, 60, 50.0, 50.0)
    assert "80 %" in notes[0]
    small = common_camera([left], max_size=40)[0]
    assert (small.width, small.height, small.fx) == (40, 30, pytest.approx(25))


def test_cameras_with_nothing_in_common_are_refused() -> None:
    aside = Lens("PINHOLE", 100, 60, 50.0, 50.0, -20.0, 29.5)
    with pytest.raises(InputError, match="no image in common about their optical axes"):
        common_camera([aside])


def test_known_points_are_seen_where_the_new_camera_says(tmp_path: Path) -> None:
    """Dots painted where a bent lens sees points of the world: after `--undistort` they lie, to a tenth of a
    pixel, where the written pose and focal length put them; and neither depth nor poses have changed."""
    points = np.random.default_rng(3).uniform(-1, 1, (12, 3)) * [1.2, 1.2, 0.3]
    source = tmp_path / "source"
    poses = [
        look_at(np.array([6 * math.cos(a), 6 * math.sin(a), 4.0]), np.zeros(3))
        for a in (0.2, 0.9, 1.4, 2.1, 2.9, 3.6, 4.4, 5.3)
    ]
    frames = []
    for number, pose in enumerate(poses):
        lens = Lens("OPENCV", 320, 240, 330.0, 333.0, 165.2, 116.4, (-0.18, 0.05, 0.003, -0.002))
        picture, depth = np.zeros((240, 320, 3), np.uint8), np.full((240, 320), 5.0, np.float32)
        for point in points:
            x, y, z = (point - pose[:3, 3]) @ pose[:3, :3]
            u, v = lens.project(np.array([x / z, y / z]))
            rows, columns = np.mgrid[0:240, 0:320]
            spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 2.0**2))
            picture = np.maximum(picture, spot[..., None].astype(np.uint8))
            depth[round(v) - 2 : round(v) + 3, round(u) - 2 : round(u) + 3] = z
        write_image(source / f"{number}.png", picture)
        write_depth(source / f"{number}.npy", depth)
        frames.append(
            {
                "file_path": f"{number}.png",
                "depth_file_path": f"{number}.npy",
                "transform_matrix": (pose @ np.diag([1, -1, -1, 1])).tolist(),
            }
        )
    camera = {
        "fl_x": 330,
        "fl_y": 333,
        "cx": 165.7,
        "cy": 116.9,
        "w": 320,
        "h": 240,
        "depth_unit_scale_factor": 1.0,
    }
    bend = {"camera_model": "OPENCV", "k1": -0.18, "k2": 0.05, "p1": 0.003, "p2": -0.002}
    (source / "transforms.json").write_text(json.dumps(camera | bend | {"frames": frames}))
    (source / "dataset.yaml").write_text("format_version: 1\n")  # a world that means something
    convert(source, tmp_path / "ours", undistort=True)
    dataset = open_dataset(tmp_path / "ours")
    misses = []
    for view, pose in zip(dataset.views(), poses, strict=True):
        np.testing.assert_array_equal(view.pose(), pose)
        picture = view.image()[..., 0].astype(float)
        height, width = picture.shape
        expected, depths = project(points, dataset.intrinsics(width, height), view.pose())
        for (u, v), z in zip(expected, depths, strict=True):
            column, row = round(u), round(v)
            others = np.linalg.norm(expected - [u, v], axis=1)
            if not (8 < u < width - 8 and 8 < v < height - 8) or np.sort(others)[1] < 16:
                continue
            window = picture[row - 6 : row + 7, column - 6 : column + 7]
            rows, columns = np.mgrid[row - 6 : row + 7, column - 6 : column + 7]
            found = np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()
            misses.append(np.linalg.norm(found - [u, v]))
            assert view.depth()[row, column] == pytest.approx(z, rel=1e-6)
    assert len(misses) > 15
    assert max(misses) < 0.1


def _capture(root: Path, frames: list[dict], size: tuple[int, int] = (64, 48), **keys: object) -> Path:
    """A transforms.json beside pictures of random colours."""
    rng = np.random.default_rng(5)
    for frame in frames:
        path = root / frame["file_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            noise = rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(noise).save(path, quality=95)
    (root / "transforms.json").write_text(json.dumps({**keys, "frames": frames}))
    return root


def _frames(count: int, suffix: str = ".png") -> list[dict]:
    poses = [
        look_at(np.array([4 * math.cos(a), 4 * math.sin(a), 2.0]), np.zeros(3)) @ np.diag([1, -1, -1, 1])
        for a in np.linspace(0, 5, count)
    ]
    return [{"file_path": f"{n}{suffix}", "transform_matrix": pose.tolist()} for n, pose in enumerate(poses)]


def test_cameras_of_every_picture_become_one(tmp_path: Path) -> None:
    """COLMAP's own undistorter leaves a camera and a size a picture: these are taken as well."""
    frames = _frames(3)
    sizes = [(64, 48), (60, 48), (64, 44)]
    for number, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
        frame |= {"fl_x": 60 + number, "w": size[0], "h": size[1], "cx": size[0] / 2 - number}
        write_image(tmp_path / "in" / frame["file_path"], np.full((*size[::-1], 3), 40 * number, np.uint8))
    source = _capture(tmp_path / "in", frames)
    with pytest.raises(InputError, match=r"one size for a whole dataset.*--undistort"):
        convert(source, tmp_path / "no")
    done = convert(source, tmp_path / "ours", undistort=True)
    assert any("3 cameras" in note for note in done.notes)
    dataset = open_dataset(tmp_path / "ours")
    assert len({view.image().shape for view in dataset.views()}) == 1
    assert not dataset.has_own_intrinsics
    # One colour stays one colour: no empty border.
    assert [np.unique(view.image()).tolist() for view in dataset.views()] == [[0], [40], [80]]


def test_what_is_a_centred_pinhole_already_keeps_its_bytes(tmp_path: Path) -> None:
    source = _capture(tmp_path / "in", _frames(3), fl_x=60, w=64, h=48, camera_model="OPENCV", k1=0.0)
    done = convert(source, tmp_path / "ours", undistort=True)
    assert any("nothing was resampled" in note for note in done.notes)
    for number, view in enumerate(open_dataset(tmp_path / "ours").views()):
        assert view.image_path.read_bytes() == (source / f"{number}.png").read_bytes()


@pytest.mark.parametrize("undistort", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_shrinking_averages(tmp_path: Path, suffix: str, undistort: bool) -> None:
    """Noise shrunk by ten has a tenth of its spread (one pixel picked in ten would keep all of it); a ramp
    stays a ramp, at the same place to a twentieth of the new pixels."""
    frames = _frames(3, suffix)
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0, 255, 640), (480, 1))[..., None].repeat(3, axis=-1)
    picture = np.clip(ramp * 0.6 + 50 + rng.normal(0, 20, ramp.shape), 0, 255).astype(np.uint8)
    for frame in frames:
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "in" / frame["file_path"], quality=100, subsampling=0)
    source = _capture(tmp_path / "in", frames, fl_x=600, w=640, h=480)
    convert(source, tmp_path / "ours", undistort=undistort, max_size=64)
    dataset = open_dataset(tmp_path / "ours")
    assert dataset.intrinsics(64, 48).fx == pytest.approx(60)
    small = next(dataset.views()).image().astype(float)
    assert small.shape == (48, 64, 3)
    columns = (np.arange(64) * 10 + 4.5) / 639 * 255 * 0.6 + 50
    inside = slice(2, -2)
    rest = small[:, inside] - columns[inside, None]
    assert rest.std() < 3.5
    assert abs(rest.mean()) < 0.05 * 255 * 0.6 / 64 + 0.5


def test_our_own_datasets_can_be_shrunk_with_masks_and_depth(data: Path, tmp_path: Path) -> None:
    convert(data / "blocks_depth", tmp_path / "small", max_size=40)
    before, after = open_dataset(data / "blocks_depth"), open_dataset(tmp_path / "small")
    assert after.default_pinhole() == before.default_pinhole()
    for old, new in zip(before.views(), after.views(), strict=True):
        assert new.stem == old.stem
        np.testing.assert_array_equal(new.pose(), old.pose())
        assert new.image().shape[:2] == new.mask().shape[:2] == new.depth().shape
        assert {*map(tuple, new.mask().reshape(-1, 3))} <= {*map(tuple, old.mask().reshape(-1, 3))}
        assert np.isin(new.depth(), old.depth()).all()


def test_opencv_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    source = _capture(tmp_path / "in", _frames(3), fl_x=60, w=64, h=48, k1=0.1)
    with pytest.raises(InputError, match=r"pip install 'objnerf\[photo\]'"):
        convert(source, tmp_path / "ours", undistort=True)


def test_pictures_lying_on_their_side_are_undistorted_upright(tmp_path: Path) -> None:
    """EXIF 6: the stored picture is to be turned clockwise. Its left edge, red, becomes the top."""
    frames = _frames(3, ".jpg")
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:, :16] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    for frame in frames:
        Image.fromarray(stored).save(tmp_path / "in" / frame["file_path"], quality=100, exif=exif)
    source = _capture(tmp_path / "in", frames, fl_x=60, w=48, h=64, k1=0.02)
    convert(source, tmp_path / "ours", undistort=True)
    picture = read_image(tmp_path / "ours" / "00000_sc0000_img0.png")
    height, width, _ = picture.shape
    assert height > width
    assert (picture[:10, :, 0] > 200).all()
    assert (picture[-20:, :, 0] < 50).all()
