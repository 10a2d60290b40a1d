"""What people hand to `convert`: every case once went wrong, and each stands for its kind."""

import io
import json
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from objnerf.dataset import open_dataset
from objnerf.dataset.cameras import look_at, project
from objnerf.dataset.convert import convert, matching, recognise
from objnerf.dataset.files import mask_from_labels, read_image, write_image
from objnerf.errors import InputError

WIDTH, HEIGHT = 32, 24


def _poses(count: int) -> list[np.ndarray]:
    """OpenGL's camera-to-world around the origin, at the distance that is not scaled."""
    return [
        look_at(np.array([10 * math.cos(a), 10 * math.sin(a), 7.0]), np.zeros(3)) @ np.diag([1, -1, -1, 1])
        for a in 2 * np.pi * np.arange(count) / count
    ]


def _picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)


@pytest.fixture
def capture(tmp_path: Path):
    """A function that writes ``images/0.png`` … and a transforms.json that names them.

    Each frame may be changed by ``change(number, frame)`` before it is written.
    """

    def make(change=None, count: int = 4, suffix: str = ".png", name: str = "capture", **keys: Any) -> Path:
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        frames = []
        for number, pose in enumerate(_poses(count)):
            Image.fromarray(_picture(number)).save(root / "images" / f"{number}{suffix}")
            frame = {"file_path": f"images/{number}{suffix}", "transform_matrix": pose.tolist()}
            if change is not None:
                change(number, frame)
            frames.append(frame)
        header = {"fl_x": 35.0, "w": WIDTH, "h": HEIGHT} | keys
        header = {key: value for key, value in header.items() if value is not None}
        (root / "transforms.json").write_text(json.dumps(header | {"frames": frames}))
        return root

    return make


def _views(folder: Path):
    return list(open_dataset(folder).views())


# Pictures


def test_transparency_is_flattened_alike_in_every_format(capture, tmp_path: Path) -> None:
    """Alpha 0 over any colour is white, alpha 255 is the colour; WebP and TIFF are read as PNG is."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[..., :3], rgba[:, : WIDTH // 2, 3] = (10, 200, 30), 255
    for suffix in (".png", ".webp", ".tiff"):
        root = capture(suffix=suffix, name=f"alpha{suffix}")
        for number in range(4):
            options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
            Image.fromarray(rgba).save(root / "images" / f"{number}{suffix}", **options)
        convert(root, tmp_path / f"ours{suffix}")
        image = _views(tmp_path / f"ours{suffix}")[0].image()
        assert image[0, 0].tolist() == [10, 200, 30]
        assert image[0, -1].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled_in_every_format(capture, tmp_path: Path) -> None:
    """32896 of 65535 is 128 of 255 (257 · 128), in TIFF as in PNG."""
    for suffix in (".png", ".tiff"):
        root = capture(suffix=suffix, name=f"grey{suffix}")
        for number in range(4):
            deep = np.full((HEIGHT, WIDTH), 32896, np.uint16)
            Image.fromarray(deep).save(root / "images" / f"{number}{suffix}")
        convert(root, tmp_path / f"ours{suffix}")
        assert np.unique(_views(tmp_path / f"ours{suffix}")[0].image()).tolist() == [128]


@pytest.mark.parametrize("suffix", [".webp", ".JPG", ".tif", ".bmp"])
def test_paths_without_suffix_find_every_kind_of_picture(capture, tmp_path: Path, suffix: str) -> None:
    def strip(number: int, frame: dict) -> None:
        frame["file_path"] = f"images/{number}"

    assert convert(capture(strip, suffix=suffix), tmp_path / "ours").views == 4


def test_windows_paths_are_read(capture, tmp_path: Path) -> None:
    def windows(number: int, frame: dict) -> None:
        frame["file_path"] = rf".\images\{number}.png"

    assert convert(capture(windows), tmp_path / "ours").views == 4


def test_paths_from_another_working_folder_are_found_beside_the_file(capture, tmp_path: Path) -> None:
    def elsewhere(number: int, frame: dict) -> None:
        frame["file_path"] = f"./capture/images/{number}.png"

    done = convert(capture(elsewhere), tmp_path / "ours")
    said = "./capture/images/0.png was read from images/0.png beside it"
    assert any(said in note for note in done.notes)
    assert done.views == 4


def test_what_is_missing_is_not_found_elsewhere_by_its_name(capture, tmp_path: Path) -> None:
    """A depth map that is gone is not the picture of the same name in another folder."""

    def beside(number: int, frame: dict) -> None:
        frame["file_path"], frame["depth_file_path"] = f"{number}.png", f"depth/{number}.png"

    root = capture(beside)
    for number in range(4):
        (root / "images" / f"{number}.png").rename(root / f"{number}.png")
    (root / "2.png").unlink()
    (root / "other").mkdir()
    write_image(root / "other" / "2.png", _picture(9))
    done = convert(root, tmp_path / "ours")
    assert done.views == 3
    assert any("3 files that frames refer to are missing" in note for note in done.notes)
    assert _views(tmp_path / "ours")[0].depth_path is None


def test_frames_without_pictures_are_left_out_and_counted(capture, tmp_path: Path) -> None:
    root = capture(count=6)
    for number in (0, 3):
        (root / "images" / f"{number}.png").unlink()
    done = convert(root, tmp_path / "ours")
    assert done.views == 4
    assert any("2 of 6 frames have no image" in note and "frame 0" in note for note in done.notes)
    np.testing.assert_array_equal(_views(tmp_path / "ours")[0].image(), _picture(1))


def test_the_json_file_itself_can_be_named(capture, tmp_path: Path) -> None:
    root = capture()
    (root / "transforms.json").rename(root / "poses of today.json")
    assert recognise(root / "poses of today.json") == "nerfstudio"
    assert convert(root / "poses of today.json", tmp_path / "ours").views == 4


def test_a_tar_of_the_pictures_beside_the_description_is_no_dataset(capture, tmp_path: Path) -> None:
    root = capture()
    with tarfile.open(root / "images.tar", "w") as archive:
        archive.add(root / "images", "images")
    assert recognise(root) == "nerfstudio"
    assert convert(root, tmp_path / "ours").views == 4


def test_git_lfs_pointers_are_told_apart_from_broken_pictures(capture, tmp_path: Path) -> None:
    root = capture()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (root / "images" / "2.png").write_text(pointer)
    with pytest.raises(InputError, match=r"2\.png: expected an image, found a Git LFS pointer.*git lfs pull"):
        convert(root, tmp_path / "ours")


def _with_orientation(root: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (root / "images").iterdir():
        number = int(path.stem)
        Image.fromarray(_picture(number)).save(path, quality=100, subsampling=0, exif=exif)


def test_pictures_lie_on_their_side_where_their_cameras_say_so(capture, tmp_path: Path) -> None:
    """Stored 32 x 24, EXIF 6 (turn clockwise), and the camera is that of 24 x 32 pixels."""
    root = capture(suffix=".jpg", w=HEIGHT, h=WIDTH)
    _with_orientation(root, 6)
    done = convert(root, tmp_path / "ours")
    assert any("4 images were turned" in note for note in done.notes)
    turned = _views(tmp_path / "ours")[0].image()
    stored = read_image(root / "images" / "0.jpg")
    np.testing.assert_array_equal(turned, np.rot90(stored, -1))


@pytest.mark.parametrize("orientation", [6, 8])
def test_pictures_of_a_camera_on_its_side_stand_up_with_it(capture, tmp_path: Path, orientation: int) -> None:
    """COLMAP takes pictures as they are stored, and finds cameras that lie on their side. A point of the
    world shows the same colour before and after, and the cameras stand upright."""
    turn = np.eye(4)
    # EXIF 6: the stored picture's right is what is down in the upright one, and its up is the right there.
    turn[:2, :2] = [[0, 1], [-1, 0]] if orientation == 6 else [[0, -1], [1, 0]]

    def roll(number: int, frame: dict) -> None:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ turn).tolist()

    root = capture(roll, suffix=".jpg", cx=17.0, cy=11.0, fl_y=36.0)
    _with_orientation(root, orientation)
    done = convert(root, tmp_path / "ours")
    assert any("turned upright" in note for note in done.notes)
    assert not any("levelled" in note for note in done.notes)
    for number, view in enumerate(_views(tmp_path / "ours")):
        pose, picture = view.pose(), view.image()
        assert picture.shape == (WIDTH, HEIGHT, 3)
        # The horizon is level and the sky is up.
        assert abs(pose[2, 0]) < 1e-9
        assert pose[2, 1] < 0
        stored = read_image(root / "images" / f"{number}.jpg")
        frame = json.loads((root / "transforms.json").read_text())["frames"][number]
        before = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        own = view.pinhole()
        assert own is not None
        camera = own.at(HEIGHT, WIDTH)
        for column, row in ((5, 3), (30, 20), (12, 18)):
            ray = before[:3, :3] @ [(column + 0.5 - 17) / 35, (row + 0.5 - 11) / 36, 1]
            (u, v), depth = project(before[:3, 3] + 9 * ray, camera, pose)
            assert depth == pytest.approx(9)
            assert (u, v) == pytest.approx((round(u), round(v)), abs=1e-6)
            assert picture[round(v), round(u)].tolist() == stored[row, column].tolist()


def test_pictures_that_were_turned_and_kept_their_note_stay(capture, tmp_path: Path) -> None:
    """Their cameras are level as they are: the orientation is out of date."""
    root = capture(suffix=".jpg", count=8)
    _with_orientation(root, 6)
    done = convert(root, tmp_path / "ours")
    assert not any("turned" in note for note in done.notes)
    assert _views(tmp_path / "ours")[0].image().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("standing", [False, True])
def test_masks_and_depth_of_turned_pictures_stand_with_them(capture, tmp_path: Path, standing: bool) -> None:
    """They may be stored like the picture, or like the camera has it, and at any size."""
    depth = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) + 1
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:9, 5:14] = 255

    def companions(number: int, frame: dict) -> None:
        frame["depth_file_path"], frame["mask_path"] = f"{number}.npy", f"{number}.png"

    root = capture(companions, suffix=".jpg", w=HEIGHT, h=WIDTH)
    _with_orientation(root, 6)
    for number in range(4):
        turn = np.rot90 if standing else lambda array, _: array
        np.save(root / f"{number}.npy", turn(depth, -1))
        Image.fromarray(np.ascontiguousarray(turn(mask, -1))).save(root / f"{number}.png")
    convert(root, tmp_path / "ours")
    (view, *_) = _views(tmp_path / "ours")
    np.testing.assert_array_equal(view.depth(), np.rot90(depth, -1))
    np.testing.assert_array_equal(view.labels(), np.rot90(mask, -1) > 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_what_pillow_says(orientation: int) -> None:
    picture = Image.fromarray(_picture(0))
    picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(
        matching._upright(_picture(0), orientation), np.asarray(ImageOps.exif_transpose(picture))
    )


def test_a_picture_on_its_side_without_a_word_is_refused_as_that(capture, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies on its side, and has no EXIF orientation"):
        convert(capture(w=HEIGHT, h=WIDTH), tmp_path / "ours")


def test_pictures_of_half_the_size_have_half_the_focal_length(capture, tmp_path: Path) -> None:
    """fl_x = 70 at 64 pixels is 35 at 32."""
    done = convert(capture(w=2 * WIDTH, h=2 * HEIGHT, fl_x=70.0), tmp_path / "ours")
    assert any("the focal lengths were scaled with them" in note for note in done.notes)
    assert open_dataset(tmp_path / "ours").intrinsics(WIDTH, HEIGHT).fx == pytest.approx(35)


# Lenses


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"equirectangular": True}, "'equirectangular' says that the images show all directions"),
        ({"latlong": True}, "'latlong' says that the images show all directions"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model 'EQUIRECTANGULAR' cannot be undistorted"),
        ({"ftheta_p0": 0.0, "ftheta_p1": 0.03}, "lens distortion of F_THETA.*--undistort"),
        ({"distortion_params": [0.1, 0.02, 0, 0, 0, 0]}, "lens distortion of OPENCV.*--undistort"),
        ({"is_fisheye": True}, "lens distortion of OPENCV_FISHEYE.*--undistort"),
        ({"k5": 0.01}, "lens distortion of FULL_OPENCV"),
        ({"k3": 1.0}, "lens distortion of BROWN"),
        ({"distortion_params": [0.1] * 9}, "up to six numbers"),
        ({"distortion_params": 0.1}, "a list of numbers"),
        ({"camera_model": "FISHEYE624", "distortion_params": [0.1]}, "expected 12 numbers"),
        ({"ftheta_p0": 0.0, "ftheta_p1": 0.0}, "positive 'ftheta_p1'"),
        ({"fl_x": None, "camera_angle_x": 40.0}, "in radians below pi, found 40; 40 degrees are 0.6981"),
        ({"fl_x": None, "x_fov": 200.0}, "in degrees below 180"),
        ({"fl_x": None, "camera_angle_x": -1.0}, "positive focal length or angle under 'camera_angle_x'"),
    ],
)
def test_lenses_are_named_for_what_they_are(capture, tmp_path: Path, keys: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(capture(**keys), tmp_path / "ours")


@pytest.mark.parametrize(
    "keys",
    [
        {"ftheta_p0": 0.0, "ftheta_p1": 0.03},
        {"distortion_params": [0.1, 0.02, 0, 0, 0, 0]},
        {"is_fisheye": True, "k1": 0.02},
        {"camera_model": "FISHEYE624", "distortion_params": [0.01] * 12},
        {"k1": 0.01, "k2": 0.01, "k3": 0.01, "k4": 0.01, "k5": 0.01, "k6": 0.01},
    ],
)
def test_lenses_that_bend_are_resampled_on_request(capture, tmp_path: Path, keys: dict) -> None:
    convert(capture(**keys), tmp_path / "ours", undistort=True)
    (first, *_) = _views(tmp_path / "ours")
    height, width, _ = first.image().shape
    camera = open_dataset(tmp_path / "ours").intrinsics(width, height)
    assert camera.fx == pytest.approx(camera.fy)


@pytest.mark.parametrize(
    ("keys", "fx", "fy"),
    [
        # tan 45° = 1: half of 24 pixels.
        ({"camera_angle_y": math.pi / 2}, 12, 12),
        ({"fl_y": 20.0}, 20, 20),
        ({"x_fov": 90.0}, 16, 16),
        ({"x_fov": 90.0, "y_fov": 90.0}, 16, 12),
    ],
)
def test_one_side_of_the_lens_is_enough(capture, tmp_path: Path, keys: dict, fx: float, fy: float) -> None:
    convert(capture(fl_x=None, **keys), tmp_path / "ours")
    camera = open_dataset(tmp_path / "ours").intrinsics(WIDTH, HEIGHT)
    assert (camera.fx, camera.fy) == pytest.approx((fx, fy))


# Masks, depth, time


def _masked(root_of, masks: list[np.ndarray]) -> Path:
    def mask(number: int, frame: dict) -> None:
        frame["mask_path"] = f"masks/{number}.png"

    root = root_of(mask)
    (root / "masks").mkdir()
    for number, content in enumerate(masks):
        Image.fromarray(content).save(root / "masks" / f"{number}.png")
    return root


def test_instances_on_black_become_ours(capture, tmp_path: Path) -> None:
    """Red hides in one view, so green, which every view shows, is the first object, the blue one."""
    masks = []
    for number in range(4):
        mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        mask[4:8, 4:8] = (0, 250, 0)
        if number:
            mask[12:18, 10:20] = (90, 0, 0)
        masks.append(mask)
    done = convert(_masked(capture, masks), tmp_path / "ours")
    assert any("black became the background" in note for note in done.notes)
    for view, mask in zip(_views(tmp_path / "ours"), masks, strict=True):
        np.testing.assert_array_equal(view.labels(), (mask[..., 1] > 0) + 2 * (mask[..., 0] > 0))


def test_smoothed_silhouettes_become_one_object(capture, tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:18, 8:24] = 255
    mask[6, 8:24] = np.linspace(40, 220, 16)
    done = convert(_masked(capture, [mask] * 4), tmp_path / "ours")
    assert any("silhouettes" in note for note in done.notes)
    np.testing.assert_array_equal(_views(tmp_path / "ours")[0].labels(), mask >= 128)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        # nerfstudio's own meaning: a person in the corner is not to be trained on.
        (
            np.pad(np.zeros((6, 6), np.uint8), ((0, HEIGHT - 6), (0, WIDTH - 6)), constant_values=255),
            "train on",
        ),
        (np.tile(np.linspace(20, 230, WIDTH).astype(np.uint8), (HEIGHT, 1)), "neither a silhouette"),
        (np.full((HEIGHT, WIDTH), 255, np.uint8), "no black background"),
    ],
)
def test_masks_that_are_no_objects_are_left_out_and_said(
    capture, tmp_path: Path, mask: np.ndarray, said: str
) -> None:
    done = convert(_masked(capture, [mask] * 4), tmp_path / "ours")
    assert any("4 masks left out" in note and said in note for note in done.notes)
    assert _views(tmp_path / "ours")[0].mask_path is None


def test_masks_of_another_size_are_brought_to_their_pictures(capture, tmp_path: Path) -> None:
    mask = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
    mask[10:20, 10:20] = 255
    convert(_masked(capture, [mask] * 4), tmp_path / "ours")
    np.testing.assert_array_equal(_views(tmp_path / "ours")[0].labels(), mask[1::2, 1::2] > 0)
    square = capture(lambda n, frame: frame.update(mask_path="square.png"), name="square")
    Image.fromarray(mask[:, : 2 * HEIGHT]).save(square / "square.png")
    with pytest.raises(InputError, match=r"square\.png: expected the shape of its image"):
        convert(square, tmp_path / "no")


def test_masks_in_our_own_colours_stay(capture, tmp_path: Path) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[4:9, 4:9], labels[12:15, 3:9] = 1, 3
    convert(_masked(capture, [mask_from_labels(labels)] * 4), tmp_path / "ours")
    np.testing.assert_array_equal(_views(tmp_path / "ours")[0].labels(), labels)


def _with_depth(capture, key: str, write, suffix: str = ".png", **keys: Any) -> Path:
    def depth(number: int, frame: dict) -> None:
        frame[key] = f"depth/{number}{suffix}"

    root = capture(depth, **keys)
    (root / "depth").mkdir()
    for number in range(4):
        write(root / "depth" / f"{number}{suffix}")
    return root


def _millimetres(path: Path) -> None:
    depth = np.full((HEIGHT, WIDTH), 9500, np.uint16)
    depth[0, 0] = 0
    Image.fromarray(depth).save(path)


def test_depth_pictures_are_millimetres(capture, tmp_path: Path) -> None:
    done = convert(_with_depth(capture, "depth_file_path", _millimetres), tmp_path / "ours")
    assert any("millimetres" in note for note in done.notes)
    depth = _views(tmp_path / "ours")[0].depth()
    assert depth[1, 1] == pytest.approx(9.5)
    assert depth[0, 0] == np.inf  # nothing was measured


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("depth_path", {"integer_depth_scale": 0.002}),
        ("depth_file_path", {"depth_unit_scale_factor": 0.002}),
    ],
)
def test_depth_is_in_the_unit_that_is_said(capture, tmp_path: Path, key: str, keys: dict) -> None:
    done = convert(_with_depth(capture, key, _millimetres, **keys), tmp_path / "ours")
    assert not any("the unit of its depth maps is not stated" in note for note in done.notes)
    assert _views(tmp_path / "ours")[0].depth()[1, 1] == pytest.approx(19)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 1), (HEIGHT // 2, WIDTH // 2)])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_depth_arrays_of_any_kind_are_written_as_ours(capture, tmp_path: Path, shape: tuple, kind) -> None:
    root = _with_depth(
        capture, "depth_file_path", lambda path: np.save(path, np.full(shape, 9.5, kind)), ".npy"
    )
    convert(root, tmp_path / "ours")
    stored = np.load(tmp_path / "ours" / "00000_sc0000_img0_depth.npy")
    assert (stored.dtype, stored.shape) == (np.float32, (HEIGHT, WIDTH, 1))
    assert np.unique(stored).tolist() == [9.5]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((HEIGHT, WIDTH, 3)), r"one depth a pixel \(height x width\), found the shape"),
        (np.ones((HEIGHT, HEIGHT)), "expected the shape of its image"),
        (np.full((HEIGHT, WIDTH), "far"), "array of numbers"),
    ],
)
def test_depth_of_odd_shapes_is_refused(capture, tmp_path: Path, array: np.ndarray, message: str) -> None:
    root = _with_depth(capture, "depth_file_path", lambda path: np.save(path, array), ".npy")
    with pytest.raises(InputError, match=message):
        convert(root, tmp_path / "ours")


def test_what_frames_name_and_is_not_there_is_said(capture, tmp_path: Path) -> None:
    def depth(number: int, frame: dict) -> None:
        frame["depth_file_path"] = f"depth/{number}.png"

    done = convert(capture(depth), tmp_path / "ours")
    assert any("4 files that frames refer to are missing" in note for note in done.notes)


def test_times_of_a_moving_scene_are_said(capture, tmp_path: Path) -> None:
    def at(number: int, frame: dict) -> None:
        frame["time"] = number / 3

    done = convert(capture(at), tmp_path / "ours")
    assert any("4 different times (key 'time')" in note for note in done.notes)
    still = capture(lambda number, frame: frame.update(time=0.5), name="still")
    assert not any("times" in note for note in convert(still, tmp_path / "ours2").notes)


# COLMAP


@pytest.fixture
def colmap_capture(tmp_path: Path):
    """A function that writes a text model and pictures to folders of choice."""

    def make(
        model: str = "sparse/0",
        images: str = "images",
        cameras: str = "1 PINHOLE 32 24 35 35 16 12\n",
        blank: str = "\n",
        name: str = "colmap",
        count: int = 4,
    ) -> Path:
        root = tmp_path / name
        (root / model).mkdir(parents=True)
        (root / images).mkdir(parents=True, exist_ok=True)
        lines = []
        for number in range(count):
            write_image(root / images / f"{number}.png", _picture(number))
            lines.append(f"{number + 1} 1 0 0 0 {number} 0 5 1 {number}.png\n{blank}")
        (root / model / "cameras.txt").write_text(cameras)
        (root / model / "images.txt").write_text("".join(lines))
        return root

    return make


def test_images_without_their_second_line_are_refused(colmap_capture, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images.txt, line 2: expected the points of the image 0\.png"):
        convert(colmap_capture(blank=""), tmp_path / "ours")


@pytest.mark.parametrize("points", ["1.5 2.5 -1\n", "1.5 2.5 7 3.25 4.5 -1\n", "\n", "   \n"])
def test_points_of_images_are_passed_over(colmap_capture, tmp_path: Path, points: str) -> None:
    assert convert(colmap_capture(blank=points), tmp_path / "ours").views == 4


def test_sizes_with_a_decimal_point_are_read(colmap_capture, tmp_path: Path) -> None:
    root = colmap_capture(cameras="1 PINHOLE 32.0 24.0 35 35 16 12\n")
    assert convert(root, tmp_path / "ours").views == 4
    broken = colmap_capture(cameras="1 PINHOLE 32.5 24 35 35 16 12\n", name="broken")
    with pytest.raises(InputError, match="line 1: expected an id, model, width, height"):
        convert(broken, tmp_path / "no")


def test_cameras_that_no_image_has_do_not_count(colmap_capture, tmp_path: Path) -> None:
    cameras = (
        "1 PINHOLE 32 24 35 35 16 12\n7 SIMPLE_RADIAL 640 480 500 320 240 0.1\n8 EQUIRECTANGULAR 9 9 9 9\n"
    )
    assert convert(colmap_capture(cameras=cameras), tmp_path / "ours").views == 4


@pytest.mark.parametrize(
    ("model", "images"),
    [
        ("colmap/sparse/0", "images"),
        ("sparse/0", "input"),
        ("sparse/1", "images"),
        ("sparse", "images"),
        ("sparse/0", "."),
    ],
)
def test_models_and_pictures_are_found_where_programs_put_them(
    colmap_capture, tmp_path: Path, model: str, images: str
) -> None:
    root = colmap_capture(model, images)
    assert recognise(root) == "colmap"
    assert convert(root, tmp_path / "ours").views == 4
    # The model's own folder can be named as well.
    assert convert(root / model, tmp_path / "again").views == 4


def test_the_largest_of_several_models_is_read(colmap_capture, tmp_path: Path) -> None:
    root = colmap_capture("sparse/0", count=2)
    colmap_capture("sparse/1", count=5)
    done = convert(root, tmp_path / "ours")
    assert done.views == 5
    assert any(
        "only model 1 was read, of 5 images; the models 0 lie in other worlds" in n for n in done.notes
    )


def test_images_without_pictures_are_left_out_and_counted(colmap_capture, tmp_path: Path) -> None:
    root = colmap_capture()
    (root / "images" / "1.png").unlink()
    done = convert(root, tmp_path / "ours")
    assert done.views == 3
    assert any("1 of 4 images have no file" in note and "1.png" in note for note in done.notes)


def test_windows_names_and_byte_order_marks_are_read(colmap_capture, tmp_path: Path) -> None:
    root = colmap_capture(images="images/desk")
    for name in ("cameras.txt", "images.txt"):
        path = root / "sparse/0" / name
        text = path.read_text().replace(" 1 0.png", r" 1 desk\0.png")
        for number in range(1, 4):
            text = text.replace(f" 1 {number}.png", rf" 1 desk\{number}.png")
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert convert(root, tmp_path / "ours").views == 4


def test_masks_that_colmap_was_given_are_carried_or_said(colmap_capture, tmp_path: Path) -> None:
    """COLMAP looks for masks/0.png.png; people name them masks/0.png as well."""
    root = colmap_capture()
    (root / "masks").mkdir()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 8:20] = 255
    for number in range(4):
        Image.fromarray(mask).save(
            root / "masks" / f"{number}.png{'.png' if number % 2 else ''}", format="PNG"
        )
    done = convert(root, tmp_path / "ours")
    assert any("4 masks" in note for note in done.notes)
    np.testing.assert_array_equal(_views(tmp_path / "ours")[1].labels(), mask > 0)


def test_what_colmaps_undistorter_leaves_is_taken(colmap_capture, tmp_path: Path) -> None:
    """A camera and a size a picture, principal points off the middle."""
    pycolmap = pytest.importorskip("pycolmap", reason="COLMAP's own Python package is not installed")
    cameras = "".join(f"{n} SIMPLE_RADIAL 32 24 {30 + n} {14 + n} 11 -0.{n}\n" for n in range(1, 5))
    root = colmap_capture(cameras=cameras)
    lines = [f"{n + 1} 1 0 0 0 {n} 0 5 {n + 1} {n}.png\n\n" for n in range(4)]
    (root / "sparse/0/images.txt").write_text("".join(lines))
    (root / "sparse/0/points3D.txt").write_text("")
    pycolmap.undistort_images(tmp_path / "dense", root / "sparse/0", root / "images", output_type="COLMAP")
    sizes = {read_image(path).shape for path in (tmp_path / "dense/images").iterdir()}
    assert len(sizes) > 1
    convert(tmp_path / "dense", tmp_path / "ours", undistort=True)
    assert len({view.image().shape for view in _views(tmp_path / "ours")}) == 1
    assert not open_dataset(tmp_path / "ours").has_own_intrinsics


# uOCF and ObSuRF


def test_masks_of_red_and_green_become_blue_and_red(tmp_path: Path) -> None:
    """Without blue uORF's rule takes the wrong colour for the background, so objects are numbered from it."""
    root = tmp_path / "uocf"
    for number, pose in enumerate(_poses(2)):
        stem = f"0000{number}_sc0000_az0{number}"
        write_image(root / f"{stem}.png", _picture(number))
        np.savetxt(root / f"{stem}_RT.txt", pose)
        np.savetxt(root / f"{stem}_intrinsics.txt", np.diag([1.1, 1.4, 1.0]))
        mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        mask[2:8, 2:8], mask[12:18, 12:18] = (255, 0, 0), (0, 255, 0)
        write_image(root / f"{stem}_mask.png", mask)
    convert(root, tmp_path / "ours")
    for view in _views(tmp_path / "ours"):
        found = {tuple(colour) for colour in np.unique(view.mask().reshape(-1, 3), axis=0).tolist()}
        assert found == {(64, 64, 64), (0, 0, 255), (255, 0, 0)}


def test_obsurf_says_which_size_its_reader_wants(make_dataset, tmp_path: Path) -> None:
    done = convert(make_dataset(1, 2, size=(16, 12)), tmp_path / "there", target_format="obsurf")
    assert any(
        "ObSuRF's own loader reads 320 x 240 pixels only, found 16 x 12" in note for note in done.notes
    )
    sized = make_dataset(1, 2, size=(320, 240), name="sized")
    notes = convert(sized, tmp_path / "fits", target_format="obsurf").notes
    assert not any("loader" in note for note in notes)


def test_masks_that_are_made_on_the_way_reach_every_target(tmp_path: Path, data: Path) -> None:
    """uOCF's masks are recoloured while they are read; ObSuRF's numbers come from them all the same."""
    convert(data / "blocks", tmp_path / "uocf", target_format="uocf")
    convert(tmp_path / "uocf", tmp_path / "obsurf", target_format="obsurf")
    assert len(list((tmp_path / "obsurf" / "masks").iterdir())) == 12


def test_bytes_that_were_made_are_written_once(tmp_path: Path) -> None:
    """A slice of an archive and a picture in memory are both files for as long as somebody looks."""
    from objnerf.dataset.convert.posed import Blob, image_size, put_png

    buffer = io.BytesIO()
    Image.fromarray(_picture(1)).save(buffer, format="PNG")
    (tmp_path / "archive").write_bytes(b"xyz" + buffer.getvalue() + b"end")
    for blob in (
        Blob(tmp_path / "archive", 3, len(buffer.getvalue())),
        Blob(Path("m"), content=buffer.getvalue()),
    ):
        assert image_size(blob) == (WIDTH, HEIGHT)
        put_png(blob, tmp_path / "out.png")
        assert (tmp_path / "out.png").read_bytes() == buffer.getvalue()
        with blob.as_file() as path:
            np.testing.assert_array_equal(read_image(path), _picture(1))
