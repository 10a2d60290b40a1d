"""transforms.json: the axes, by hand; the flavours that are out there; what we cannot hold."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import Intrinsics, open_dataset
from objnerf.dataset.convert import convert
from objnerf.dataset.files import write_image
from objnerf.errors import InputError

# Six to the right, the camera looks back along -x with z up. OpenGL: the camera's x is world y, its y is
# world z, its z (backwards) is world x. OpenCV flips the second and third column: y is -z, z is -x.
OPENGL = [[0, 0, 1, 6], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
OPENCV = [[0, 0, -1, 6], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]


@pytest.fixture
def make_scene(tmp_path: Path):
    """A function that writes a scene of one or more 8 × 6 pictures and a transforms file."""

    def make(
        header: dict[str, Any], frames: list[dict[str, Any]], name: str = "fox", file: str = "transforms.json"
    ) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            path = root / (frame["file_path"] or "")
            if frame["file_path"]:
                path = path if path.suffix else path.with_suffix(".png")
                write_image(path, np.full((6, 8, 3), 20 * number + 5, np.uint8))
        (root / file).write_text(json.dumps(header | {"frames": frames}))
        return root

    return make


def test_the_axes_worked_out_by_hand(make_scene, tmp_path: Path) -> None:
    scene = make_scene({"fl_x": 10, "fl_y": 12}, [{"file_path": "images/a.png", "transform_matrix": OPENGL}])
    done = convert(scene, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views) == ("nerfstudio", 1, 1)
    dataset = open_dataset(tmp_path / "ours")
    (view,) = dataset.views()
    np.testing.assert_array_equal(view.pose(), OPENCV)
    # Azimuth frame: x is the camera's right (world y), y its horizontal forward (world -x).
    np.testing.assert_allclose(view.azimuth(), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    card = dataset.card()
    assert card is not None
    assert card.focal_ratio == (10 / 8, 12 / 6)


def test_what_we_write_is_opengl_with_pixel_corners(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(1, 1)
    convert(source, tmp_path / "there", target_format="nerfstudio")
    content = json.loads((tmp_path / "there/sc0000/transforms.json").read_text())
    (view,) = open_dataset(source).views()
    (frame,) = content["frames"]
    written = np.array(frame["transform_matrix"])
    np.testing.assert_allclose(written[:, 0], view.pose()[:, 0])
    np.testing.assert_allclose(written[:, 1:3], -view.pose()[:, 1:3])
    np.testing.assert_allclose(written[:, 3], view.pose()[:, 3])
    assert written[2, 1] > 0  # the camera's up is up
    assert (content["w"], content["h"], content["cx"], content["cy"]) == (16, 12, 8, 6)
    assert content["fl_x"] == pytest.approx(17.5)
    assert "mask_path" not in frame  # nerfstudio would take it for the pixels to train on
    assert (tmp_path / "there/sc0000" / frame["instance_mask_path"]).is_file()
    assert (tmp_path / "there/sc0000" / frame["depth_file_path"]).is_file()


def test_instant_ngp_gets_angles_and_a_box_that_holds_the_cameras(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(1, 4)
    convert(source, tmp_path / "there", target_format="instant-ngp")
    content = json.loads((tmp_path / "there/sc0000/transforms.json").read_text())
    assert content["camera_angle_x"] == pytest.approx(2 * math.atan(16 / (2 * 17.5)))
    assert content["camera_angle_y"] == pytest.approx(2 * math.atan(12 / (2 * 17.5)))
    reach = 0.33 * max(np.abs(view.pose()[:3, 3]).max() for view in open_dataset(source).views())
    assert content["aabb_scale"] in (1, 2, 4, 8, 16, 32, 64, 128)
    assert content["aabb_scale"] / 2 >= reach


def test_nerfs_own_scenes_are_read(make_scene, tmp_path: Path) -> None:
    """No suffixes in the paths, a file a split, a field of view only: 90° on 8 pixels is f = 4."""
    angle = {"camera_angle_x": math.pi / 2}
    for split in ("train", "test"):
        scene = make_scene(
            angle,
            [{"file_path": f"./{split}/r_{number}", "transform_matrix": OPENGL} for number in range(2)],
            file=f"transforms_{split}.json",
        )
    done = convert(scene, tmp_path / "ours")
    assert (done.scenes, done.views) == (1, 4)
    card = open_dataset(tmp_path / "ours").card()
    assert card is not None
    assert card.focal_ratio == pytest.approx((4 / 8, 4 / 6))


def test_pictures_that_are_no_png_become_one_with_the_same_pixels(make_scene, tmp_path: Path) -> None:
    scene = make_scene({"fl_x": 10}, [{"file_path": "a.jpg", "transform_matrix": OPENGL}])
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(scene / "a.jpg", format="JPEG")
    convert(scene, tmp_path / "ours")
    (view,) = open_dataset(tmp_path / "ours").views()
    with Image.open(scene / "a.jpg") as picture:
        np.testing.assert_array_equal(view.image(), np.asarray(picture))


def test_scenes_are_sub_folders_in_the_order_of_their_numbers(make_scene, tmp_path: Path) -> None:
    for number, name in enumerate(["all/scene10", "all/scene2", "all/scene1"]):
        matrix = np.array(OPENGL, float)
        matrix[0, 3] = number
        make_scene({"fl_x": 10}, [{"file_path": "a.png", "transform_matrix": matrix.tolist()}], name=name)
    (tmp_path / "all" / "notes").mkdir()
    convert(tmp_path / "all", tmp_path / "ours")
    dataset = open_dataset(tmp_path / "ours")
    assert [dataset.scenes[id_].poses()[0, 0, 3] for id_ in range(3)] == [2, 1, 0]
    assert [view.stem for view in dataset.views()] == [f"0000{i}_sc000{i}_img0" for i in range(3)]


def test_one_file_of_several_scenes_is_told_apart_by_our_names(make_scene, tmp_path: Path) -> None:
    def frames(names: list[str]) -> list[dict[str, Any]]:
        return [{"file_path": f"images/{name}.png", "transform_matrix": OPENGL} for name in names]

    ours = make_scene({"fl_x": 10}, frames(["1_sc0001_b", "0_sc0000_a", "2_sc0000_c"]), name="ours-in-one")
    assert convert(ours, tmp_path / "two").scenes == 2
    views = [view.stem for view in open_dataset(tmp_path / "two").views()]
    assert views == ["0_sc0000_a", "2_sc0000_c", "1_sc0001_b"]
    # A hole in the ids, or one foreign name, and the rule does not hold: one scene.
    for number, names in enumerate([["1_sc0002_b", "0_sc0000_a"], ["photo", "0_sc0000_a"]]):
        scene = make_scene({"fl_x": 10}, frames(names), name=f"foreign{number}")
        assert convert(scene, tmp_path / f"one{number}").scenes == 1


@pytest.mark.parametrize(
    ("header", "frame", "message"),
    [
        ({"fl_x": 10, "k1": 0.1}, {}, r"lens distortion of OPENCV \(0.1, 0, 0, 0\)"),
        ({"fl_x": 10}, {"p2": 0.5}, r"lens distortion of OPENCV \(0, 0, 0, 0.5\)"),
        ({"fl_x": 10, "camera_model": "OPENCV_FISHEYE"}, {}, "OPENCV_FISHEYE"),
        ({"fl_x": 10, "is_fisheye": True}, {}, "undistort"),
        ({}, {}, "expected a focal length under 'fl_x' or 'camera_angle_x' .*found neither"),
        ({"fl_x": 0}, {}, "positive focal length"),
        ({"fl_x": "ten"}, {}, "expected a number under 'fl_x', found 'ten'"),
        ({"fl_x": 10, "w": 16, "h": 16}, {}, "8 x 6 pixels, expected 16 x 16"),
        ({"fl_x": 10, "w": 8.5}, {}, "whole number of pixels"),
        ({"fl_x": 10}, {"transform_matrix": [[1, 0], [0, 1]]}, r"found the shape \(2, 2\)"),
        ({"fl_x": 10}, {"transform_matrix": [[math.nan] * 4] * 4}, "nan or inf"),
        ({"fl_x": 10}, {"transform_matrix": "none"}, "4x4 matrix of numbers"),
        ({"fl_x": 10}, {"transform_matrix": None}, "4x4 matrix"),
        ({"fl_x": 10}, {"file_path": None}, "'file_path', found None"),
    ],
)
def test_what_we_cannot_hold_is_refused(
    make_scene, tmp_path: Path, header: dict, frame: dict, message: str
) -> None:
    scene = make_scene(header, [{"file_path": "a.png", "transform_matrix": OPENGL} | frame])
    with pytest.raises(InputError, match=message):
        convert(scene, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("target", ["nerfstudio", "webdataset", "uocf", "colmap"])
def test_cameras_that_differ_are_every_views_own(make_scene, tmp_path: Path, target: str) -> None:
    frames = [{"file_path": f"{name}.png", "transform_matrix": OPENGL} for name in "ab"]
    scene = make_scene({"fl_x": 10, "cx": 4, "cy": 3}, [frames[0], frames[1] | {"fl_x": 11, "cx": 6}])
    convert(scene, tmp_path / "first")
    convert(tmp_path / "first", tmp_path / "there", target_format=target)
    convert(tmp_path / "there", tmp_path / "ours")
    first, second = (view.pinhole() for view in open_dataset(tmp_path / "ours").views())
    assert first is not None
    assert second is not None
    assert first.at(8, 6) == Intrinsics(8, 6, 10.0, 10.0)
    found = second.at(8, 6)
    assert (found.fx, found.fy, found.offset_x, found.offset_y) == pytest.approx((11, 11, 2, 0))
    with pytest.raises(InputError, match="ObSuRF has one centred camera"):
        convert(tmp_path / "ours", tmp_path / "obsurf", target_format="obsurf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected keys and values, found list"),
        ("{}", "list of frames"),
        ('{"frames": [1]}', "list of frames"),
        ('{"frames": []}', "at least one frame"),
        ('{"frames": [{"file_path": "gone.png"}]}', "gone.png is not there"),
        ("[" * 100_000, "expected JSON"),
        ("\ud800", "expected text, found bytes that are not UTF-8"),
    ],
)
def test_files_that_are_no_transforms_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "transforms.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "bad", tmp_path / "ours")
