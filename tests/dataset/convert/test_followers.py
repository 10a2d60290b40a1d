"""Layouts for the code of uORF and SlotLifter: the rules of their loaders hold, or it is refused."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objnerf.dataset import DatasetCard, Pinhole, open_dataset, write_card
from objnerf.dataset.convert import convert, recognise
from objnerf.dataset.files import write_image, write_pinhole
from objnerf.errors import InputError


def _scenes_as_both_find_them(root: Path, n_scenes: int) -> list[list[str]]:
    """The rule of both loaders: every PNG that is no companion, by an id anywhere in its whole path."""
    companions = ("_mask", "_moved", "_changed", "_providing_bg", "_mask_for_moving", "_mask_for_bg")
    companions += ("_mask_for_providing_bg",)
    names = sorted(str(path) for path in root.glob("*.png") if not path.stem.endswith(companions))
    return [[name for name in names if f"sc{scene:04d}" in name] for scene in range(n_scenes)]


def _background_as_both_find_it(mask: Path) -> int:
    """The second lowest grey level."""
    with Image.open(mask) as picture:
        return int(np.unique(np.asarray(picture.convert("L")))[1])


def test_uorf_finds_scenes_poses_azimuths_and_the_background(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "there"
    done = convert(data / "blocks_depth", root, target_format="uorf")
    assert (done.scenes, done.views, done.left_out) == (2, 8, ())
    scenes = _scenes_as_both_find_them(root, 2)
    assert [len(scene) for scene in scenes] == [4, 4]
    for name in scenes[0] + scenes[1]:
        assert np.loadtxt(name.replace(".png", "_RT.txt")).shape == (4, 4)
        assert np.loadtxt(name.replace(".png", "_azi_rot.txt")).shape == (3, 3)
        assert np.load(name.replace(".png", "_depth.npy")).shape == (120, 160, 1)
        assert _background_as_both_find_it(Path(name.replace(".png", "_mask.png"))) == 64
    assert recognise(root) == "objnerf"


def test_slotlifter_finds_everything_by_its_folders(data: Path, tmp_path: Path) -> None:
    """Its root is {dataset_root}/{subset}/{subset}_train; files.csv lists full paths, a row a scene."""
    root = tmp_path / "rooms" / "rooms_train"
    convert(data / "blocks", root, target_format="slotlifter")
    with (root / "files.csv").open(newline="") as file:
        listed = list(csv.reader(file))
    assert listed == _scenes_as_both_find_them(root, 3)
    for name in listed[1]:
        intrinsics = np.loadtxt(name.replace(".png", "_intrinsics.txt"))
        # Its own arithmetic for a picture of 256 x 256 pixels.
        focal = intrinsics[0, 0] * 256, intrinsics[1, 1] * 256
        centre = [((intrinsics[axis, 2] + 1) * 256 - 1) / 2 for axis in (0, 1)]
        assert focal == pytest.approx((350 / 320 * 256, 350 / 240 * 256))
        assert centre == [127.5, 127.5]
        assert np.loadtxt(name.replace(".png", "_RT.txt")).shape == (4, 4)
        assert _background_as_both_find_it(Path(name.replace(".png", "_mask.png"))) == 64


@pytest.mark.parametrize(("target", "folder"), [("uorf", "there"), ("slotlifter", "there/there_train")])
@pytest.mark.parametrize("name", ["blocks", "blocks_depth"])
def test_they_come_back_byte_for_byte(
    data: Path, tmp_path: Path, target: str, folder: str, name: str
) -> None:
    convert(data / name, tmp_path / folder, target_format=target)
    # Both are our own format; asking for it again copies.
    convert(tmp_path / folder, tmp_path / "back", source_format="objnerf", target_format="objnerf")
    for path in (data / name).iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_slotlifter_is_told_a_name_that_it_finds(make_dataset, tmp_path: Path) -> None:
    source = make_dataset()
    with pytest.raises(InputError, match=r"expected one such as .*/rooms/rooms_train$"):
        convert(source, tmp_path / "rooms", target_format="slotlifter")
    write_card(source, DatasetCard(split="test"))
    with pytest.raises(InputError, match=r"rooms/rooms_test$"):
        convert(source, tmp_path / "rooms", target_format="slotlifter")
    assert list(tmp_path.iterdir()) == [source]


def test_slotlifter_says_which_settings_it_does_not_read(make_dataset, tmp_path: Path) -> None:
    source = make_dataset()
    write_card(source, DatasetCard(near=5.0, far=20.0, nss_scale=7.0))
    done = convert(source, tmp_path / "a" / "a_train", target_format="slotlifter")
    assert done.left_out == ("near 5: its loader has 6 written into it",)
    for path in source.glob("*_mask.png"):
        path.unlink()
    done = convert(source, tmp_path / "b" / "b_test", target_format="slotlifter")
    assert any("test scenes without masks" in note for note in done.left_out)


def test_uorf_refuses_another_lens(make_dataset, tmp_path: Path) -> None:
    square = make_dataset(focal_ratio=(350 / 320, 350 / 320))
    with pytest.raises(InputError, match=r"found 1\.0938 and 1\.0938.*--to slotlifter"):
        convert(square, tmp_path / "there", target_format="uorf")


def test_a_camera_of_its_own_goes_to_slotlifter_a_scene_only(make_dataset, tmp_path: Path) -> None:
    source = make_dataset(2, 2)
    stems = [view.stem for view in open_dataset(source).views()]
    for stem in stems[2:]:
        write_pinhole(source / f"{stem}_intrinsics.txt", Pinhole((1.2, 1.6), (0.05, 0.0)))
    convert(source, tmp_path / "a" / "a_train", target_format="slotlifter")
    written = np.loadtxt(tmp_path / "a" / "a_train" / f"{stems[2]}_intrinsics.txt")
    np.testing.assert_allclose(written, [[1.2, 0, 0.1], [0, 1.6, 0], [0, 0, 1]])
    write_pinhole(source / f"{stems[0]}_intrinsics.txt", Pinhole((1.3, 1.6), (0.0, 0.0)))
    with pytest.raises(InputError, match="one camera for all views of a scene"):
        convert(source, tmp_path / "b" / "b_train", target_format="slotlifter")


@pytest.mark.parametrize("target", ["uorf", "slotlifter"])
def test_folders_that_look_like_a_scene_are_refused(make_dataset, tmp_path: Path, target: str) -> None:
    """Both look for `sc0001` in the whole path, and would find it in every file's."""
    with pytest.raises(InputError, match="scene sc0001; choose another name"):
        convert(make_dataset(), tmp_path / "disc0001" / "disc0001_train", target_format=target)


@pytest.mark.parametrize("target", ["uorf", "slotlifter"])
def test_masks_that_both_would_misread_are_refused(make_dataset, tmp_path: Path, target: str) -> None:
    source = make_dataset()
    view = next(open_dataset(source).views())
    mask = view.mask().copy()
    # Without the blue object the background is the lowest level.
    mask[(mask == [0, 0, 255]).all(axis=-1)] = 64
    write_image(source / f"{view.stem}_mask.png", mask)
    with pytest.raises(InputError, match="second lowest grey level"):
        convert(source, tmp_path / "a" / "a_train", target_format=target)


def test_uorf_reads_equal_scenes_only(data: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(data / "blocks", tmp_path / "uneven"))
    for path in source.glob("00011_*"):
        path.unlink()
    with pytest.raises(InputError, match="same number of views of every scene, and found 3 to 4"):
        convert(source, tmp_path / "there", target_format="uorf")


@pytest.mark.parametrize(("target", "folder"), [("uorf", "there"), ("slotlifter", "there/there_train")])
def test_what_has_no_place_is_said(described: Path, tmp_path: Path, target: str, folder: str) -> None:
    done = convert(described, tmp_path / folder, target_format=target)
    assert done.left_out == ("the amodal masks",)
    (described / "000_movement.txt").write_text("0.5\n1.5\n")
    done = convert(described, tmp_path / "again" / "again_train", target_format=target)
    movements = () if target == "uorf" else ("the movements of the manipulation test",)
    assert done.left_out == ("the amodal masks", *movements)
    assert (tmp_path / "again" / "again_train" / "000_movement.txt").exists() == (target == "uorf")
