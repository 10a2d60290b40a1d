"""uOCF's folders: intrinsics beside each view, masks on black."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset import Pinhole, open_dataset
from objnerf.dataset.convert import convert, recognise
from objnerf.dataset.files import read_image, read_matrix, write_image, write_matrix, write_pinhole
from objnerf.errors import InputError


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Scenes 5 and 6 of one view each, with 4×4 intrinsics, a depth guess and masks on black."""
    root = tmp_path / "kitchen"
    for number, scene in enumerate((5, 6)):
        stem = f"{number:05d}_sc{scene:04d}_az00"
        write_image(root / f"{stem}.png", np.full((10, 12, 3), 30 * number, np.uint8))
        pose = np.eye(4)
        pose[0, 3] = scene
        write_matrix(root / f"{stem}_RT.txt", pose)
        write_matrix(root / f"{stem}_intrinsics.txt", np.diag([1.5, 1.8, 1.0, 1.0]))
        mask = np.zeros((10, 12, 3), np.uint8)
        mask[2:4, 3:6], mask[6:8, 3:6] = (120, 10, 10), (250, 250, 250)
        write_image(root / f"{stem}_mask.png", mask)
        (root / f"{stem}_depth.pfm").write_bytes(b"Pf\n")
    return root


def test_their_folders_are_read(theirs: Path, tmp_path: Path) -> None:
    done = convert(theirs, tmp_path / "ours")
    assert (done.source_format, done.scenes, done.views) == ("uocf", 2, 2)
    assert any("renumbered" in note for note in done.notes)
    assert any(".pfm" in note for note in done.notes)
    dataset = open_dataset(tmp_path / "ours")
    assert [view.stem for view in dataset.views()] == ["00000_sc0000_img0", "00001_sc0001_img0"]
    assert dataset.scenes[0].poses()[0, 0, 3] == 5
    card = dataset.card()
    assert card is not None
    assert card.focal_ratio == (1.5, 1.8)
    mask = dataset.scenes[0].views[0].mask()
    # The darkest colour becomes our background; the objects get our colours by grey level.
    assert mask[0, 0].tolist() == [64, 64, 64]
    assert mask[2, 3].tolist() == [0, 0, 255]
    assert mask[6, 3].tolist() == [255, 0, 0]


def test_what_we_write_is_named_and_coloured_as_they_expect(data: Path, tmp_path: Path) -> None:
    convert(data / "blocks", tmp_path / "there", target_format="uocf")
    stem = "00006_sc0001_az02"
    assert (tmp_path / "there" / f"{stem}.png").is_file()
    np.testing.assert_allclose(
        read_matrix(tmp_path / "there" / f"{stem}_intrinsics.txt", (3, 3)), np.diag([350 / 320, 350 / 240, 1])
    )
    ours = read_image(data / "blocks" / "00006_sc0001_img2_mask.png")
    mask = read_image(tmp_path / "there" / f"{stem}_mask.png")
    background = (ours == 64).all(axis=-1)
    assert (mask[background] == 0).all()
    np.testing.assert_array_equal(mask[~background], ours[~background])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.5, 0.1, 0], [0, 1.8, 0], [0, 0, 1]], "without skew"),
        ([[-1.5, 0, 0], [0, 1.8, 0], [0, 0, 1]], "diagonal"),
        ([[1.5, 0], [0, 1.8]], "3×3 or 4×4"),
    ],
)
def test_cameras_that_we_cannot_hold_are_refused(
    theirs: Path, tmp_path: Path, matrix: list[list[float]], message: str
) -> None:
    write_matrix(theirs / "00001_sc0006_az00_intrinsics.txt", np.array(matrix, float))
    with pytest.raises(InputError, match=message):
        convert(theirs, tmp_path / "ours")


def test_a_view_without_intrinsics_is_named(theirs: Path, tmp_path: Path) -> None:
    (theirs / "00001_sc0006_az00_intrinsics.txt").unlink()
    with pytest.raises(InputError, match="00001_sc0006_az00_intrinsics"):
        convert(theirs, tmp_path / "ours")


def test_smoothed_masks_are_refused(theirs: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_image(theirs / "00000_sc0005_az00_mask.png", rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="smoothed"):
        convert(theirs, tmp_path / "ours")


def test_too_many_views_for_two_digits(make_dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two for the view"):
        convert(make_dataset(1, 101, size=(2, 2)), tmp_path / "there", target_format="uocf")


def test_our_own_views_with_intrinsics_beside_them_are_not_taken_for_theirs(
    data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "ours"
    shutil.copytree(data / "blocks", root)
    for view in open_dataset(root).views():
        write_pinhole(root / f"{view.stem}_intrinsics.txt", Pinhole((1.2, 1.6)))
    assert recognise(root) == "objnerf"
    convert(root, tmp_path / "theirs", target_format="uocf")
    assert recognise(tmp_path / "theirs") == "uocf"
    found = {view.pinhole() for view in open_dataset(tmp_path / "theirs").views()}
    assert found == {Pinhole((1.2, 1.6))}


def test_views_with_different_cameras_keep_them(data: Path, tmp_path: Path) -> None:
    """Off the middle by 0.3 half widths: 0.15 of the width."""
    root = tmp_path / "ours"
    shutil.copytree(data / "blocks", root)
    own = Pinhole((1.2, 1.6), (0.15, 0.0))
    write_pinhole(root / "00000_sc0000_img0_intrinsics.txt", own)
    done = convert(root, tmp_path / "there", target_format="uocf")
    assert any("cameras that differ" in note for note in done.notes)
    first, second, *_ = open_dataset(tmp_path / "there").views()
    assert first.pinhole() == own
    assert second.pinhole() == Pinhole()
    assert read_matrix(first.intrinsics_path, (3, 3))[0, 2] == pytest.approx(0.3)
