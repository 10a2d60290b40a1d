"""A view's own intrinsics: the file beside it, and what a dataset makes of its views' files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objnerf.dataset import Pinhole, files, open_dataset
from objnerf.dataset.cameras import (
    REFERENCE_FOCAL_RATIO,
    camera_rays,
    common_pinhole,
    project,
    typical_pinhole,
)
from objnerf.dataset.card import DatasetCard, write_card
from objnerf.errors import InputError

ratios = st.floats(0.2, 19.0)
offsets = st.floats(-0.45, 0.45)


@given(st.tuples(ratios, ratios), st.tuples(offsets, offsets))
def test_what_is_written_comes_back(tmp_path_factory, focal, offset):
    path = tmp_path_factory.mktemp("view") / "a_sc0000_intrinsics.txt"
    files.write_pinhole(path, Pinhole(focal, offset))
    assert files.read_pinhole(path).same_as(Pinhole(focal, offset))


@given(st.tuples(ratios, ratios), st.tuples(offsets, offsets), st.integers(2, 40), st.integers(2, 30))
def test_rays_project_to_the_pixels_that_they_came_from(focal, offset, width, height):
    intrinsics = Pinhole(focal, offset).at(width, height)
    pixels, depth = project(camera_rays(intrinsics), intrinsics, np.eye(4))
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1), atol=1e-9)
    np.testing.assert_array_equal(depth, 1.0)
    assert intrinsics.pinhole.same_as(Pinhole(focal, offset))


def test_the_public_projects_matrix_by_hand(tmp_path):
    # uOCF and SlotLifter compute cx = ((m02 + 1) W - 1) / 2. With m02 = 0.1 and W = 64 that is 34.7, which is
    # 3.2 = 0.05 W pixels right of the middle (31.5).
    path = tmp_path / "00000_sc0000_az00_intrinsics.txt"
    path.write_text("1.2 0 0.1 0\n0 1.6 -0.2 0\n0 0 1 0\n0 0 0 1\n")
    intrinsics = files.read_pinhole(path).at(64, 48)
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((76.8, 76.8))
    assert intrinsics.cx == pytest.approx(34.7)
    assert intrinsics.cy == pytest.approx(((-0.2 + 1) * 48 - 1) / 2)


@pytest.mark.parametrize("middle", [(63.5, 47.5), (64.0, 48.0)])  # pixel centres at integers, or at halves
def test_a_matrix_in_pixels_is_told_by_its_size(tmp_path, middle):
    files.write_image(tmp_path / "a_sc0000.png", np.zeros((96, 128, 3), np.uint8))
    path = tmp_path / "a_sc0000_intrinsics.txt"
    path.write_text(f"160 0 {middle[0]}\n0 160 {middle[1]}\n0 0 1\n")
    assert files.read_pinhole(path) == Pinhole((160 / 128, 160 / 96))
    path.write_text("160 0 70\n0 160 47.5\n0 0 1\n")
    assert files.read_pinhole(path).at(128, 96).cx == pytest.approx(70)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.2 0\n0 1.6\n", "3×3 or 4×4 matrix, found 2 rows"),
        ("1.2 0 0\n0 nan 0\n0 0 1\n", "finite"),
        ("-1.2 0 0\n0 1.6 0\n0 0 1\n", "positive focal lengths"),
        ("1.2 0.1 0\n0 1.6 0\n0 0 1\n", "without skew"),
        ("1.2 0 0\n0 1.6 0\n0 1 0\n", "0 0 1 as the third row"),
        ("1.2 0 32\n0 1.6 24\n0 0 1\n", "or all four in pixels"),
        ("160 0 700\n0 160 47\n0 0 1\n", "within the image"),
        ("one two three\n", "a matrix of numbers"),
    ],
)
def test_what_is_no_pinhole_is_refused(tmp_path, text, message):
    files.write_image(tmp_path / "a_sc0000.png", np.zeros((96, 128, 3), np.uint8))
    path = tmp_path / "a_sc0000_intrinsics.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        files.read_pinhole(path)


def _views(root: Path, pinholes: dict[str, Pinhole | None]) -> None:
    for stem, pinhole in pinholes.items():
        (root / f"{stem}.png").touch()
        if pinhole is not None:
            files.write_pinhole(root / f"{stem}_intrinsics.txt", pinhole)


def test_without_files_one_lens_serves_all(tmp_path):
    _views(tmp_path, {"a_sc0000": None, "a_sc0001": None})
    dataset = open_dataset(tmp_path)
    assert not dataset.has_own_intrinsics
    assert dataset.common_pinhole() == Pinhole(REFERENCE_FOCAL_RATIO)
    write_card(tmp_path, DatasetCard(focal_ratio=(1.3, 1.7)))
    assert dataset.common_pinhole() == Pinhole((1.3, 1.7))
    assert dataset.pinholes() == [Pinhole((1.3, 1.7))] * 2


def test_a_views_file_is_stronger_than_the_card(tmp_path):
    _views(tmp_path, {"a_sc0000": Pinhole((1.2, 1.6)), "a_sc0001": Pinhole((1.2, 1.6))})
    write_card(tmp_path, DatasetCard(focal_ratio=(1.3, 1.7)))
    dataset = open_dataset(tmp_path)
    assert dataset.common_pinhole() == Pinhole((1.2, 1.6))
    assert dataset.intrinsics(10, 10).focal_ratio == (1.2, 1.6)


def test_cameras_that_differ_have_no_common_lens_but_a_typical_one(tmp_path):
    _views(
        tmp_path,
        {"a_sc0000": Pinhole((1.0, 1.2), (0.1, 0.0)), "a_sc0001": Pinhole((1.4, 1.6)), "b_sc0001": None},
    )
    dataset = open_dataset(tmp_path)
    write_card(tmp_path, DatasetCard(focal_ratio=(1.2, 1.3)))
    assert dataset.common_pinhole() is None
    assert dataset.pinholes()[1:] == [Pinhole((1.4, 1.6)), Pinhole((1.2, 1.3))]
    assert typical_pinhole(dataset.pinholes()) == Pinhole((1.2, 1.3))
    assert dataset.orphans == ()


def test_rounding_makes_no_two_cameras(tmp_path):
    assert common_pinhole([Pinhole((1.23456789, 1.5)), Pinhole((1.234568, 1.5))]) is not None
    assert common_pinhole([Pinhole((1.2345, 1.5)), Pinhole((1.2347, 1.5))]) is None
    with pytest.raises(ValueError, match="at least one"):
        common_pinhole([])
